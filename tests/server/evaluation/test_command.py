# SPDX-License-Identifier: AGPL-3.0-or-later
"""`hsi evaluate`, as an owner calls it."""

import asyncio
import json
import os
import re
from pathlib import Path

import pytest

from inference_server.cli import main
from tests.server.evaluation.scripts import HEAD, TAIL, WALK, written
from tests.support.openai_server import scripted_server

CALM = f"{HEAD}{WALK}expect: {{level: low}}\n"
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of the machine out."""
    for name in [name for name in os.environ if name.startswith("HSI_")]:
        monkeypatch.delenv(name)


def _call(*arguments: object) -> int:
    return main(["evaluate", *map(str, arguments)])


def test_a_scenario_is_played_judged_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, CALM)
    assert _call(file, "--check") == 0
    told = capsys.readouterr().out
    assert "1 scenarios, judged by the rules" in told
    assert re.search(r"^all +1 +100\.0% +- +- +0 +0 +0", told, re.MULTILINE)


def test_a_missed_bar_fails_the_check_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, f"{HEAD.replace('ordinary', 'threat')}{WALK}expect: {{level: critical}}\n")
    assert _call(file) == 0
    assert "test-scenario: 1" in capsys.readouterr().out
    assert _call(file, "--check") == 1
    assert "the alert recall is 0.00; it should be 0.95 or more" in capsys.readouterr().err


def test_the_owners_weights_are_judged_by(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, CALM)
    weights = tmp_path / "own.toml"
    weights.write_text("[person_seen]\npoints = 100\n")
    assert _call(file, "--weights", weights, "--check") == 1
    assert "person_seen +100" in capsys.readouterr().out


def test_the_report_for_programs(tmp_path: Path) -> None:
    assert _call(written(tmp_path, CALM), "--json", tmp_path / "report.json") == 0
    found = json.loads((tmp_path / "report.json").read_text())
    assert (found["version"], found["judge"], found["failures"]) == (1, "rules", [])
    assert set(found["measures"]) == {"all", "held-out"}
    (one,) = found["scenarios"]
    assert one["id"] == "test-scenario"
    assert one["expected"] == ["low", "low"]
    (event,) = one["events"]
    assert one["score"] == event["score"] == sum(factor["points"] for factor in event["factors"])
    assert event["started_at"] == "2026-05-05T12:00:00+02:00"


def test_the_report_for_a_browser_needs_nothing_from_elsewhere_and_quotes(tmp_path: Path) -> None:
    text = CALM.replace("title: A test", f'title: "{HOSTILE}"').replace("level: low", "level: critical")
    assert _call(written(tmp_path, text), "--html", tmp_path / "report.html") == 0
    page = (tmp_path / "report.html").read_text()
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"<script|<link|https?://|url\(|@import", page)
    assert page.count("<svg") == 3
    assert 'class="outside"' in page
    assert "prefers-color-scheme: dark" in page


def test_a_part_of_the_scenarios(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = [f"{HEAD.replace('test-scenario', f'number-{n}')}{WALK}{TAIL}" for n in range(5)]
    texts[3] = texts[3].replace("[ordinary]", "[ordinary, fox]")
    file = written(tmp_path, "---\n".join(texts))
    assert _call(file, "--training") == 0
    assert "4 scenarios" in capsys.readouterr().out
    assert _call(file, "--held-out") == 0
    assert "1 scenarios" in capsys.readouterr().out
    assert _call(file, "--only", "fox") == 0
    assert "1 scenarios" in capsys.readouterr().out
    assert _call(file, "--only", "unicorn") == 1
    assert 'has the tag "unicorn"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ("[dragon]\npoints = 1\n", 'names the factor "dragon", which there is not. Use one of person_seen'),
        ("[person_seen]\npoints = nan\n", "[person_seen] points"),
        ("[person_seen]\npoints = 1e308\n", "[person_seen] points"),
        ("not toml", "is no TOML file"),
        (None, "cannot be read"),
    ],
)
def test_weights_that_cannot_be_used_are_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], weights: str | None, words: str
) -> None:
    own = tmp_path / "own.toml"
    if weights is not None:
        own.write_text(weights)
    assert _call(written(tmp_path, CALM), "--weights", own) == 1
    assert words in capsys.readouterr().err


def test_what_is_wrong_with_a_scenario_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _call(written(tmp_path, CALM.replace("title: A test\n", ""))) == 1
    assert "line 1: title: Field required" in capsys.readouterr().err
    assert _call(tmp_path / "nowhere") == 1
    assert "does not exist" in capsys.readouterr().err


async def test_the_analyst_judges_within_its_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, told = written(tmp_path, CALM), tmp_path / "report.json"
    assert await asyncio.to_thread(_call, file, "--json", told) == 0
    by_rules = json.loads(told.read_text())["scenarios"][0]["score"]
    async with scripted_server() as analyst:
        analyst.raised_by = 50
        monkeypatch.setenv("HSI_ANALYST__URL", analyst.url)
        assert await asyncio.to_thread(_call, file, "--judge", "analyst", "--json", told) == 0
    assert json.loads(told.read_text())["scenarios"][0]["score"] == by_rules + 20
    assert "judged by the analyst" in capsys.readouterr().out
    assert "test-scenario" not in analyst.prompts[0]


def test_without_a_language_model_it_is_said_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _call(written(tmp_path, CALM), "--judge", "analyst") == 1
    assert "Set analyst.model, analyst.model_file or analyst.url" in capsys.readouterr().err
