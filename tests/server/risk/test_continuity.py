# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who was in view when one event ended and the next one began."""

from datetime import timedelta

from inference_server.core.detection import Category, Label, PathPoint, Track
from inference_server.risk.continuity import Before, first_sights, stayed_before
from tests.support.home import START


def _seconds(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def _track(since: float, until: float, x: float = 0.5, end: float | None = None, label: Label = Label.PERSON) -> Track:
    path = (PathPoint(0, x, 0.5), PathPoint(until - since, x if end is None else end, 0.5))
    return Track(label, 0.9, START + _seconds(since), START + _seconds(until), 9, path=path)


def _before(*tracks: Track) -> Before:
    return Before(tracks[0].first_seen_at, tracks)


def test_a_stay_goes_back_over_events_that_follow_each_other() -> None:
    now = [_track(200, 250)]
    assert stayed_before(now, [_before(_track(100, 190)), _before(_track(0, 95))]) == _seconds(200)
    assert stayed_before(now, [_before(_track(100, 190)), _before(_track(-200, -100))]) == _seconds(100)
    assert stayed_before(now, [_before(_track(0, 100))]) == timedelta(0)
    assert stayed_before(now, []) == timedelta(0)


def test_only_the_same_person_at_the_same_place_has_stayed() -> None:
    now = [_track(100, 150, 0.9)]
    assert stayed_before(now, [_before(_track(0, 95, 0.1))]) == timedelta(0)
    assert stayed_before(now, [_before(_track(0, 95, 0.1, end=0.85))]) == _seconds(100)
    assert stayed_before(now, [_before(_track(0, 95, 0.9, label=Label.DOG))]) == timedelta(0)
    car = _track(0, 95, 0.9, label=Label.CAR)
    assert stayed_before([_track(100, 150, 0.9, label=Label.CAR)], [_before(car)]) == timedelta(0)


def test_who_stays_over_several_events_came_once() -> None:
    first, goes_on, new = _track(0, 95), _track(100, 190), _track(100, 190, 0.05)
    sights = first_sights([[first], [goes_on, new], [_track(195, 280)]])
    assert sights == [(Category.PERSON, START), (Category.PERSON, START + _seconds(100))]
    assert len(first_sights([[first], [], [_track(195, 280)]])) == 2
