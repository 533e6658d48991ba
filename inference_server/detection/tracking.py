# SPDX-License-Identifier: AGPL-3.0-or-later
"""The same object across an event's frames, which are fractions of a second to many seconds apart.

Method: greedy association by geometry alone. Frame by frame, in order of time, every pair of a known track and a new
detection of the same category is rated; the best pair is joined first, and each track and each detection is used
once. A pair may be joined

- when the boxes overlap by at least 0.5, however long ago the track was last seen: what stands still and is lost by
  the detector is still the same; or
- when the track was missed in at most two frames, the boxes are of similar size (areas within a factor of 4), and the
  centres are no further apart than an object plausibly moves: half a diagonal of its box, and 1.5 diagonals more for
  each second between, up to 4 diagonals.

The rating is the distance of the centres in diagonals, less the overlap; a different label costs a little, so that
two labels keep apart where they can. A track's label is the one with the greatest sum of confidences: a car that is
called a truck once is one car.

So a track count is never less than the number of objects in any one frame. The limits are those of geometry: someone
who leaves and someone else who enters at the same place within two frames are one track, two people who cross may
swap tracks (the count stays right), and somebody who crosses the picture between two frames counts twice. Telling
people apart by looks is re-identification, not tracking.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from inference_server.core.detection import Detection, Label, Sighting, Track
from inference_server.detection.geometry import areas, corners, overlaps

MAX_MISSED_FRAMES = 2
SAME_PLACE_OVERLAP = 0.5
MAX_AREA_RATIO = 4.0
REACH = 0.5
REACH_PER_SECOND = 1.5
MAX_REACH = 4.0

_OTHER_LABEL_COST = 0.25

type Floats = NDArray[np.float32]


def link_tracks(sightings: Sequence[Sighting]) -> tuple[Track, ...]:
    """Return the tracks of an event, in order of their first detection.

    The sightings may come in any order and include frames in which nothing was seen; the result does not depend on
    their order. Within a frame all detections are different objects (the detector has suppressed duplicates).
    """
    tracks: list[_Track] = []
    for number, sighting in enumerate(sorted(sightings, key=lambda s: (s.captured_at, s.frame_id))):
        free = dict(enumerate(sighting.detections))
        for track_index, detection_index in _pairs(tracks, sighting, number):
            tracks[track_index].add(free.pop(detection_index), sighting.captured_at, number)
        for detection in free.values():
            tracks.append(_Track(sighting.captured_at))
            tracks[-1].add(detection, sighting.captured_at, number)
    return tuple(track.value() for track in tracks)


@dataclass(slots=True)
class _Track:
    first_seen_at: datetime
    detections: list[Detection] = field(default_factory=list)
    last_seen_at: datetime = field(init=False)
    last_number: int = field(init=False)

    def add(self, detection: Detection, seen_at: datetime, number: int) -> None:
        self.detections.append(detection)
        self.last_seen_at = seen_at
        self.last_number = number

    def value(self) -> Track:
        weights: defaultdict[Label, float] = defaultdict(float)
        for detection in self.detections:
            weights[detection.label] += detection.confidence
        return Track(
            label=max(weights, key=lambda label: (weights[label], label)),
            confidence=max(detection.confidence for detection in self.detections),
            first_seen_at=self.first_seen_at,
            last_seen_at=self.last_seen_at,
            frames=len(self.detections),
        )


def _pairs(tracks: Sequence[_Track], sighting: Sighting, number: int) -> Iterable[tuple[int, int]]:
    """Return which track is joined with which detection of a frame, each at most once."""
    if not tracks or not sighting.detections:
        return []
    costs = _costs(tracks, sighting, number)
    rows, columns = np.nonzero(np.isfinite(costs))
    order = np.lexsort((columns, rows, costs[rows, columns]))
    used_tracks: set[int] = set()
    used_detections: set[int] = set()
    pairs = []
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row not in used_tracks and column not in used_detections:
            used_tracks.add(row)
            used_detections.add(column)
            pairs.append((row, column))
    return pairs


def _costs(tracks: Sequence[_Track], sighting: Sighting, number: int) -> NDArray[np.float64]:
    """Return the rating of every pair, [tracks, detections]: less is better, infinite is impossible."""
    last = [track.detections[-1] for track in tracks]
    old, new = corners([d.box for d in last]), corners([d.box for d in sighting.detections])
    seconds = np.array([(sighting.captured_at - track.last_seen_at).total_seconds() for track in tracks])
    missed = np.array([number - track.last_number - 1 for track in tracks])
    overlap, distance, ratio = overlaps(old, new), _distances(old, new), _area_ratios(old, new)
    reach = np.minimum(REACH + REACH_PER_SECOND * seconds, MAX_REACH)[:, None]
    moved = (distance <= reach) & (ratio <= MAX_AREA_RATIO) & (missed <= MAX_MISSED_FRAMES)[:, None]
    possible = _same(last, sighting.detections, by_label=False) & (moved | (overlap >= SAME_PLACE_OVERLAP))
    other_label = ~_same(last, sighting.detections, by_label=True)
    return np.where(possible, distance - overlap + _OTHER_LABEL_COST * other_label, np.inf)


def _distances(old: Floats, new: Floats) -> NDArray[np.float64]:
    """Return the distances of the boxes' centres in mean diagonals of the two boxes, [n, m]."""
    apart = old[:, None, :2] + old[:, None, 2:] - new[None, :, :2] - new[None, :, 2:]
    sides = old[:, 2:] - old[:, :2], new[:, 2:] - new[:, :2]
    first, second = (np.hypot(side[:, 0], side[:, 1]) for side in sides)
    diagonals = np.maximum(first[:, None] + second, 2e-6)
    return np.asarray(np.hypot(apart[..., 0], apart[..., 1]) / diagonals, np.float64)


def _area_ratios(old: Floats, new: Floats) -> NDArray[np.float64]:
    """Return how many times larger the larger of two boxes is, [n, m]."""
    first, second = (np.maximum(areas(boxes), 1e-6) for boxes in (old, new))
    quotient = np.asarray(first[:, None] / second, np.float64)
    return np.maximum(quotient, 1 / quotient)


def _same(old: Sequence[Detection], new: Sequence[Detection], *, by_label: bool) -> NDArray[np.bool_]:
    """Return which pairs share their label, or their category, [n, m]."""
    names = [[d.label if by_label else d.label.category for d in side] for side in (old, new)]
    return np.array([[first == second for second in names[1]] for first in names[0]])
