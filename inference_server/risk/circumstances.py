# SPDX-License-Identifier: AGPL-3.0-or-later
"""What surrounds an event and counts in its judgement: the home, who stayed on, the other cameras. Pure functions."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import hypot

from inference_server.core.context import HomeContext
from inference_server.core.detection import Category, Track
from inference_server.risk.evidence import SeenElsewhere, Tampering

DIRECTLY = timedelta(seconds=60)
"""Whoever is seen again within this time, at the same place, has stayed."""
SAME_PLACE = 0.15
"""Shares of the picture between two foot points."""
SHORTLY = timedelta(minutes=5)
"""How long a sighting on another camera belongs to what happens now."""
TAMPERED_WITHIN = timedelta(minutes=60)
"""How long somebody's hand on a camera counts."""


@dataclass(frozen=True, slots=True)
class KnownContext:
    """The home as far as it is known: `context`, or since when (`lost_at`) it is not known any more."""

    context: HomeContext | None = None
    lost_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class OnCamera:
    """What an event on a camera showed, and when last."""

    camera: str
    categories: frozenset[Category]
    last_seen_at: datetime


def known_context(told: HomeContext | None, now: datetime) -> KnownContext:
    """Return what was told last as far as it can be relied on."""
    if told is None:
        return KnownContext()
    return KnownContext(lost_at=told.told_at) if told.is_stale(now) else KnownContext(told)


def stayed_before(tracks: Iterable[Track], before: Sequence[Sequence[Track]]) -> timedelta:
    """Return how long somebody of an event was in view in those that directly precede it.

    `before` has the tracks of the camera's earlier events, the newest first. A person is the same who was seen within
    DIRECTLY at the SAME_PLACE: passers-by who follow one another do not stay.
    """
    people = [track for track in tracks if track.label.category is Category.PERSON]
    return max((_stayed(track, before) for track in people), default=timedelta(0))


def newcomers(tracks: Iterable[Track], before: Sequence[Track]) -> tuple[Track, ...]:
    """Return the tracks of an event that do not go on from the one before: each object of an hour is counted once."""
    return tuple(track for track in tracks if not any(_goes_on(one, track) for one in before))


def _stayed(track: Track, before: Sequence[Sequence[Track]]) -> timedelta:
    first = track
    for earlier in before:
        same = [one for one in earlier if _goes_on(one, first)]
        if not same:
            break
        first = min(same, key=lambda one: one.first_seen_at)
    return track.first_seen_at - first.first_seen_at


def _goes_on(earlier: Track, later: Track) -> bool:
    if earlier.label.category is not later.label.category or not earlier.path or not later.path:
        return False
    old, new = earlier.path[-1], later.path[0]
    near = hypot(new.x - old.x, new.y - old.y) <= SAME_PLACE
    return near and timedelta(0) <= later.first_seen_at - earlier.last_seen_at <= DIRECTLY


def seen_elsewhere(
    others: Iterable[OnCamera], *, started_at: datetime, now: datetime, further_out: Collection[str]
) -> tuple[SeenElsewhere, ...]:
    """Return what other cameras showed shortly before an event, or during it.

    `further_out` names the cameras that lie before this one on the way in.
    """
    return tuple(
        SeenElsewhere(one.camera, category, max(now - one.last_seen_at, timedelta(0)), one.camera in further_out)
        for one in others
        if started_at - one.last_seen_at <= SHORTLY and one.last_seen_at <= now
        for category in sorted(one.categories)
    )


def recent_tampering(found: Iterable[Tampering]) -> tuple[Tampering, ...]:
    """Return what was done to cameras so lately that it counts."""
    return tuple(one for one in found if one.ago <= TAMPERED_WITHIN)
