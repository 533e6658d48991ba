# SPDX-License-Identifier: AGPL-3.0-or-later
"""What stands still, told by real looks of painted pictures: a street with cars on it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from PIL import Image, ImageDraw

from inference_server.core.detection import Box, Detection, Label, LeftOut, Sighting
from inference_server.core.stationary import Standing
from inference_server.detection.appearance import view_of, with_looks
from inference_server.detection.detector import Picture
from inference_server.detection.stationary import MOST, StandingRules
from inference_server.settings import StationarySettings

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
SIZE = (320, 180)
RED, BLUE = (190, 30, 30), (30, 40, 190)
HERE, NEAR, FAR = (100, 100), (160, 105), (10, 20)
NIGHT, LAMP = 0.25, 1.4


@dataclass(frozen=True)
class Thing:
    """Something on the street."""

    at: tuple[float, float] = HERE
    colour: tuple[int, int, int] = RED
    label: Label = Label.CAR
    size: tuple[int, int] = (50, 28)
    seen: bool = True
    """By the detector."""

    @property
    def box(self) -> Box:
        return Box(*self.at, *self.size)


@dataclass
class Street:
    """One camera's pictures, one after the other."""

    settings: StationarySettings = field(default_factory=StationarySettings)
    standing: tuple[Standing, ...] = ()
    now: datetime = START
    frames: int = 0

    def see(self, *things: Thing, after: float = 60, light: float = 1.0, away: bool = False) -> tuple[Detection, ...]:
        """Take a picture of these things some seconds later and return what is detected in it."""
        self.now += timedelta(seconds=after)
        return self.at(self.now, *things, light=light, away=away)

    def at(
        self, when: datetime, *things: Thing, light: float = 1.0, away: bool = False, live: bool = True
    ) -> tuple[Detection, ...]:
        """Take a picture at a time, maybe of an old one that is imported."""
        self.frames += 1
        picture = paint(things, light, away=away)
        found = with_looks(picture, [Detection(thing.label, 0.8, thing.box) for thing in things if thing.seen])
        sighting = Sighting(self.frames, when, *SIZE, found, view_of(picture))
        rules = StandingRules(self.settings)
        observed = rules.observe("street", self.standing, sighting, arrived_at=max(when, self.now), live=live)
        self.standing = observed.standing
        return observed.sighting.detections

    @property
    def stationary(self) -> list[Standing]:
        return [item for item in self.standing if item.stationary_at is not None]

    def park(self, *things: Thing, minutes: int = 10) -> None:
        """Let things stand until they are stationary."""
        for _ in range(minutes):
            self.see(*things)
        assert len(self.stationary) == len(things)


def paint(things: Sequence[Thing], light: float, *, away: bool) -> Picture:
    image = Image.new("RGB", SIZE, (150, 160, 170))
    canvas = ImageDraw.Draw(image)
    canvas.rectangle((0, 90, 320, 180), fill=(90, 90, 95))
    canvas.rectangle((200, 10, 300, 80), fill=(140, 80, 60))
    if away:
        canvas.rectangle((0, 0, 160, 180), fill=(40, 90, 30))
        canvas.rectangle((160, 0, 320, 60), fill=(200, 210, 220))
    for thing in things:
        x, y = thing.at
        canvas.rectangle((x, y, x + thing.size[0], y + thing.size[1]), fill=thing.colour)
    pixels = np.clip(np.asarray(image, np.float32) * light, 0, 255).astype(np.uint8)
    return Picture(pixels, *SIZE)


def counts(found: Sequence[Detection]) -> bool:
    """Whether a detection makes an event of its own."""
    return any(item.left_out is None and item.standing_since is None for item in found)


CAR = Thing()


def test_a_car_that_parks_counts_when_it_comes_and_is_stationary_after_five_minutes() -> None:
    street = Street()
    assert counts(street.see(CAR))
    found = [street.see(CAR)[0] for _ in range(6)]
    assert not any(counts([item]) for item in found)
    assert {item.standing_since for item in found if item.left_out is None} == {START + timedelta(seconds=60)}
    assert [item.left_out for item in found] == [None] * 4 + [LeftOut.STATIONARY] * 2
    (item,) = street.stationary
    assert item.first_seen_at == START + timedelta(seconds=60)
    assert (item.label, item.sightings) == (Label.CAR, 7)


def test_the_detector_may_miss_it_call_it_a_truck_and_draw_its_box_anew() -> None:
    street = Street()
    for number in range(30):
        wobble = (HERE[0] + number % 3 - 1, HERE[1] + number % 2)
        label = Label.TRUCK if number % 5 == 4 else Label.CAR
        found = street.see(Thing(wobble, label=label, seen=number % 3 != 2))
        assert number < 2 or not counts(found)
    assert len(street.stationary) == 1


def test_it_wakes_when_it_drives_off_and_is_new_when_it_comes_back() -> None:
    street = Street()
    street.park(CAR)
    assert counts(street.see(Thing(NEAR), after=2))
    assert street.stationary == []
    street.see(after=2)
    assert counts(street.see(CAR, after=600))


def test_a_car_that_creeps_out_of_its_place_wakes() -> None:
    street = Street()
    street.park(CAR)
    found = [street.see(Thing((HERE[0] + 1.5 * number, HERE[1])), after=0.2) for number in range(1, 25)]
    assert not counts(found[0])
    assert any(counts(item) for item in found)


def test_another_car_at_its_place_counts() -> None:
    street = Street()
    street.park(CAR)
    street.see()
    assert counts(street.see(Thing(colour=BLUE)))


def test_the_same_car_after_a_miss_or_two_is_the_same() -> None:
    street = Street()
    street.park(CAR)
    street.see()
    street.see()
    assert not counts(street.see(CAR))


def test_a_place_that_is_empty_long_enough_is_empty() -> None:
    street = Street()
    street.park(CAR)
    for _ in range(12):
        street.see()
    assert street.stationary == []
    assert counts(street.see(CAR))


@pytest.mark.parametrize("light", [NIGHT, LAMP])
def test_a_change_of_the_light_wakes_nothing(light: float) -> None:
    street = Street()
    street.park(CAR)
    assert not counts(street.see(CAR, light=light))
    assert not counts(street.see(CAR))


def test_a_night_in_which_the_detector_sees_nothing_wakes_nothing() -> None:
    street = Street()
    street.park(CAR)
    for _ in range(60):
        street.see(light=NIGHT, after=600)
    assert not counts(street.see(CAR))


def _light_at(when: datetime) -> float:
    """By day 1; the light fades from 17 to 18:30 to 0.15 and comes back from 6 to 7:30."""
    hour = when.hour + when.minute / 60
    dark = min(max((hour - 17) / 1.5, 0.0), 1.0) if hour >= 12 else min(max((7.5 - hour) / 1.5, 0.0), 1.0)
    return float(0.15**dark)


@pytest.mark.parametrize("seen_by_night", [0.0, 0.05, 0.2, 0.5])
def test_a_car_that_a_detector_hardly_sees_by_night_makes_one_event_in_two_days(seen_by_night: float) -> None:
    street, random = Street(now=START - timedelta(hours=1)), np.random.default_rng(3)
    at = []
    for _ in range(2 * 24 * 12):
        light = _light_at(street.now + timedelta(minutes=5))
        share = seen_by_night + (0.97 - seen_by_night) * min(max((light - 0.3) / 0.2, 0.0), 1.0)
        if counts(street.see(Thing(seen=bool(random.random() < share)), after=300, light=light)):
            at.append(street.now)
    assert len(at) == 1, at
    for _ in range(12):
        street.see(after=300)
    assert street.standing == ()
    assert counts(street.see(CAR, after=300))


def test_a_car_that_leaves_by_night_has_gone_where_the_detector_sees_by_night() -> None:
    street = Street()
    street.park(CAR)
    for _ in range(60):
        street.see(CAR, light=NIGHT)
    for _ in range(12):
        street.see(light=NIGHT)
    assert street.standing == ()
    assert counts(street.see(CAR, light=NIGHT))


def test_a_camera_that_turns_away_and_comes_back_wakes_nothing() -> None:
    street = Street()
    street.park(CAR)
    for _ in range(30):
        street.see(Thing(FAR, BLUE), away=True)
    assert not counts(street.see(CAR))


def test_a_person_before_it_counts_and_the_car_behind_does_not() -> None:
    street = Street()
    street.park(CAR)
    person = Thing((90, 80), (20, 20, 20), Label.PERSON, (16, 50))
    half = Thing((108, 100), size=(42, 28))
    found = street.see(half, person)
    assert [item.left_out for item in found] == [LeftOut.STATIONARY, None]


def test_it_is_forgotten_after_a_day() -> None:
    street = Street()
    street.park(CAR)
    assert counts(street.see(CAR, after=25 * 3600))


def test_somebody_who_stands_for_an_hour_counts_all_the_time_and_a_statue_does_not() -> None:
    street = Street()
    statue = Thing(label=Label.PERSON, size=(16, 40))
    assert all(counts(street.see(statue)) for _ in range(239))
    for _ in range(5):
        street.see(statue)
    assert [item.left_out for item in street.see(statue)] == [LeftOut.STATIONARY]


def test_statues_may_be_turned_off() -> None:
    street = Street(StationarySettings(person_minutes=0))
    statue = Thing(label=Label.PERSON, size=(16, 40))
    assert all(counts(street.see(statue)) for _ in range(300))


def test_cars_that_pass_leave_nothing_behind() -> None:
    street = Street()
    for number in range(40):
        assert counts(street.see(Thing((number * 60 % 260, 100), colour=(RED, BLUE)[number // 5 % 2]), after=1))
    for _ in range(12):
        street.see(after=1)
    assert street.standing == ()


def test_imported_pictures_find_what_stood_there_at_their_time_and_miss_nothing() -> None:
    street = Street()
    street.park(CAR)
    before = street.standing
    earlier = START - timedelta(days=300)
    found = [street.at(earlier + timedelta(minutes=number), CAR, live=False) for number in range(10)]
    assert [counts(item) for item in found] == [True] + [False] * 9
    assert before[0] in street.standing
    assert len(street.stationary) == 2
    street.at(START + timedelta(minutes=5), live=False)
    assert before[0] in street.standing


def test_a_late_picture_of_its_time_is_left_out() -> None:
    street = Street()
    street.park(CAR)
    (found,) = street.at(START + timedelta(minutes=4.5), CAR)
    assert found.left_out is LeftOut.STATIONARY


def test_there_is_an_end_to_what_is_remembered() -> None:
    street = Street(StationarySettings(minutes=0, sightings=2))
    street.see(CAR)
    street.see(CAR)
    many = [Thing((x, y), BLUE, Label.BIRD, (3, 3)) for x in range(0, 320, 8) for y in range(0, 90, 8)]
    street.see(CAR, *many)
    assert len(street.standing) == MOST
    assert len(street.stationary) == 1
