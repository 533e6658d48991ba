# SPDX-License-Identifier: AGPL-3.0-or-later
"""What surrounds an event, and how likely so many objects are in an hour."""

from datetime import timedelta
from math import exp, factorial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.core.context import HomeContext
from inference_server.core.detection import Category, Label, PathPoint, Track
from inference_server.core.view import ViewProblem
from inference_server.risk.circumstances import (
    OnCamera,
    known_context,
    newcomers,
    recent_tampering,
    seen_elsewhere,
    stayed_before,
)
from inference_server.risk.evidence import Tampering
from inference_server.risk.expectation import chance_of, expectation
from tests.support.home import START

PERSON, VEHICLE = Category.PERSON, Category.VEHICLE


def _seconds(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def _track(since: float, until: float, x: float = 0.5, end: float | None = None, label: Label = Label.PERSON) -> Track:
    path = (PathPoint(0, x, 0.5), PathPoint(until - since, x if end is None else end, 0.5))
    return Track(label, 0.9, START + _seconds(since), START + _seconds(until), 9, path=path)


def test_what_was_told_is_known_until_it_is_stale() -> None:
    told = HomeContext(START, people_home=1)
    assert known_context(told, START + timedelta(minutes=19)).context == told
    lost = known_context(told, START + timedelta(minutes=21))
    assert (lost.context, lost.lost_at) == (None, START)
    assert known_context(None, START).lost_at is None


def test_a_stay_goes_back_over_events_that_follow_each_other() -> None:
    now = [_track(200, 250)]
    assert stayed_before(now, [[_track(100, 190)], [_track(0, 95)]]) == _seconds(200)
    assert stayed_before(now, [[_track(100, 190)], [_track(-200, -100)]]) == _seconds(100)
    assert stayed_before(now, [[_track(0, 100)]]) == timedelta(0)
    assert stayed_before(now, []) == timedelta(0)


def test_only_the_same_person_at_the_same_place_has_stayed() -> None:
    now = [_track(100, 150, 0.9)]
    assert stayed_before(now, [[_track(0, 95, 0.1)]]) == timedelta(0)
    assert stayed_before(now, [[_track(0, 95, 0.1, end=0.85)]]) == _seconds(100)
    assert stayed_before(now, [[_track(0, 95, 0.9, label=Label.DOG)]]) == timedelta(0)
    assert stayed_before([_track(100, 150, 0.9, label=Label.CAR)], [[_track(0, 95, 0.9, label=Label.CAR)]]) == _seconds(
        0
    )


def test_who_goes_on_from_the_event_before_is_no_newcomer() -> None:
    stays, comes = _track(100, 150), _track(100, 150, 0.1)
    assert newcomers([stays, comes], [_track(0, 95)]) == (comes,)
    assert newcomers([stays], []) == (stays,)


def test_other_cameras_count_when_they_saw_something_shortly_before() -> None:
    def seen(ago: float) -> OnCamera:
        return OnCamera("drive", frozenset({PERSON, VEHICLE}), START - _seconds(ago))

    def found(ago: float) -> list[tuple[str, Category, float, bool]]:
        sightings = seen_elsewhere([seen(ago)], started_at=START, now=START + _seconds(10), further_out={"drive"})
        return [(s.camera, s.category, s.ago.total_seconds(), s.further_out) for s in sightings]

    assert found(20) == [("drive", PERSON, 30, True), ("drive", VEHICLE, 30, True)]
    assert found(-5) == [("drive", PERSON, 5, True), ("drive", VEHICLE, 5, True)]
    assert found(301) == []
    assert found(-11) == []  # later than what is known now


def test_a_hand_on_a_camera_counts_for_an_hour() -> None:
    recent, old = (Tampering("door", ViewProblem.BLOCKED, timedelta(minutes=minutes)) for minutes in (59, 61))
    assert recent_tampering([recent, old]) == (recent,)


def test_too_few_weeks_let_expect_nothing() -> None:
    assert expectation(PERSON, counted=5, weeks=1.9, seen=1) is None
    told = expectation(PERSON, counted=10, weeks=5, seen=3)
    assert told is not None
    assert (told.expected, told.seen, told.weeks) == (2, 3, 5)


def test_with_many_weeks_the_chance_is_that_of_a_poisson_count() -> None:
    rate = 2.0
    poisson = 1 - sum(exp(-rate) * rate**n / factorial(n) for n in range(5))
    assert chance_of(5, rate * 1e6, 1e6) == pytest.approx(poisson, rel=1e-3)


@given(st.floats(0, 1e5), st.floats(2, 1000), st.integers(0, 200))
def test_more_objects_are_never_likelier(counted: float, weeks: float, seen: int) -> None:
    chance = chance_of(seen, counted, weeks)
    assert 0 <= chance_of(seen + 1, counted, weeks) <= chance + 1e-9 <= 1 + 1e-9
    assert chance_of(0, counted, weeks) == 1


def test_a_short_memory_holds_little_for_rare() -> None:
    assert chance_of(1, 0, 2) > 0.1
    assert chance_of(1, 0, 26) < 0.05
