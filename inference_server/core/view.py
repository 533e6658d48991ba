# SPDX-License-Identifier: AGPL-3.0-or-later
"""A camera's view: what can be wrong with it, and what is remembered of it from one picture to the next."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

EDGES = 2, 36, 64
"""The shape of a view's edges: two numbers for each cell, down and across."""
REGIONS = 12
"""Parts of a view that are judged one by one."""


class ViewProblem(StrEnum):
    """Why a camera does not see what it is there to see."""

    BLOCKED = "blocked"
    """Something covers the lens, or it is painted over or blinded."""
    MOVED = "moved"
    """It looks somewhere else."""
    TOO_DARK = "too_dark"
    BLURRED = "blurred"
    """Out of focus, or its lens is dirty."""
    FROZEN = "frozen"
    """It sends the same picture again and again."""
    TAMPERED = "tampered"
    """The view was blocked, moved or blurred from one picture to the next, and has stayed so: somebody did that."""


BY_HAND = frozenset({ViewProblem.BLOCKED, ViewProblem.MOVED, ViewProblem.BLURRED})
"""What nothing but a hand does at once."""


@dataclass(frozen=True, slots=True)
class LastingProblem:
    """A problem that has lasted long enough to count, and the time of the first picture that showed it."""

    kind: ViewProblem
    since: datetime


class Light(StrEnum):
    """By what light a picture was taken: each has a baseline of its own."""

    DAY = "day"
    DIM = "dim"
    INFRARED = "infrared"


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """What stays in a camera's view by one light, learnt of so many pictures. `detection/scene.py` computes it."""

    edges: NDArray[np.float32]
    """EDGES: the strength, 0 to 1, times cosine and sine of twice the angle."""
    black: NDArray[np.float32]
    """How often, 0 to 1, each cell was black."""
    energy: NDArray[np.float32]
    """Of each region: the mean difference of neighbouring cells that are not black, relative to the brightness."""
    detail: NDArray[np.float32]
    """Of each region: how steep the edges between pixels are, relative to those between cells."""
    pictures: int
    learnt_at: datetime


@dataclass(frozen=True, slots=True)
class Run:
    """Pictures in a row that show a problem, until some in a row have shown none."""

    since: datetime
    pictures: int
    kinds: tuple[ViewProblem, ...]
    """Of the newest pictures."""
    sudden: bool = False
    counts: bool = False
    """Whether it has lasted long enough."""
    well_since: datetime | None = None
    well_pictures: int = 0

    @property
    def kind(self) -> ViewProblem:
        """What most of its newest pictures show; of equally many the newest."""
        return Counter(reversed(self.kinds)).most_common(1)[0][0]


@dataclass(frozen=True, slots=True)
class ViewState:
    """Where the watch over a view stands after a picture."""

    last_at: datetime | None = None
    last_well_at: datetime | None = None
    view: Run | None = None
    still: Run | None = None
    prints: tuple[int, ...] = ()
    """Checksums of the last picture's blocks."""

    @property
    def problems(self) -> tuple[LastingProblem, ...]:
        """What counts, worst first."""
        found: list[LastingProblem] = []
        if self.view and self.view.counts:
            found.append(LastingProblem(self.view.kind, self.view.since))
            if self.view.sudden and self.view.kind in BY_HAND:
                found.append(LastingProblem(ViewProblem.TAMPERED, self.view.since))
        if self.still and self.still.counts:
            found.append(LastingProblem(ViewProblem.FROZEN, self.still.since))
        return tuple(found)


_NO_BASELINES: Mapping[Light, Baseline] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """All that is remembered of a camera's view."""

    state: ViewState = ViewState()
    baselines: Mapping[Light, Baseline] = _NO_BASELINES
