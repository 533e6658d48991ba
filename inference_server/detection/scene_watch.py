# SPDX-License-Identifier: AGPL-3.0-or-later
"""Watching a camera's view, picture by picture: pure, so that the same pictures always give the same verdicts.

A problem counts once it has lasted for some pictures and some seconds, by the times at which they were taken, and ends
when it has been gone for a while. A baseline learns from pictures on which nothing is wrong, and from no other.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from inference_server.core.view import Run, View, ViewProblem, ViewState
from inference_server.detection.scene import Likeness, Signature, compare, is_ready, learnt, same_share

LOST = 0.3
"""A region that has less of its lasting edges is not seen."""
MOST = 0.6
"""The share of the regions that must be wrong: what passes close by, or stands in a part of the view, is no problem."""
SURELY = 0.4
"""Below this share of lost regions a view is known again even by the baseline of another light."""
FLAT = 0.45
"""Differences, relative to the baseline's, below which a lost region is covered, and no other part of the world."""
FAINT = 0.2
"""Differences, relative to the baseline's, below which a region is not seen, although its edges shine through."""
SOFT = 0.5
"""Details, relative to the baseline's, below which a region is out of focus."""
SAME = 0.85
"""The share of a picture that a frozen one has in common with the one before; the rest is the camera's clock."""
FROZEN_FOR = timedelta(minutes=10)
"""How long at least: some cameras and clips repeat a still picture for a while."""
FROZEN_PICTURES = 5
WELL_PICTURES = 3
WELL_FOR = timedelta(seconds=10)
SUDDEN = timedelta(seconds=60)
"""A good picture at most so long before the first bad one: nothing but a hand is that quick."""
UNBROKEN = timedelta(minutes=10)
"""After a longer pause a dim view that is not known again may be an evening of which no picture came."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a problem must last until it counts."""

    pictures: int = 4
    lasting: timedelta = timedelta(seconds=60)


def watch(before: View, seen: Signature, at: datetime, arrived_at: datetime, patience: Patience) -> View:
    """Return what a picture, taken and arrived at these times, makes of a view.

    One that is not newer than the last one changes nothing: it came late, or a second time. What was last seen later
    than this one arrived was told by a clock that has been put right since, and is no reason.
    """
    state = before.state
    if state.last_at is not None and at <= state.last_at <= arrived_at:
        return before
    problem = judge(seen, before, at)
    still = same_share(seen.prints, state.prints) >= SAME
    frozen = Patience(max(FROZEN_PICTURES, patience.pictures), max(FROZEN_FOR, patience.lasting))
    sudden = state.last_well_at is not None and timedelta(0) <= at - state.last_well_at <= SUDDEN
    after = ViewState(
        last_at=at,
        last_well_at=state.last_well_at if problem else at,
        view=_followed(state.view, problem, at, patience, sudden=sudden),
        still=_followed(state.still, ViewProblem.FROZEN if still else None, at, frozen),
        prints=seen.prints,
    )
    if problem or still or after.view or seen.is_dark:
        return View(after, before.baselines)
    known = before.baselines.get(seen.light)
    baseline = learnt(known, seen, at)
    return View(after, before.baselines if baseline is known else {**before.baselines, seen.light: baseline})


def judge(seen: Signature, before: View, at: datetime) -> ViewProblem | None:
    """Return what is wrong with a picture, by the baseline that it is most like.

    A view not known again by a light that has no baseline yet is forgiven, as every evening is a first one once, unless
    something was wrong just before, or it lost its edges from one picture to the next.
    """
    if seen.is_dark:
        return ViewProblem.TOO_DARK
    likenesses = {
        light: likeness
        for light, baseline in before.baselines.items()
        if is_ready(baseline) and (likeness := compare(seen, baseline)).is_telling
    }
    if not likenesses:
        return None
    best = min(likenesses.values(), key=_lost)
    if (own := likenesses.get(seen.light)) and _lost(best) >= SURELY:
        best = own
    if _lost(best) >= MOST:
        flat = float((best.energy[_lost_regions(best)] < FLAT).mean()) >= 0.5
        if own or before.state.view or (flat and _is_unbroken(before.state, at)):
            return ViewProblem.BLOCKED if flat else ViewProblem.MOVED
        return None
    soft = own is not None and float((own.detail < SOFT).mean()) >= MOST
    return ViewProblem.BLURRED if soft else None


def _lost(likeness: Likeness) -> float:
    return float(_lost_regions(likeness).mean())


def _lost_regions(likeness: Likeness) -> NDArray[np.bool_]:
    return (likeness.found < LOST) | (likeness.energy < FAINT)


def _is_unbroken(state: ViewState, at: datetime) -> bool:
    return state.last_well_at is not None and at - state.last_well_at <= UNBROKEN


def _followed(
    run: Run | None, problem: ViewProblem | None, at: datetime, patience: Patience, *, sudden: bool = False
) -> Run | None:
    """Return how a run goes on with a picture that shows a problem, or none."""
    if problem is None:
        return _recovering(run, at) if run else None
    if run is None or run.since > at:
        run = Run(at, 0, (), sudden)
    pictures = run.pictures + 1
    lasted = pictures >= patience.pictures and at - run.since >= patience.lasting
    return replace(
        run,
        pictures=pictures,
        kinds=(*run.kinds, problem)[-patience.pictures :],
        counts=run.counts or lasted,
        well_since=None,
        well_pictures=0,
    )


def _recovering(run: Run, at: datetime) -> Run | None:
    """Return a run after a picture that shows nothing wrong; None when it is over."""
    if not run.counts:
        return None
    since = run.well_since or at
    if run.well_pictures + 1 >= WELL_PICTURES and at - since >= WELL_FOR:
        return None
    return replace(run, well_since=since, well_pictures=run.well_pictures + 1)
