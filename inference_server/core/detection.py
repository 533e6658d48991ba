# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the detector saw: labels, boxes, detections and tracks."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


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


@dataclass(frozen=True, slots=True)
class Detection:
    """One object seen in one frame, with a confidence of 0 to 1."""

    label: Label
    confidence: float
    box: Box


@dataclass(frozen=True, slots=True)
class Sighting:
    """The detections of one frame, with the time and size (pixels) of that frame."""

    frame_id: int
    captured_at: datetime
    width: int
    height: int
    detections: tuple[Detection, ...]


@dataclass(frozen=True, slots=True)
class Track:
    """The same object across the frames of an event. Counts are counts of tracks."""

    label: Label
    confidence: float
    """The highest confidence of its detections."""
    first_seen_at: datetime
    last_seen_at: datetime
    frames: int
