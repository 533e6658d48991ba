# SPDX-License-Identifier: AGPL-3.0-or-later
"""The same object across an event's frames, which are fractions of a second to many seconds apart.

Method: greedy association by geometry and looks. Frame by frame, in order of time, every pair of a known track and a
new detection of the same category is rated; the best pair is joined first, and each track and each detection is used
once. A pair may be joined

- when the boxes overlap by at least 0.5, however long ago the track was last seen: what stands still and is lost by
  the detector is still the same, unless it looks another; or
- when the boxes are of similar size (areas within a factor of 4), the centres are no further apart than an object
  plausibly moves (half a diagonal of its box, and 1.5 diagonals more for each second between, up to 4 diagonals), and
  the track was missed in at most two frames, or in at most six if the two look alike: who walks behind a tree comes
  out of it again.

The rating is the distance of the centres in diagonals, less the overlap, plus what the looks differ; a different label
costs a little, so that two labels keep apart where they can. A track's label is the one with the greatest sum of
confidences: a car that is called a truck once is one car.

So a track count is never less than the number of objects in any one frame. The limits are those of geometry and three
stripes of colour: two who look alike and cross may swap tracks (the count stays right), and somebody who crosses the
picture between two frames counts twice. Telling people apart for good is re-identification, not tracking.

Why greedy: on 80 frames of a busy square (`tests/server/test_square.py`), where 20 people pass, this makes 19 tracks of
people in 11 ms, and an optimal assignment of the same ratings (Kuhn and Munkres) 17 in 20 ms: to join as many as it
can, it gives newcomers to tracks of those who left.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from math import hypot
from statistics import median

import numpy as np
from numpy.typing import NDArray

from inference_server.core.detection import Detection, Label, PathPoint, Sighting, Speed, Track
from inference_server.detection.appearance import likenesses
from inference_server.detection.geometry import areas, corners, overlaps

MAX_MISSED_FRAMES = 2
SAME_PLACE_OVERLAP = 0.5
MAX_AREA_RATIO = 4.0
REACH = 0.5
REACH_PER_SECOND = 1.5
MAX_REACH = 4.0
MAX_MISSED_FRAMES_ALIKE, ALIKE = 6, 0.85
PATH_POINTS = 16
"""The most that a path has; a longer one loses every other point, but neither of its ends."""
STILL, SLOW, WALKING = 0.1, 0.4, 1.6
"""Heights of the box per second below which a track has that speed."""

_OTHER_LABEL_COST = 0.25
_LOOKS_COST = 1.5
_USUAL_LIKENESS = 0.8
"""Stands for a likeness that is not known."""

type Boxes = NDArray[np.float32]
type Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Seen:
    """A detection with the frame it was seen in."""

    detection: Detection
    sighting: Sighting

    def point(self, start: datetime) -> PathPoint:
        """Return where its foot point was, after a start."""
        x, y = self.detection.foot(self.sighting.width, self.sighting.height)
        return PathPoint((self.sighting.captured_at - start).total_seconds(), x, y)


@dataclass(slots=True)
class Trace:
    """The detections of one object, in order of time."""

    seen: list[Seen] = field(default_factory=list)
    last_number: int = 0
    """Of the frame in which it was last seen."""

    @property
    def last(self) -> Seen:
        """What was seen of it last."""
        return self.seen[-1]

    def add(self, seen: Seen, number: int) -> None:
        """Add what was seen of it in the frame of this number."""
        self.seen.append(seen)
        self.last_number = number

    @property
    def label(self) -> Label:
        """The label with the greatest sum of confidences."""
        weights: defaultdict[Label, float] = defaultdict(float)
        for seen in self.seen:
            weights[seen.detection.label] += seen.detection.confidence
        return max(weights, key=lambda label: (weights[label], label))

    def track(self) -> Track:
        """Return the track that these detections make."""
        best = max(self.seen, key=lambda seen: seen.detection.confidence)
        return Track(
            label=self.label,
            confidence=best.detection.confidence,
            first_seen_at=self.seen[0].sighting.captured_at,
            last_seen_at=self.last.sighting.captured_at,
            frames=len(self.seen),
            best_frame_id=best.sighting.frame_id,
            speed=_speed(self.seen),
            path=_thinned(self.path()),
        )

    def path(self) -> list[PathPoint]:
        """Return where it was in each of its frames."""
        return [seen.point(self.seen[0].sighting.captured_at) for seen in self.seen]


def trace_objects(sightings: Sequence[Sighting]) -> list[Trace]:
    """Return the traces of what counts in an event's sightings, in order of their first detection.

    The sightings may come in any order and include frames in which nothing was seen; the result does not depend on
    their order. Within a frame all detections are different objects (the detector has suppressed duplicates).
    """
    traces: list[Trace] = []
    for number, sighting in enumerate(sorted(sightings, key=lambda s: (s.captured_at, s.frame_id))):
        counted = sighting.counted
        free = dict(enumerate(counted))
        for trace_index, detection_index in _pairs(traces, sighting, counted, number):
            traces[trace_index].add(Seen(free.pop(detection_index), sighting), number)
        for detection in free.values():
            traces.append(Trace())
            traces[-1].add(Seen(detection, sighting), number)
    return traces


def _speed(seen: Sequence[Seen]) -> Speed | None:
    """Return the class of the median speed between one frame and the next, None without two times."""
    speeds = [speed for pair in pairwise(seen) if (speed := _heights_per_second(*pair)) is not None]
    if not speeds:
        return None
    middle = median(speeds)
    if middle < SLOW:
        return Speed.STILL if middle < STILL else Speed.SLOW
    return Speed.WALKING if middle < WALKING else Speed.FAST


def _heights_per_second(before: Seen, after: Seen) -> float | None:
    seconds = (after.sighting.captured_at - before.sighting.captured_at).total_seconds()
    height = (before.detection.box.height + after.detection.box.height) / 2
    if seconds <= 0 or height <= 0:
        return None
    (x, y), (new_x, new_y) = _foot(before), _foot(after)
    return hypot(new_x - x, new_y - y) / height / seconds


def _foot(seen: Seen) -> tuple[float, float]:
    box = seen.detection.box
    return box.x + box.width / 2, box.y + box.height


def _thinned(path: list[PathPoint]) -> tuple[PathPoint, ...]:
    while len(path) > PATH_POINTS:
        path = [*path[:-1:2], path[-1]]
    return tuple(PathPoint(round(point.seconds, 3), round(point.x, 3), round(point.y, 3)) for point in path)


def _pairs(
    traces: Sequence[Trace], sighting: Sighting, counted: Sequence[Detection], number: int
) -> Iterable[tuple[int, int]]:
    """Return which trace is joined with which detection of a frame, each at most once."""
    if not traces or not counted:
        return []
    return _greedy(_costs(traces, sighting, counted, number))


def _greedy(costs: Floats) -> list[tuple[int, int]]:
    """Return pairs of a row and a column, the cheapest first, each row and column at most once."""
    rows, columns = np.nonzero(np.isfinite(costs))
    order = np.lexsort((columns, rows, costs[rows, columns]))
    used_rows: set[int] = set()
    used_columns: set[int] = set()
    pairs = []
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row not in used_rows and column not in used_columns:
            used_rows.add(row)
            used_columns.add(column)
            pairs.append((row, column))
    return pairs


def _costs(traces: Sequence[Trace], sighting: Sighting, counted: Sequence[Detection], number: int) -> Floats:
    """Return the rating of every pair, [traces, detections]: less is better, infinite is impossible."""
    last = [trace.last.detection for trace in traces]
    old, new = corners([d.box for d in last]), corners([d.box for d in counted])
    seconds = np.array([(sighting.captured_at - t.last.sighting.captured_at).total_seconds() for t in traces])
    missed = np.array([number - trace.last_number - 1 for trace in traces])[:, None]
    overlap, distance, ratio = overlaps(old, new), _distances(old, new), _area_ratios(old, new)
    alike = np.nan_to_num(likenesses([d.appearance for d in last], [d.appearance for d in counted]), nan=-1.0)
    recent = (missed <= MAX_MISSED_FRAMES) | ((missed <= MAX_MISSED_FRAMES_ALIKE) & (alike >= ALIKE))
    reach = np.minimum(REACH + REACH_PER_SECOND * seconds, MAX_REACH)[:, None]
    moved = (distance <= reach) & (ratio <= MAX_AREA_RATIO) & recent
    stood = (overlap >= SAME_PLACE_OVERLAP) & ((missed <= MAX_MISSED_FRAMES) | (alike < 0) | (alike >= ALIKE))
    possible = _same(last, counted, by_label=False) & (moved | stood)
    other_label = ~_same(last, counted, by_label=True)
    looks = _LOOKS_COST * (1 - np.where(alike < 0, _USUAL_LIKENESS, alike))
    return np.asarray(np.where(possible, distance - overlap + looks + _OTHER_LABEL_COST * other_label, np.inf))


def _distances(old: Boxes, new: Boxes) -> Floats:
    """Return the distances of the boxes' centres in mean diagonals of the two boxes, [n, m]."""
    apart = old[:, None, :2] + old[:, None, 2:] - new[None, :, :2] - new[None, :, 2:]
    sides = old[:, 2:] - old[:, :2], new[:, 2:] - new[:, :2]
    first, second = (np.hypot(side[:, 0], side[:, 1]) for side in sides)
    diagonals = np.maximum(first[:, None] + second, 2e-6)
    return np.asarray(np.hypot(apart[..., 0], apart[..., 1]) / diagonals, np.float64)


def _area_ratios(old: Boxes, new: Boxes) -> Floats:
    """Return how many times larger the larger of two boxes is, [n, m]."""
    first, second = (np.maximum(areas(boxes), 1e-6) for boxes in (old, new))
    quotient = np.asarray(first[:, None] / second, np.float64)
    return np.maximum(quotient, 1 / quotient)


def _same(old: Sequence[Detection], new: Sequence[Detection], *, by_label: bool) -> NDArray[np.bool_]:
    """Return which pairs share their label, or their category, [n, m]."""
    first, second = (np.array([d.label if by_label else d.label.category for d in side]) for side in (old, new))
    return np.asarray(first[:, None] == second)
