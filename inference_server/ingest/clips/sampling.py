# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which pictures of a clip are worth judging: by interval and by change. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LUMA_SIZE = (64, 36)
"""Width and height of the grey picture on which change is measured: noise and compression vanish in it."""
SCENE_CHANGE = 0.05
"""From this difference on a picture is looked at without waiting for its turn."""

type Luma = NDArray[np.uint8]
"""Grey values [36, 64] of a picture scaled down to LUMA_SIZE."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A picture that may be sampled: its place in the clip in seconds, and its difference from the one before."""

    offset: float
    change: float


def difference(one: Luma, other: Luma) -> float:
    """Return how much two pictures differ, 0 to 1: the mean absolute difference of their grey values.

    The classic pair-wise comparison of shot boundaries (H. Zhang, A. Kankanhalli, S. W. Smoliar: "Automatic
    partitioning of full-motion video", Multimedia Systems 1, 1993), on small pictures as in FFmpeg's filter `scdet`.
    """
    return float(np.abs(one.astype(np.int16) - other).mean()) / 255


def select(candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    """Return at most `count` candidates (1 or more) in order of their offsets.

    The first and the last are kept. The time between is divided into equal slots, of each of which the candidate with
    the greatest change is kept; what slots without candidates leave over goes to the greatest changes that remain.
    """
    ordered = sorted(candidates, key=lambda candidate: candidate.offset)
    if len(ordered) <= count:
        return ordered
    if count == 1:
        return [max(ordered, key=_by_change)]
    first, *inner, last = ordered
    best = _best_of_slots(inner, count - 2, first.offset, last.offset)
    rest = sorted((index for index in range(len(inner)) if index not in best), key=lambda i: _by_change(inner[i]))
    best |= set(rest[len(rest) - (count - 2 - len(best)) :])
    return [first, *(inner[index] for index in sorted(best)), last]


def _best_of_slots(inner: Sequence[Candidate], slots: int, start: float, end: float) -> set[int]:
    """Return the index of the greatest change in each slot of the time from start to end."""
    best: dict[int, int] = {}
    for index, candidate in enumerate(inner):
        slot = min(int((candidate.offset - start) / (end - start) * slots), slots - 1) if end > start else 0
        if slots and (slot not in best or _by_change(candidate) > _by_change(inner[best[slot]])):
            best[slot] = index
    return set(best.values())


def _by_change(candidate: Candidate) -> tuple[float, float]:
    """Order by change; of equal ones the earlier is the greater."""
    return candidate.change, -candidate.offset
