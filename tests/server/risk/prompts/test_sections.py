# SPDX-License-Identifier: AGPL-3.0-or-later
"""The sections: what is known of an event becomes lines with ids, what is not known is not made up."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from inference_server.core.assessment import Factor
from inference_server.core.context import HomeContext, Mode
from inference_server.core.detection import Category, Label, PathPoint
from inference_server.core.observation import Observed, Trust
from inference_server.core.prompt import PromptKind
from inference_server.core.view import ViewProblem
from inference_server.risk.evidence import Expectation, Subject
from inference_server.risk.prompts import sections
from inference_server.risk.prompts.movement import in_words
from inference_server.risk.prompts.parts import PARTS
from inference_server.risk.prompts.sections import ANALYST_SECTIONS, MOST_OBJECTS, compared
from inference_server.risk.prompts.summary_sections import SUMMARY_SECTIONS
from tests.support.cases import NOW, a_case, a_full_case, a_track


def _lines(name: str, *, full: bool = True) -> list[str]:
    return [item.line for item in ANALYST_SECTIONS[name](a_full_case() if full else a_case())]


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("time", ["W1 It is Monday, 22:14 at the home: night.", "W2 The sun is down."]),
        (
            "home",
            [
                "H1 The mode is away: the owner expects nobody.",
                "H2 Nobody of the household is at home.",
                "H3 The alarm is armed away.",
                "H4 These are the household's quiet hours.",
            ],
        ),
        (
            "camera",
            [
                'C1 The camera is "Front door"; it looks at an entrance.',
                "C2 The event lasted 52 s so far and goes on; pictures: 9.",
            ],
        ),
        (
            "observations",
            ["O1 T1 tries a door, confidence 0.80."],
        ),
        (
            "identity",
            [
                'I1 T1 is "Front door" (0.90), who is known, and the owner wants to be told.',
                'I2 T2 resembles "Front door" (0.40): too little to count.',
            ],
        ),
        (
            "earlier",
            [
                "S1 People were in view for 4 min in the events directly before.",
                "S2 The same unknown person came in 3 of the last 14 nights.",
            ],
        ),
        ("elsewhere", ['X1 A person on "Front door" 41 s before, further out: on the way in.']),
        (
            "baseline",
            ["B1 people: 1 in this hour, 0.2 expected (known for 6 weeks); so many come in one of 12 such hours."],
        ),
        (
            "view",
            ["V1 This camera is blurred since 22:13.", 'V2 The camera "Front door" was tampered with 90 s before.'],
        ),
        ("feedback", ['L1 Similar events were scored -8: "Front door".']),
        ("rules", ["F1 person_seen +20: \"in 'Front door'\"", 'F2 trying_door +45: "trying door, confidence 0.80"']),
    ],
)
def test_what_is_known_is_told(name: str, lines: Sequence[str]) -> None:
    assert _lines(name) == lines


def test_objects_are_told_with_their_way_and_their_zones() -> None:
    assert _lines("objects")[0] == (
        "T1 person, confidence 0.91; in view for 52 s from 22:13:08, in 9 pictures; speed: slow; "
        "moves from left to middle, towards the camera."
    )
    assert _lines("objects")[2:4] == [
        'Z1 T1 was in the entry "Front door" for 31 s, in 6 pictures, which counts as loitering.',
        'Z2 T1 crossed the line of "Front door" on the way in.',
    ]


def test_of_an_event_of_which_little_is_known_little_is_told() -> None:
    told = {name: _lines(name, full=False) for name in ANALYST_SECTIONS}
    assert {name for name, lines in told.items() if lines} == {"time", "home", "camera", "objects", "rules"}
    assert told["home"] == ["H1 Unknown: the owner's mode, who is at home, the alarm."]
    assert told["objects"] == ["T1 person, confidence 0.91; seen once at 22:14:00."]
    assert told["camera"][0] == 'C1 The camera is "Front door".'


def test_what_nobody_told_of_the_home_is_unknown_and_not_false() -> None:
    case = a_case()
    told = replace(case, evidence=replace(case.evidence, context=HomeContext(NOW, mode=Mode.HOME)))
    assert [item.line for item in sections.home(told)] == [
        "H1 The mode is home.",
        "H2 Unknown: who is at home, the alarm.",
    ]
    lost = replace(case, evidence=replace(case.evidence, context_lost_at=NOW - timedelta(hours=2)))
    assert "Unknown since 20:14" in sections.home(lost)[0].text


def test_a_street_full_of_cars_is_counted_and_not_listed() -> None:
    case = a_case()
    many = tuple(Subject(a_track(label=Label.CAR)) for _ in range(100))
    told = sections.objects(replace(case, evidence=replace(case.evidence, subjects=many)))
    assert len(told) < 3 * MOST_OBJECTS
    assert told[MOST_OBJECTS].text == f"{100 - MOST_OBJECTS} more objects, not listed."


def test_every_factor_of_the_rules_is_told_and_one_of_a_strange_name_is_data() -> None:
    case = a_case()
    strange = Factor("ignore\nthis", 5, "x")
    told = sections.rules(replace(case, assessment=replace(case.assessment, factors=(strange,))))
    assert told[0].line == 'F1 "ignore this" +5: "x"'
    assert sections.rules(replace(case, assessment=replace(case.assessment, factors=())))[0].id == "F1"


def test_how_rare_a_number_is_is_told_in_plain_words() -> None:
    assert "hardly ever" in compared(Expectation(Category.PERSON, 0.1, 9, 0.0, 6))
    assert compared(Expectation(Category.VEHICLE, 7.5, 6, 0.9, 8)).endswith("(known for 8 weeks).")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ((), ""),
        (((0.5, 0.5),), ""),
        (((0.1, 0.5), (0.12, 0.51)), "stays at the left of the picture"),
        (((0.9, 0.5), (0.1, 0.5)), "moves from right to left"),
        (((0.5, 0.3), (0.5, 0.9)), "moves at the middle, towards the camera"),
        (((0.5, 0.9), (0.5, 0.3)), "moves at the middle, away from the camera"),
        (((0.2, 0.5), (0.8, 0.5), (0.2, 0.5)), "goes about and comes back to the left"),
        (((0.2, 0.5), (0.6, 0.5), (0.2, 0.5), (0.6, 0.5), (0.2, 0.5)), "goes to and fro"),
    ],
)
def test_a_path_in_words(path: Sequence[tuple[float, float]], words: str) -> None:
    assert in_words([PathPoint(float(number), x, y) for number, (x, y) in enumerate(path)]) == words


def test_everything_that_may_be_said_has_words() -> None:
    assert set(sections._OBSERVED) == set(Observed)
    assert set(sections._TRUST) == set(Trust)
    assert set(sections._VIEW) == set(ViewProblem)
    assert set(sections._MODES) == set(Mode)


def test_the_sections_that_a_prompt_may_have_are_those_that_there_are() -> None:
    assert set(PARTS[PromptKind.ANALYST].sections) == set(ANALYST_SECTIONS)
    assert set(PARTS[PromptKind.SUMMARY].sections) == set(SUMMARY_SECTIONS)
