# SPDX-License-Identifier: AGPL-3.0-or-later
"""The player: scripts become the evidence that the product would have."""

from datetime import timedelta
from pathlib import Path

import pytest

from inference_server.core.detection import Category, ZoneType
from inference_server.core.view import ViewProblem
from inference_server.evaluation.player import Player
from inference_server.settings import Settings
from tests.server.evaluation.scripts import WALK, played, scenario


def test_a_walk_is_one_track_in_its_zone(tmp_path: Path) -> None:
    (event,) = played(tmp_path, WALK)
    (track,) = event.evidence.tracks
    assert track.frames == 5
    assert [visit.type for visit in track.zones] == [ZoneType.SIDEWALK]
    assert (event.evidence.now.hour, event.evidence.night) == (12, False)
    assert str(event.evidence.now.tzinfo) == "Europe/Berlin"


def test_a_scenario_always_plays_the_same(tmp_path: Path) -> None:
    assert played(tmp_path, WALK) == played(tmp_path, WALK)


def test_a_long_stay_becomes_several_events_and_goes_on(tmp_path: Path) -> None:
    events = played(tmp_path, WALK.replace("0 left, 8 right", "0 car, 200 car"))
    assert len(events) == 3
    stays = [event.evidence.stayed_before.total_seconds() for event in events]
    assert stays[0] == 0
    assert stays == sorted(set(stays))
    assert stays[2] > 150


def test_passers_by_after_each_other_do_not_stay(tmp_path: Path) -> None:
    walks = ", ".join(f'{{path: "{start} left, {start + 8} right"}}' for start in range(0, 200, 20))
    events = played(tmp_path, WALK.replace('{path: "0 left, 8 right"}', walks))
    assert len(events) > 1
    assert all(event.evidence.stayed_before == timedelta(0) for event in events)


def test_happenings_apart_are_events_apart(tmp_path: Path) -> None:
    second = WALK.replace("happenings:\n", "").replace("12:00:00", "12:05:00")
    first, later = played(tmp_path, WALK + second)
    assert later.started_at - first.started_at == timedelta(minutes=5)


def test_a_parked_car_makes_one_event(tmp_path: Path) -> None:
    parked = WALK.replace('{path: "0 left, 8 right"}', '{label: car, path: "0 car, 1800 car"}')
    (event,) = played(tmp_path, parked.replace("    objects", "    every: 10\n    objects"))
    assert [track.label.category for track in event.evidence.tracks] == [Category.VEHICLE]


def test_what_is_in_an_ignored_zone_or_hardly_seen_makes_no_event(tmp_path: Path) -> None:
    assert played(tmp_path, WALK.replace("0 left, 8 right", "0 hedge, 20 hedge")) == ()
    assert played(tmp_path, WALK.replace("{path", "{confidence: 0.3, path")) == ()


def test_each_track_gets_what_is_known_of_its_own_object(tmp_path: Path) -> None:
    two = """happenings:
  - camera: drive
    starts_at: 2026-05-05 12:00:00
    objects:
      - {path: "0 car, 20 car", identity: {name: Anna, trust: full}}
      - {path: "0 left, 10 right", observed: [face_covered]}
      - {label: dog, path: "0 car, 20 car"}
"""
    (event,) = played(tmp_path, two)
    people = {subject.identity.name if subject.identity else None: subject for subject in event.evidence.subjects}
    assert people["Anna"].observed == ()
    assert [one.kind for one in people[None].observed] in ([], ["face_covered"])
    masked = [subject for subject in event.evidence.subjects if subject.observed]
    assert [subject.track.path[0].x < 0.15 for subject in masked] == [True]


def test_the_way_in_leads_over_the_cameras(tmp_path: Path) -> None:
    both = (
        WALK
        + """  - camera: door
    starts_at: 2026-05-05 12:00:20
    objects: [{path: "0 steps, 10 door"}]
"""
    )
    drive, door = played(tmp_path, both)
    assert drive.evidence.elsewhere == ()
    (seen,) = door.evidence.elsewhere
    assert (seen.camera, seen.category, seen.further_out) == ("drive", Category.PERSON, True)


def test_what_was_before_the_first_picture(tmp_path: Path) -> None:
    history = """history:
  usual: [{camera: drive, category: person, hours: "Mon-Fri 12-13", per_hour: 3, weeks: 10}]
  nights_visited: 4
  seen: [{camera: door, category: vehicle, seconds_before: 30}]
  tampering: [{camera: door, minutes_before: 2}, {camera: door, minutes_before: 300}]
  lesson: {points: -7, evidence: said so}
"""
    (event,) = played(tmp_path, history + WALK)
    evidence = event.evidence
    assert [(e.expected, e.seen, e.weeks) for e in evidence.expectations] == [(3, 1, 10)]
    assert evidence.nights_visited == 4
    assert [(one.camera, one.further_out) for one in evidence.elsewhere] == [("door", False)]
    assert [one.problem for one in evidence.tampering] == [ViewProblem.TAMPERED]
    assert evidence.lesson is not None


def test_at_other_hours_nothing_is_expected(tmp_path: Path) -> None:
    usual = "history: {usual: [{camera: drive, category: person, hours: 13-14, per_hour: 3, weeks: 10}]}\n"
    assert played(tmp_path, usual + WALK)[0].evidence.expectations == ()


def test_somebody_who_stays_is_counted_once_in_the_hour(tmp_path: Path) -> None:
    usual = "history: {usual: [{camera: drive, category: person, hours: 12-13, per_hour: 3, weeks: 10}]}\n"
    events = played(tmp_path, usual + WALK.replace("0 left, 8 right", "0 car, 400 car"))
    assert [event.evidence.expectations[0].seen for event in events] == [1] * len(events)
    again = WALK + WALK.replace("happenings:\n", "").replace("12:00:00", "12:30:00")
    assert [event.evidence.expectations[0].seen for event in played(tmp_path, usual + again)] == [1, 2]


@pytest.mark.parametrize(("minutes", "known"), [(5, True), (60, False)])
def test_old_news_of_the_home_is_no_news(tmp_path: Path, minutes: int, known: bool) -> None:
    (event,) = played(tmp_path, f"context: {{mode: away, age_minutes: {minutes}}}\n{WALK}")
    assert (event.evidence.context is not None) is known
    assert (event.evidence.context_lost_at is None) is known


def test_the_settings_of_the_installation_hold(tmp_path: Path) -> None:
    settings = Settings.model_validate({"risk": {"night_starts_hour": 11, "night_ends_hour": 14}})
    (event,) = Player(settings).play(scenario(tmp_path, WALK))
    assert event.evidence.night


def test_the_repeated_hour_of_the_clock_change_is_played_once(tmp_path: Path) -> None:
    (event,) = played(tmp_path, WALK.replace("2026-05-05 12:00:00", "2026-10-25 02:30:00"))
    assert event.last_detection_at - event.started_at == timedelta(seconds=8)
    assert event.evidence.now.hour == 2
