# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reading scenarios: what is right is understood, what is wrong is named with file, line and field."""

from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference_server.core.assessment import RiskLevel
from inference_server.core.observation import Observed
from inference_server.evaluation.errors import ScenarioError
from inference_server.evaluation.hours import read_hours
from inference_server.evaluation.loading import load_scenarios
from tests.server.evaluation.scripts import HEAD, HOME, TAIL, WALK, scenario, written


def _refusal(folder: Path, text: str) -> str:
    file = written(folder, text)
    with pytest.raises(ScenarioError) as refused:
        load_scenarios(file)
    return str(refused.value).replace(str(file), "FILE")


def test_what_an_author_writes_is_understood(tmp_path: Path) -> None:
    read = scenario(
        tmp_path,
        """context: {mode: away, people_home: 0, age_minutes: 2}
happenings:
  - camera: drive
    starts_at: 2026-05-05 12:00:00
    objects:
      - path: "0 left, 4.5 car"
        observed: [uniform, {kind: knife, confidence: 0.4}]
        identity: {name: Anna, trust: full}
      - {label: dog, path: [[0, 0.1, 0.5, 0.2], [3, 0.4, 0.5, 0.2]]}
expect: {level: low, must: [trusted]}
""",
    )
    person, dog = read.happenings[0].objects
    assert [(step.seconds, step.spot) for step in person.path] == [(0, "left"), (4.5, "car")]
    assert [(one.kind, one.confidence) for one in person.observed] == [(Observed.UNIFORM, 0.85), (Observed.KNIFE, 0.4)]
    assert dog.path[1].at == (0.4, 0.5, 0.2)
    assert read.expect.level == (RiskLevel.LOW, RiskLevel.LOW)


def test_homes_are_shared_by_name_from_beside_or_above(tmp_path: Path) -> None:
    home = HOME.replace("\nhome:\n", "").replace("\n  ", "\n")
    written(tmp_path, home.removeprefix("  "), "homes/house.yaml")
    own = HEAD.replace(HOME, "home: house\n")
    file = written(tmp_path, f"{own}{WALK}{TAIL}", "a/b/scenario.yaml")
    assert [one.home_name for one in load_scenarios(tmp_path)] == ["house"]
    assert load_scenarios(file)[0].home.time_zone == "Europe/Berlin"


def test_a_file_may_hold_several_and_a_folder_is_read_by_ids(tmp_path: Path) -> None:
    one, other = (f"{HEAD.replace('test-scenario', name)}{WALK}{TAIL}" for name in ("zebra", "aardvark"))
    written(tmp_path, f"{one}---\n{other}", "several.yaml")
    assert [found.id for found in load_scenarios(tmp_path)] == ["aardvark", "zebra"]


@pytest.mark.parametrize(
    ("wrong", "right", "further", "words"),
    [
        ("colour: red\n", "", 0, "colour: Extra inputs are not permitted"),
        ('path: "0 gate"', 'path: "0 left, 8 right"', 0, 'objects.1.path: there is no spot "gate" (there are: left'),
        ('path: "8 left, 2 right"', 'path: "0 left, 8 right"', 0, "the seconds of a path rise"),
        ('path: "left"', 'path: "0 left, 8 right"', 0, "write seconds and a spot: 0 gate, 8 door"),
        ("path: [[0, 0.1, 0.5]]", 'path: "0 left, 8 right"', 0, "a step of a path is [seconds, x, y, height]"),
        ("path: [[0, .nan, 0.5, 0.2]]", 'path: "0 left, 8 right"', 0, "finite number"),
        ("path: [[1e308, 0.1, 0.5, 0.2]]", 'path: "0 left, 8 right"', 0, "less than or equal to 7200"),
        ("camera: attic", "camera: drive", 0, 'happenings.1.camera: there is no camera "attic"'),
        ("starts_at: noon", "starts_at: 2026-05-05 12:00:00", 0, "starts_at"),
        ("starts_at: 2026-05-05 12:00:00+02:00", "starts_at: 2026-05-05 12:00:00", 0, "a local time without a zone"),
        ("starts_at: 0001-01-01 00:00:00", "starts_at: 2026-05-05 12:00:00", 0, "between the years 1980 and 2200"),
        ("level: [high, low]", "level: [low, critical]", 0, "the lowest and the highest"),
        ("level: awful", "level: [low, critical]", 0, "'low', 'medium', 'high' or 'critical'"),
        ("level: low, must: [evil]", "level: [low, critical]", 0, '"evil" is no factor'),
        ("tags: [calm]", "tags: [ordinary]", 0, "tags name one of ordinary and threat"),
        ("time_zone: Mars/Base", "time_zone: Europe/Berlin", 0, '"Mars/Base" is no time zone'),
        ("leads_to: [attic]", "leads_to: [door]", 0, 'there is no camera "attic"'),
        ("rectangle: [0.5, 0.3, 0.1, 0.45]", "rectangle: [0, 0.3, 1, 0.45]", 0, "left < right and top < bottom"),
        ("id: test-scenario\nid: another-one", "id: test-scenario", 1, "id stands twice"),
        ("title: &t A test\nid2: *t", "title: A test", 1, "no alias"),
        ("title: !!python/name:os.system A", "title: A test", 0, "could not determine a constructor"),
        ("title: [", "title: A test", 3, "expected"),
        ('title: "\\x1b[2J"', "title: A test", 0, "characters that can be shown"),
        ("home_name: hidden\ntitle: A test", "title: A test", 0, "a scenario has no home_name"),
        ("version: 2\ntitle: A test", "title: A test", 0, "version: Input should be 1"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, wrong: str, right: str, further: int, words: str) -> None:
    whole = f"{HEAD}{WALK}{TAIL}"
    text = whole.replace(right, wrong, 1) if right else whole.replace("happenings:", f"{wrong}happenings:", 1)
    told = _refusal(tmp_path, text)
    assert words in told
    line = text[: text.index(wrong)].count("\n") + 1 + further
    assert told.startswith(f"FILE, line {line}: "), told


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no scenario"),
        ("- a list\n", "a scenario is a mapping of fields"),
        ("just words", "a scenario is a mapping of fields"),
        ("? [a, b]\n: c\n", "a field has a plain name"),
        pytest.param("a: " + "[" * 3000, "is no YAML", id="deep"),
        pytest.param("a" * 2_000_001, "is larger than 2000000 bytes", id="large"),
    ],
)
def test_what_is_no_scenario_is_refused(tmp_path: Path, text: str, words: str) -> None:
    assert words in _refusal(tmp_path, text)


def test_broken_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"title: caf\xe9\n")
    with pytest.raises(ScenarioError, match="no text in UTF-8"):
        load_scenarios(tmp_path / "latin.yaml")
    with pytest.raises(ScenarioError, match="does not exist"):
        load_scenarios(tmp_path / "nowhere")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_nothing_that_a_file_may_hold_breaks_the_reader(tmp_path: Path, data: st.DataObject) -> None:
    whole = f"{HEAD}{WALK}{TAIL}"
    start = data.draw(st.integers(0, len(whole) - 1))
    end = data.draw(st.integers(start, min(start + 40, len(whole))))
    put = data.draw(
        st.text(max_size=8) | st.sampled_from(["~", "[]", "{}", "-1", ".inf", "1e999", "!!binary x", "<<: a"])
    )
    file = tmp_path / "mutated.yaml"
    file.write_bytes(f"{whole[:start]}{put}{whole[end:]}".encode("utf-8", "surrogatepass"))
    with suppress(ScenarioError):
        load_scenarios(file)


def test_a_home_that_is_not_there_is_named(tmp_path: Path) -> None:
    for name, words in (("castle", "there is no homes/castle.yaml"), ("../../etc", "lower-case letters")):
        text = f"{HEAD.replace(HOME, f'home: {name}{chr(10)}')}{WALK}{TAIL}"
        assert words in _refusal(tmp_path, text)


def test_an_id_stands_once_in_a_folder(tmp_path: Path) -> None:
    for name in ("one.yaml", "two.yaml"):
        written(tmp_path, f"{HEAD}{WALK}{TAIL}", name)
    with pytest.raises(ScenarioError, match=r'two\.yaml, line 1: .*one\.yaml has the id "test-scenario" too'):
        load_scenarios(tmp_path)


def test_a_happening_of_too_many_pictures_is_refused(tmp_path: Path) -> None:
    long = WALK.replace("8 right", "7000 right").replace("    objects", "    every: 0.1\n    objects")
    assert "more than 2000 pictures" in _refusal(tmp_path, f"{HEAD}{long}{TAIL}")


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("Mon-Fri 07-09", "2026-11-24 08:59", "2026-11-24 09:00"),
        ("Mon-Fri 07-09", "2026-11-27 07:00", "2026-11-28 08:00"),
        ("Sat 22-02", "2026-11-28 01:00", "2026-11-28 02:00"),
        ("Fri-Mon 00-24", "2026-11-29 13:00", "2026-11-25 13:00"),
        ("08-18", "2026-11-25 08:00", "2026-11-25 18:00"),
    ],
)
def test_hours_of_the_week(text: str, inside: str, outside: str) -> None:
    hours = read_hours(text)
    assert hours.covers(datetime.fromisoformat(inside))
    assert not hours.covers(datetime.fromisoformat(outside))


@pytest.mark.parametrize("text", ["", "Mon", "Mon-Fri", "7", "25-26", "08-08", "Mum-Dad 08-09", 5, None, "08-18 "])
def test_hours_that_mean_nothing(text: object) -> None:
    with pytest.raises(ValueError, match="hours"):
        read_hours(text)
