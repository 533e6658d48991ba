# SPDX-License-Identifier: AGPL-3.0-or-later
"""Zones: named areas of a camera's picture, with coordinates from 0 (left, top) to 1, whatever its resolution."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby, pairwise

from inference_server.core.detection import Detection, Direction, Label, PathPoint, ZoneType
from inference_server.core.polygon import Point, area, contains, is_simple, meet, side

MAX_ZONES = 32
"""Of one camera."""
MAX_ZONE_POINTS = 64
MAX_ZONE_NAME = 50
LEAST_AREA = 0.0005
"""Of the picture: 22 x 21 of 1280 x 720 pixels."""
SHORTEST_LINE = 0.01
MAX_PRIORITY = 100
MAX_INERTIA = 50
MAX_LOITERING_SECONDS = 3600.0
_COLOUR = re.compile(r"#[0-9a-f]{6}")


@dataclass(frozen=True, slots=True)
class Line:
    """A line with two ends. Who crosses it to the right, looking from `start` to `end`, goes in."""

    start: Point
    end: Point

    def __post_init__(self) -> None:
        """Raise ValueError for ends outside the picture or at the same place."""
        if not all(0 <= part <= 1 for point in (self.start, self.end) for part in point):
            raise ValueError("a line's ends lie between 0 (left, top) and 1 (right, bottom)")
        if max(abs(a - b) for a, b in zip(self.start, self.end, strict=True)) < SHORTEST_LINE:
            raise ValueError(f"a line's ends are at least {SHORTEST_LINE} apart")


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneShape:
    """What an owner says of a zone."""

    name: str
    type: ZoneType
    points: tuple[Point, ...]
    labels: tuple[Label, ...] = ()
    """Of the objects that count there; none means all."""
    min_size: float = 0.0
    """The least share of the picture that an object's box has to cover."""
    inertia: int = 1
    """In how many frames one after the other an object is there before that counts."""
    loitering_seconds: float = 0.0
    """How long somebody may be there; 0 means as long as they like."""
    line: Line | None = None
    priority: int = 0
    """Where zones overlap, an object is in the one with the highest; of equal ones, in the oldest."""
    enabled: bool = True
    colour: str = "#4aa8ff"

    def __post_init__(self) -> None:
        """Raise ValueError for what is out of its range."""
        if not 1 <= len(self.name) <= MAX_ZONE_NAME or not self.name.isprintable() or self.name != self.name.strip():
            raise ValueError(f"a zone's name has 1 to {MAX_ZONE_NAME} characters that can be shown")
        if not 3 <= len(self.points) <= MAX_ZONE_POINTS:
            raise ValueError(f"a zone has 3 to {MAX_ZONE_POINTS} points, not {len(self.points)}")
        if not all(0 <= part <= 1 for point in self.points for part in point):
            raise ValueError("a zone's points lie between 0 (left, top) and 1 (right, bottom)")
        if not is_simple(self.points):
            raise ValueError("a zone's outline encloses an area and neither crosses nor touches itself")
        if area(self.points) < LEAST_AREA:
            raise ValueError(f"a zone covers at least {LEAST_AREA} of the picture")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("a zone names each label once")
        self._check_numbers()

    def _check_numbers(self) -> None:
        if not 0 <= self.min_size <= 1:
            raise ValueError("min_size is a share of the picture, from 0 to 1")
        if not 1 <= self.inertia <= MAX_INERTIA:
            raise ValueError(f"inertia is a number of frames from 1 to {MAX_INERTIA}")
        if not 0 <= self.loitering_seconds <= MAX_LOITERING_SECONDS:
            raise ValueError(f"loitering_seconds lies between 0 and {MAX_LOITERING_SECONDS:.0f}")
        if not -MAX_PRIORITY <= self.priority <= MAX_PRIORITY:
            raise ValueError(f"priority lies between -{MAX_PRIORITY} and {MAX_PRIORITY}")
        if not _COLOUR.fullmatch(self.colour):
            raise ValueError("a zone's colour is written like #4aa8ff")

    def takes(self, label: Label) -> bool:
        """Return whether objects of this label count here."""
        return not self.labels or label in self.labels

    def holds(self, found: Detection, width: int, height: int) -> bool:
        """Return whether a detection in a frame of that size (pixels) is in this zone."""
        large = found.box.area >= self.min_size * width * height
        return large and self.takes(found.label) and contains(self.points, found.foot(width, height))

    def objection(self, found: Detection, width: int, height: int) -> str | None:
        """Return why a detection in a frame of that size (pixels) is not in this zone; None when it is."""
        if not contains(self.points, found.foot(width, height)):
            return "its foot point lies outside"
        if not self.takes(found.label):
            return f"a {found.label.value} does not count here"
        share = found.box.area / (width * height)
        return (
            None
            if self.holds(found, width, height)
            else f"it covers {share:.4f} of the picture, less than {self.min_size}"
        )


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone of a camera."""

    id: int
    camera_id: str
    shape: ZoneShape


def rectangle(left: float, top: float, right: float, bottom: float) -> tuple[Point, ...]:
    """Return the corners of a rectangle. Raises ValueError for sides that are not in this order."""
    if not (left < right and top < bottom):
        raise ValueError("a rectangle is left, top, right, bottom, with left < right and top < bottom")
    return (left, top), (right, top), (right, bottom), (left, bottom)


def ranked(zones: Iterable[Zone]) -> tuple[Zone, ...]:
    """Return the zones that count, the one that wins where they overlap first."""
    return tuple(sorted((z for z in zones if z.shape.enabled), key=lambda zone: (-zone.shape.priority, zone.id)))


def zone_of(found: Detection, width: int, height: int, zones: Iterable[Zone]) -> Zone | None:
    """Return the first of these zones that a detection in a frame of that size (pixels) is in."""
    return next((zone for zone in zones if zone.shape.holds(found, width, height)), None)


def crossings(path: Iterable[PathPoint], line: Line, inertia: int = 1) -> list[tuple[PathPoint, Direction]]:
    """Return where a path crosses a line between its ends, and which way, with the first point beyond it.

    To touch it and turn back is no crossing, nor is to be beyond it for fewer than `inertia` points one after the
    other, as where the detector's boxes tremble. The way over it counts with all its points, also those on the line.
    """
    found: list[tuple[PathPoint, Direction]] = []
    settled, way = 0, list[PathPoint]()
    for where, points in groupby(path, lambda point: side(line.start, line.end, point.place)):
        stay = list(points)
        if settled and where not in {0, settled}:
            way += stay
            if len(stay) < inertia:
                continue
            if any(meet((one.place, other.place), (line.start, line.end)) for one, other in pairwise(way)):
                found.append((stay[0], Direction.IN if where > 0 else Direction.OUT))
        if where == 0:
            way += stay
        else:
            settled, way = where, stay[-1:]
    return found
