# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the template says: quiet is one line, and what nobody judged is never called quiet."""

from dataclasses import replace
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.core.assessment import RiskLevel
from inference_server.core.detection import Category
from inference_server.core.incident import Chapter, Incident, story_of, title_of
from inference_server.core.summary import CameraCount, Period, SummaryKind
from inference_server.risk.summaries import SummaryFacts, Unusual, tell
from tests.support.home import START

HOUR = Period(SummaryKind.HOURLY, START, START + timedelta(hours=1))
QUIET = SummaryFacts(HOUR, ZoneInfo("Europe/Berlin"), dict.fromkeys(RiskLevel, 0), (), (), (), 0, 0, 0)
INCIDENT = Incident(
    4, START, START, None, 72, False, "A person: Drive, Door", "09:01 Drive: a person.", ("drive", "door"), (1, 2)
)


def _levels(low: int = 0, medium: int = 0, high: int = 0, critical: int = 0) -> dict[RiskLevel, int]:
    return dict(zip(RiskLevel, (low, medium, high, critical), strict=True))


NOT_ALL = (
    "Nothing above low in what could be judged (0 events). 1 picture could not be judged and is among the dead letters."
)
SERIOUS = (
    "1 event above low: 1 high. The most serious: A person: Drive, Door. By camera: Door 3. "
    "A person: Drive, Door: 09:01 Drive: a person. "
    "Unusual: 5 people on Door in the hour from 09:00, 0.8 expected. 3 of 3 were judged by rules alone."
)
DOOR = CameraCount("door", "Door", 3, 72)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (QUIET, "All quiet."),
        (replace(QUIET, levels=_levels(1), cameras=(DOOR,)), "All quiet: 1 event, none above low. By camera: Door 3."),
        (
            replace(QUIET, unjudged_minutes=25),
            "Nothing above low in what could be judged (0 events). For 25 of 60 minutes no picture could be judged.",
        ),
        (replace(QUIET, unjudged_minutes=60), "Unknown: no picture could be judged."),
        (
            replace(QUIET, unjudged_pictures=1),
            NOT_ALL,
        ),
        (
            replace(
                QUIET,
                levels=_levels(2, high=1),
                cameras=(DOOR,),
                incidents=(INCIDENT,),
                unverified=3,
                unusual=(Unusual("Door", Category.PERSON, START, 5, 0.84, 0.001),),
            ),
            SERIOUS,
        ),
    ],
)
def test_what_is_said(facts: SummaryFacts, said: str) -> None:
    told = tell(facts)
    assert told.text == said
    assert told.text.startswith(told.headline)


@given(st.lists(st.integers(0, 3), min_size=4, max_size=4), st.integers(0, 70), st.integers(0, 2), st.integers(0, 3))
def test_quiet_is_claimed_only_of_what_was_judged(
    levels: list[int], unjudged: int, pictures: int, unverified: int
) -> None:
    facts = replace(
        QUIET,
        levels=_levels(*levels),
        unjudged_minutes=unjudged,
        unjudged_pictures=pictures,
        unverified=min(unverified, sum(levels)),
    )
    quiet = tell(facts).headline.startswith("All quiet")
    assert quiet is (not any(levels[1:]) and unjudged == pictures == 0)
    assert "\n" not in tell(facts).headline


def _chapter(number: int, score: int = 10, camera: str = "Drive") -> Chapter:
    return Chapter(number, camera.lower(), camera, score, "a person" if score < 50 else "2 people", f"line {number}")


def test_a_long_story_is_told_by_its_ends() -> None:
    story = story_of([_chapter(number) for number in range(100)])
    assert story.startswith("line 0; line 1;")
    assert "; 88 more events; line 94;" in story
    assert story.endswith("line 99.")


def test_a_title_names_the_most_serious_and_the_cameras_in_order() -> None:
    chapters = [_chapter(1, camera="Door"), _chapter(2, 80), *(_chapter(n, camera=f"C{n}") for n in range(9))]
    assert title_of(chapters) == "2 people: Door, Drive, C0, C1, C2 and 6 more"
