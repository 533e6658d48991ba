# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who was in view when one event ended and the next one began: batches end by the clock, stays do not."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from inference_server.core.detection import Category, Track

LONGEST_GAP = timedelta(seconds=45)
"""Between the last sight in one event and the first one in the next: an event that idles ends after 30 s."""
NEAR = 0.25
"""How far, in shares of the picture, somebody who stays may have moved meanwhile."""


@dataclass(frozen=True, slots=True)
class Before:
    """An earlier event of the camera."""

    started_at: datetime
    tracks: tuple[Track, ...]


def stayed_before(tracks: Iterable[Track], earlier: Sequence[Before]) -> timedelta:
    """Return how long those people had been in view who were there when the event began.

    `earlier` are the camera's events before, the latest first. One joins the other where somebody was seen last in
    the one and first in the other at about the same place within LONGEST_GAP.
    """
    people = [track for track in tracks if track.label.category is Category.PERSON]
    began = min((track.first_seen_at for track in people), default=None)
    if began is None:
        return timedelta(0)
    since, here = began, [track for track in people if track.first_seen_at - began <= LONGEST_GAP]
    for event in earlier:
        here = [old for old in event.tracks if any(_goes_on(old, new) for new in here)]
        if not here:
            break
        since = min(track.first_seen_at for track in here)
    return began - since


def first_sights(events: Iterable[Sequence[Track]]) -> list[tuple[Category, datetime]]:
    """Return the kinds of the objects of a camera's events, and when each one came into view.

    `events` are their tracks, the earliest event first. Who stays over several events came once.
    """
    found: list[tuple[Category, datetime]] = []
    before: Sequence[Track] = ()
    for tracks in events:
        new = [track for track in tracks if not any(_goes_on(old, track) for old in before)]
        found += [(track.label.category, track.first_seen_at) for track in new]
        before = tracks
    return found


def _goes_on(old: Track, new: Track) -> bool:
    gap = new.first_seen_at - old.last_seen_at
    if old.label.category is not new.label.category or not timedelta(0) <= gap <= LONGEST_GAP:
        return False
    if not old.path or not new.path:
        return True
    left, came = old.path[-1], new.path[0]
    return math.hypot(left.x - came.x, left.y - came.y) <= NEAR
