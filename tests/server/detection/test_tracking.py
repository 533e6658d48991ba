# SPDX-License-Identifier: AGPL-3.0-or-later
"""Linking detections into tracks."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from inference_server.core.detection import Box, Detection, Label, Sighting, Speed, Track
from inference_server.detection.zones import tracks_in

START = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


def person(x: float, y: float = 200, confidence: float = 0.8) -> Detection:
    """Somebody 50 pixels wide and 120 high; the diagonal is 130."""
    return Detection(Label.PERSON, confidence, Box(x, y, 50, 120))


def sighting(number: int, *detections: Detection, seconds: float = 1.0) -> Sighting:
    return Sighting(number, START + timedelta(seconds=number * seconds), 1280, 720, detections)


def counts(tracks: tuple[Track, ...]) -> dict[Label, int]:
    return dict(Counter(track.label for track in tracks))


def _tracks(sightings: Sequence[Sighting]) -> tuple[Track, ...]:
    return tracks_in(sightings, ())


def test_nothing_gives_nothing() -> None:
    assert _tracks([]) == ()
    assert _tracks([sighting(0), sighting(1)]) == ()


def test_four_people_in_one_frame_are_four() -> None:
    assert counts(_tracks([sighting(0, *(person(x) for x in (10, 40, 300, 600)))])) == {Label.PERSON: 4}


def test_a_parked_car_for_fifty_frames_is_one() -> None:
    random = Random(7)
    frames = [
        sighting(n, Detection(Label.CAR, 0.5 + n / 200, Box(400 + random.uniform(-5, 5), 300, 200, 90)))
        for n in range(50)
    ]
    (track,) = _tracks(frames)
    assert (track.label, track.confidence, track.frames) == (Label.CAR, 0.5 + 49 / 200, 50)
    assert (track.first_seen_at, track.last_seen_at) == (START, START + timedelta(seconds=49))
    assert (track.best_frame_id, track.speed) == (49, Speed.STILL)


def test_somebody_who_walks_through_is_one() -> None:
    (track,) = _tracks([sighting(n, person(10 + n * 100)) for n in range(10)])
    assert track.frames == 10


def test_two_who_walk_apart_are_two() -> None:
    frames = [sighting(n, person(600 - n * 60), person(660 + n * 60)) for n in range(8)]
    assert [track.frames for track in _tracks(frames)] == [8, 8]


def test_a_row_of_four_that_walks_on_is_four() -> None:
    frames = [sighting(n, *(person(10 + n * 80 + i * 70) for i in range(4)), seconds=2) for n in range(8)]
    assert counts(_tracks(frames)) == {Label.PERSON: 4}


def test_briefly_lost_keeps_the_track() -> None:
    frames = [sighting(0, person(100)), sighting(1), sighting(2), sighting(3, person(300))]
    (track,) = _tracks(frames)
    assert (track.frames, track.last_seen_at) == (2, START + timedelta(seconds=3))


def test_long_lost_elsewhere_is_somebody_else() -> None:
    frames = [sighting(0, person(100)), *(sighting(n) for n in range(1, 4)), sighting(4, person(300))]
    assert len(_tracks(frames)) == 2


def test_long_lost_at_the_same_place_is_the_same() -> None:
    frames = [sighting(0, person(100)), *(sighting(n) for n in range(1, 20)), sighting(20, person(105))]
    assert len(_tracks(frames)) == 1


def test_across_the_picture_at_once_is_somebody_else() -> None:
    assert len(_tracks([sighting(0, person(0)), sighting(1, person(1100), seconds=0.5)])) == 2


def test_a_distant_figure_does_not_become_a_near_one() -> None:
    far = Detection(Label.PERSON, 0.5, Box(300, 200, 12, 30))
    assert len(_tracks([sighting(0, far), sighting(1, person(290, 180), seconds=0.2)])) == 2


def test_person_and_dog_are_two() -> None:
    dog = Detection(Label.DOG, 0.7, Box(100, 200, 50, 120))
    assert counts(_tracks([sighting(0, person(100)), sighting(1, dog)])) == {Label.PERSON: 1, Label.DOG: 1}


def test_a_car_called_a_truck_once_is_one_car() -> None:
    box = Box(400, 300, 200, 90)
    names = [Label.CAR, Label.TRUCK, Label.CAR]
    (track,) = _tracks([sighting(n, Detection(name, 0.6, box)) for n, name in enumerate(names)])
    assert (track.label, track.frames) == (Label.CAR, 3)


def test_car_and_truck_side_by_side_keep_their_names() -> None:
    car, truck = Box(100, 300, 200, 100), Box(180, 290, 220, 120)
    frames = [sighting(n, Detection(Label.CAR, 0.6, car), Detection(Label.TRUCK, 0.6, truck)) for n in range(5)]
    assert counts(_tracks(frames)) == {Label.CAR: 1, Label.TRUCK: 1}


detections = st.builds(
    Detection,
    st.sampled_from(Label),
    st.floats(0.3, 1),
    st.builds(Box, st.floats(0, 1000), st.floats(0, 600), st.floats(0.5, 280), st.floats(0.5, 120)),
)
events = st.lists(st.lists(detections, max_size=6), max_size=8).map(
    lambda frames: [sighting(number, *found) for number, found in enumerate(frames)]
)


@given(events, st.randoms(use_true_random=False))
def test_laws_of_tracks(event: list[Sighting], random: Random) -> None:
    """Every detection is in one track; counts reach the fullest frame; order of arrival does not matter."""
    tracks = _tracks(event)
    everything = [detection for frame in event for detection in frame.detections]
    assert sum(track.frames for track in tracks) == len(everything)
    for category in {detection.label.category for detection in everything}:
        fullest = max(sum(d.label.category is category for d in frame.detections) for frame in event)
        assert sum(track.label.category is category for track in tracks) >= fullest
    assert max((t.confidence for t in tracks), default=0) == max((d.confidence for d in everything), default=0)
    assert all(track.first_seen_at <= track.last_seen_at for track in tracks)
    shuffled = list(event)
    random.shuffle(shuffled)
    assert _tracks(shuffled) == tracks


@given(st.lists(detections, max_size=6), st.integers(2, 20))
def test_what_never_moves_is_counted_once(found: list[Detection], frames: int) -> None:
    """The same detections in every frame are as many tracks as there are in one."""
    assert len(_tracks([sighting(number, *found) for number in range(frames)])) == len(found)
