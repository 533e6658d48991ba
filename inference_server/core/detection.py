# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the detector saw: labels, boxes, detections and tracks."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from inference_server.core.polygon import Point


class Category(StrEnum):
    """The three kinds of object that a camera's occupancy tells apart."""

    PERSON = "person"
    VEHICLE = "vehicle"
    ANIMAL = "animal"


class Label(StrEnum):
    """The COCO classes that are kept; every other class of a model is dropped."""

    PERSON = "person"
    BICYCLE = "bicycle"
    CAR = "car"
    MOTORCYCLE = "motorcycle"
    BUS = "bus"
    TRUCK = "truck"
    BIRD = "bird"
    CAT = "cat"
    DOG = "dog"

    @property
    def category(self) -> Category:
        """The kind of object this label belongs to."""
        if self is Label.PERSON:
            return Category.PERSON
        return Category.ANIMAL if self in _ANIMALS else Category.VEHICLE


_ANIMALS = frozenset({Label.BIRD, Label.CAT, Label.DOG})


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels of the frame; x and y are its top left corner."""

    x: float
    y: float
    width: float
    height: float

    @property
    def area(self) -> float:
        """Square pixels."""
        return self.width * self.height

    def overlap(self, other: "Box") -> float:
        """Return the intersection over union with another box, 0 to 1."""
        width = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        height = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        if width <= 0 or height <= 0:
            return 0.0
        shared = width * height
        return shared / (self.area + other.area - shared)


class LeftOut(StrEnum):
    """Why a detection makes no event and counts in none."""

    STATIONARY = "stationary"
    """What it shows stood there already and has not moved."""
    IGNORED = "ignored"
    """Its foot point lies in a zone that is ignored."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One object seen in one frame, with a confidence of 0 to 1."""

    label: Label
    confidence: float
    box: Box
    appearance: bytes | None = field(default=None, compare=False, repr=False)
    """What it looks like, as `detection/appearance.py` describes it; None where nobody looked."""
    left_out: LeftOut | None = None
    standing_since: datetime | None = field(default=None, compare=False)
    """When the object came to stand where it is; None while it is not known to stand, as at its first sight."""

    def foot(self, width: int, height: int) -> Point:
        """Return where it touches the ground, from 0 (left, top) to 1, in a frame of that size in pixels."""
        x, y = (self.box.x + self.box.width / 2) / width, (self.box.y + self.box.height) / height
        return min(max(x, 0.0), 1.0), min(max(y, 0.0), 1.0)


@dataclass(frozen=True, slots=True)
class Sighting:
    """The detections of one frame, with the time and size (pixels) of that frame."""

    frame_id: int
    captured_at: datetime
    width: int
    height: int
    detections: tuple[Detection, ...]
    view: bytes | None = field(default=None, compare=False, repr=False)
    """What the whole picture looks like, as `detection/appearance.py` describes it."""

    @property
    def counted(self) -> tuple[Detection, ...]:
        """The detections that make events."""
        return tuple(detection for detection in self.detections if detection.left_out is None)


class Speed(StrEnum):
    """How fast a track moves, by the median of its speeds from frame to frame, in heights of its box per second.

    A person is about 1.7 m high and walks at 1.4 m/s, 0.8 heights per second; a car is about 1.5 m high.
    """

    STILL = "still"
    """Below 0.1."""
    SLOW = "slow"
    """Below 0.4: a stroll, a car that is parked."""
    WALKING = "walking"
    """Below 1.6."""
    FAST = "fast"
    """1.6 and more: who runs, and what drives."""


class Direction(StrEnum):
    """Which way a line was crossed."""

    IN = "in"
    OUT = "out"


@dataclass(frozen=True, slots=True)
class PathPoint:
    """Where a track's foot point was, from 0 (left, top) to 1, so many seconds after its first sight."""

    seconds: float
    x: float
    y: float

    @property
    def place(self) -> Point:
        """Where it was, without the time."""
        return self.x, self.y


class ZoneType(StrEnum):
    """What an area of a camera's picture is."""

    ENTRY = "entry"
    DRIVEWAY = "driveway"
    SIDEWALK = "sidewalk"
    YARD = "yard"
    RESTRICTED = "restricted"
    IGNORE = "ignore"
    """Nothing there makes an event."""


@dataclass(frozen=True, slots=True)
class ZoneVisit:
    """A track's stay in a zone, all its times there together."""

    zone_id: int
    name: str
    type: ZoneType
    entered_at: datetime
    seconds: float
    frames: int
    loitering: bool
    """Whether it stayed as long as the zone calls loitering."""


@dataclass(frozen=True, slots=True)
class LineCrossing:
    """A track's crossing of a zone's line."""

    zone_id: int
    name: str
    direction: Direction
    at: datetime


@dataclass(frozen=True, slots=True)
class Track:
    """The same object across the frames of an event. Counts are counts of tracks."""

    label: Label
    confidence: float
    """The highest confidence of its detections."""
    first_seen_at: datetime
    last_seen_at: datetime
    frames: int
    best_frame_id: int | None = None
    """Where its confidence is highest; None for a track of before this was stored."""
    speed: Speed | None = None
    """None for what was seen once."""
    path: tuple[PathPoint, ...] = ()
    """In order of time, thinned out where it would be long."""
    zones: tuple[ZoneVisit, ...] = ()
    crossings: tuple[LineCrossing, ...] = ()

    @property
    def dwell(self) -> timedelta:
        """How long it was in view."""
        return self.last_seen_at - self.first_seen_at
