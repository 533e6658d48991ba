# SPDX-License-Identifier: AGPL-3.0-or-later
"""The prompt of a summary."""

from dataclasses import replace
from datetime import timedelta

from inference_server.core.assessment import LevelThresholds
from inference_server.core.detection import Category
from inference_server.core.prompt import PromptKind
from inference_server.risk.evidence import Expectation
from inference_server.risk.prompts.case import Period, Told
from inference_server.risk.prompts.rendering import render_summary
from inference_server.risk.prompts.shipped import newest_shipped
from inference_server.risk.prompts.summary_sections import MOST_EVENTS, counts, events
from inference_server.risk.prompts.text import read_prompt
from tests.support.cases import NOW

HOUR = timedelta(hours=1)


def a_period(name: str = "Front door") -> Period:
    """Return an hour with two events that are one incident."""
    begin = NOW - HOUR
    mild = Told(started_at=begin, ended_at=begin, cameras=(name,), score=8, summary="A car", verified=True)
    bad = Told(started_at=NOW, ended_at=None, cameras=(name,), score=72, summary=name)
    return Period(
        since=begin,
        until=NOW,
        events=(mild, bad),
        incidents=(replace(bad, cameras=(name, "Yard")),),
        unusual=(Expectation(Category.PERSON, 0.2, 4, 0.01, 6),),
        not_judged={name: timedelta(minutes=12)},
    )


def test_an_hour_is_told_the_most_serious_first() -> None:
    prompt = read_prompt(PromptKind.SUMMARY, newest_shipped(PromptKind.SUMMARY).text)
    rendered = render_summary(a_period(), prompt, 2000)
    assert [item.line for item in rendered.items] == [
        "N1 Events: 2 (high 1, low 1); incidents: 1.",
        "N2 Judged by the rules alone: 1.",
        'N3 The camera "Front door" could not be judged for 12 min.',
        'I1 22:14 on "Front door", "Yard": high 72, by the rules alone: "Front door".',
        'E1 22:14 on "Front door": high 72, by the rules alone: "Front door".',
        'E2 21:14 to 21:14 on "Front door": low 8: "A car".',
        'C1 "Front door": 2 events.',
        "B1 people: 4 in this hour, 0.2 expected (known for 6 weeks); so many come in one of 100 such hours.",
    ]
    assert rendered.prompt.endswith("Write the summary of Monday, 21:14 to 22:14.")
    less = render_summary(a_period(), prompt, rendered.tokens - 1)
    assert less.left_out == ("unusual",)


def test_what_was_not_judged_is_unknown_and_not_quiet() -> None:
    quiet = Period(since=NOW - HOUR, until=NOW)
    assert "unknown" in counts(quiet, LevelThresholds())[1].text
    watched = replace(quiet, not_judged={"Yard": timedelta(0)})
    assert counts(watched, LevelThresholds())[1].text == "All cameras were judged all of the time."


def test_a_busy_day_is_counted_and_not_listed() -> None:
    day = replace(a_period(), events=a_period().events * 200)
    told = events(day, LevelThresholds())
    assert len(told) == MOST_EVENTS + 1
    assert told[-1].text == f"{400 - MOST_EVENTS} more events, not listed."
    assert "high" in told[0].text
