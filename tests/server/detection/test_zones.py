# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tracks and zones: who was where, for how long, and what is ignored."""

from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from inference_server.core.detection import Box, Detection, Direction, Label, LeftOut, Sighting, Speed, Track, ZoneType
from inference_server.core.zone import Line, Zone, ZoneShape, rectangle
from inference_server.detection.zones import tracks_in, without_ignored
from tests.support.home import START

LEFT, RIGHT = rectangle(0, 0, 0.5, 1), rectangle(0.5, 0, 1, 1)


def _zone(zone_id: int = 1, **shape: Any) -> Zone:
    given = {"name": f"Zone {zone_id}", "type": ZoneType.YARD, "points": LEFT, **shape}
    return Zone(zone_id, "yard", ZoneShape(**given))


def _person(x: float, y: float = 0.8, label: Label = Label.PERSON) -> Detection:
    """Somebody whose foot point is there, in a frame of 1000 x 500 pixels."""
    return Detection(label, 0.9, Box(x * 1000 - 25, y * 500 - 120, 50, 120))


def _walk(*places: float, seconds: float = 1) -> list[Sighting]:
    """Somebody who is at these places (x from 0 to 1), one after the other."""
    return [
        Sighting(number, START + timedelta(seconds=number * seconds), 1000, 500, (_person(x),))
        for number, x in enumerate(places)
    ]


def _one(sightings: list[Sighting], *zones: Zone) -> Track:
    (track,) = tracks_in(sightings, zones)
    return track


def test_a_track_knows_its_path_its_speed_and_its_best_frame() -> None:
    track = _one(_walk(0.1, 0.2, 0.3))
    assert [(point.seconds, point.x, point.y) for point in track.path] == [(0, 0.1, 0.8), (1, 0.2, 0.8), (2, 0.3, 0.8)]
    assert (track.speed, track.best_frame_id, track.dwell) == (Speed.WALKING, 0, timedelta(seconds=2))


def test_speed_is_told_in_heights_of_the_box_per_second() -> None:
    speeds = [_one(_walk(0.1, 0.1 + 120 * heights / 1000)).speed for heights in (0.05, 0.2, 0.8, 1.65)]
    assert speeds == [Speed.STILL, Speed.SLOW, Speed.WALKING, Speed.FAST]
    assert _one(_walk(0.1)).speed is None


def test_a_long_path_keeps_its_ends_and_few_points() -> None:
    track = _one(_walk(*(0.1 + number * 0.004 for number in range(200))))
    assert len(track.path) <= 16
    assert (track.path[0].x, track.path[-1].x) == (0.1, 0.896)


def test_who_walks_from_one_zone_to_another_visits_both() -> None:
    first, second = _zone(1), _zone(2, points=RIGHT)
    track = _one(_walk(0.3, 0.4, 0.55, 0.65), second, first)
    assert [(visit.name, visit.frames, visit.seconds) for visit in track.zones] == [("Zone 1", 2, 1), ("Zone 2", 2, 1)]
    assert track.zones[1].entered_at == START + timedelta(seconds=2)


def test_a_moment_in_a_zone_does_not_count_where_it_takes_three_frames() -> None:
    zone = _zone(inertia=3)
    assert _one(_walk(0.45, 0.48, 0.55, 0.48, 0.45, 0.55), zone).zones == ()
    (visit,) = _one(_walk(0.55, 0.48, 0.45, 0.42, 0.55, 0.48), zone).zones
    assert (visit.frames, visit.entered_at) == (3, START + timedelta(seconds=1))


def test_who_stays_as_long_as_the_zone_says_loiters() -> None:
    zone = _zone(loitering_seconds=20)
    assert [_one(_walk(*[0.2] * frames, seconds=5), zone).zones[0].loitering for frames in (4, 5)] == [False, True]
    assert not _one(_walk(*[0.2] * 9, seconds=5), _zone()).zones[0].loitering


def test_a_line_that_is_crossed_says_which_way_and_when() -> None:
    gate = _zone(line=Line((0.5, 1), (0.5, 0.5)))
    (crossing,) = _one(_walk(0.4, 0.45, 0.55), gate).crossings
    assert (crossing.direction, crossing.at, crossing.name) == (Direction.IN, START + timedelta(seconds=2), "Zone 1")
    (crossing,) = _one(_walk(0.55, 0.45), gate).crossings
    assert crossing.direction is Direction.OUT
    assert _one(_walk(0.4, 0.55), _zone(line=gate.shape.line, labels=(Label.CAR,))).crossings == ()
    assert _one(_walk(0.4, 0.55), _zone(line=gate.shape.line, min_size=0.5)).crossings == ()
    assert _one(_walk(0.4, 0.55), _zone(line=gate.shape.line, enabled=False)).crossings == ()


def test_what_lies_in_an_ignored_zone_is_left_out_unless_another_one_is_more_important() -> None:
    street = _zone(1, type=ZoneType.IGNORE)
    sighting = Sighting(1, START, 1000, 500, (_person(0.2), _person(0.8)))
    assert [found.left_out for found in without_ignored(sighting, [street]).detections] == [LeftOut.IGNORED, None]
    door = _zone(2, type=ZoneType.ENTRY, priority=1)
    assert without_ignored(sighting, [street, door]) == sighting
    cars = _zone(1, type=ZoneType.IGNORE, labels=(Label.CAR,))
    assert without_ignored(sighting, [cars]) == sighting


WALKS = st.lists(st.tuples(st.floats(0.05, 0.95), st.floats(0.3, 1)), min_size=1, max_size=6)


@settings(deadline=None, max_examples=50)
@given(WALKS, st.sampled_from([0.5, 2, 3]), st.randoms(use_true_random=False))
def test_neither_resolution_nor_order_changes_what_happened(
    walk: list[tuple[float, float]], scale: float, random: Any
) -> None:
    zones = [_zone(1, line=Line((0.5, 1), (0.5, 0))), _zone(2, points=RIGHT, inertia=2, priority=3)]
    sightings = [
        Sighting(number, START + timedelta(seconds=number), 1000, 500, (_person(x, y),))
        for number, (x, y) in enumerate(walk)
    ]
    larger = [_scaled(sighting, scale) for sighting in sightings]
    random.shuffle(larger)
    random.shuffle(zones)
    told = [(track.frames, track.zones, track.crossings) for track in tracks_in(sightings, zones)]
    assert [(track.frames, track.zones, track.crossings) for track in tracks_in(larger, zones[::-1])] == told


def _scaled(sighting: Sighting, scale: float) -> Sighting:
    (found,) = sighting.detections
    box = found.box
    larger = Box(box.x * scale, box.y * scale, box.width * scale, box.height * scale)
    size = round(1000 * scale), round(500 * scale)
    return Sighting(sighting.frame_id, sighting.captured_at, *size, (Detection(found.label, 0.9, larger),))
