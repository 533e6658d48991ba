# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which camera follows which, learnt from when each of them sees something come.

Method: the cross-correlogram of two point processes, as in D. H. Perkel, G. L. Gerstein and G. P. Moore, "Neuronal
spike trains and stochastic point processes II", Biophysical Journal 7 (1967). Of each onset on camera A is noted
whether an onset of the same kind followed on camera B within a short time, and whether one lay in equally long times
further off, before and after. Those tell what chance alone does at this time of the day: a busy morning raises both.

B follows A where the first share is surely greater than the second: where the lower bound of the one lies above the
upper bound of the other, both by E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
Journal of the American Statistical Association 22 (1927), at 99 %. Below LEAST_FOLLOWED nothing is said, so that a
young home has no learnt neighbours: until then what the owner said of the cameras counts alone.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from inference_server.core.detection import Category
from inference_server.core.transition import Onset, Transition

HALF_LIFE = timedelta(weeks=8)
LEAST_FOLLOWED = 5.0
FURTHER_OFF = 5
"""So many times the short time lies between an onset and the times that stand for chance."""
_SURE = 2.576
"""Standard deviations of a normal distribution, to both sides, that hold 99 % of it."""

type Key = tuple[str, str, Category]
type Learnt = frozenset[Key]
"""From which camera to which, and for what."""


def count(
    onsets: Sequence[Onset], begin: datetime, end: datetime, within: timedelta, cameras: Sequence[str]
) -> list[Transition]:
    """Return what the onsets of a time say of each pair of these cameras.

    `onsets` reach further than that time, by FURTHER_OFF + 1 times `within` to both sides.
    """
    times: defaultdict[tuple[str, Category], list[datetime]] = defaultdict(list)
    for onset in onsets:
        times[onset.camera_id, onset.category].append(onset.at)
    found: list[Transition] = []
    for (from_camera, category), all_starts in sorted(times.items()):
        starts = [at for at in all_starts if begin <= at < end]
        if not starts or category is Category.ANIMAL:
            continue
        for to_camera in cameras:
            if to_camera != from_camera:
                ends = times.get((to_camera, category), [])
                followed = sum(_any(ends, at, at + within) for at in starts)
                by_chance = sum(_chance(ends, at, within) for at in starts)
                found.append(Transition(from_camera, to_camera, category, len(starts), followed, by_chance, end))
    return found


def _any(times: Iterable[datetime], after: datetime, until: datetime) -> bool:
    return any(after < at <= until for at in times)


def _chance(ends: Sequence[datetime], at: datetime, within: timedelta) -> float:
    off = FURTHER_OFF * within
    after = _any(ends, at + off, at + off + within)
    before = _any(ends, at - off - within, at - off)
    return (after + before) / 2


def merged(known: Mapping[Key, Transition], counted: Iterable[Transition]) -> list[Transition]:
    """Return what is known with what was counted since; older counts have faded meanwhile."""
    return [_added(known.get((new.from_camera, new.to_camera, new.category)), new) for new in counted]


def _added(old: Transition | None, new: Transition) -> Transition:
    if old is None:
        return new
    share = 0.5 ** (max(new.updated_at - old.updated_at, timedelta(0)) / HALF_LIFE)
    return replace(
        new,
        onsets=new.onsets + share * old.onsets,
        followed=new.followed + share * old.followed,
        by_chance=new.by_chance + share * old.by_chance,
    )


def learnt(transitions: Iterable[Transition]) -> Learnt:
    """Return which camera follows which."""
    return frozenset((item.from_camera, item.to_camera, item.category) for item in transitions if follows(item))


def follows(item: Transition) -> bool:
    """Return whether the one camera's onsets surely follow the other's more often than chance has it."""
    if item.followed < LEAST_FOLLOWED:
        return False
    return wilson(item.followed, item.onsets)[0] > wilson(item.by_chance, item.onsets)[1]


def wilson(successes: float, trials: float) -> tuple[float, float]:
    """Return Wilson's 99 % interval of a share; 0 to 1 without trials."""
    if trials <= 0:
        return 0.0, 1.0
    share, square = min(successes / trials, 1.0), _SURE**2
    middle = share + square / (2 * trials)
    spread = _SURE * math.sqrt(share * (1 - share) / trials + square / (4 * trials**2))
    scale = 1 + square / trials
    return max((middle - spread) / scale, 0.0), min((middle + spread) / scale, 1.0)
