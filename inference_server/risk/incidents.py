# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which events tell one story. Pure.

Each event goes on from at most one earlier one, the best that it can go on from, and is in its incident; one that goes
on from none begins a new incident. So the answer is a forest that depends on nothing but the events: not on the order
in which their pictures came, and an event that two stories could claim does not make one of both.

What an event goes on from:

- whatever shows the same known or remembered identity;
- what the same camera saw shortly before, of the same kind;
- a person or vehicle on another camera that leaves there and comes here: where the owner said that one camera leads to
  the other, where that was learnt (`risk/transitions.py`), or else where both look at the way in (street to indoors).

Looks support (who looks alike may take longer) and veto (who looks quite different is somebody else), where they can
be compared. What is harmless on a street, passers-by, joins only while somebody stays in view, and for a few minutes;
nothing is longer than the longest.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum

from inference_server.core.context import WAY_IN, CameraPlace
from inference_server.core.detection import Category
from inference_server.risk.transitions import Learnt

ALIKE, UNLIKE = 0.85, 0.3
LONGER_IF_ALIKE = 2
MOST_OVERLAP = timedelta(seconds=10)
"""How long one object may be in two views at a time that nobody said to overlap."""
STAYS_WITHIN = timedelta(seconds=45)
"""An event that idles ends after 30 s; who is still there begins the next one."""
NEAR = 0.25
"""How far, in shares of the picture, somebody who stays may have moved meanwhile."""
LONGEST_ON_STREET = timedelta(minutes=10)

type Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Seen:
    """An object of an event, as it is followed."""

    category: Category
    first_at: datetime
    last_at: datetime
    first_point: Point | None = None
    """Its foot point from 0 (left, top) to 1; None where it is not known."""
    last_point: Point | None = None
    look: bytes | None = None
    identity: int | None = None
    """Of a remembered person or vehicle."""


@dataclass(frozen=True, slots=True)
class Member:
    """An event, as far as its incident depends on it."""

    event_id: int
    camera_id: str
    started_at: datetime
    last_at: datetime
    score: int
    seen: tuple[Seen, ...]

    @property
    def order(self) -> tuple[datetime, str, int]:
        """Where it stands among others: not in the order in which they came."""
        return self.started_at, self.camera_id, self.event_id


@dataclass(frozen=True, slots=True)
class Site:
    """What a camera looks at, and where somebody on the way in comes next."""

    place: CameraPlace
    leads_to: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ground:
    """What joins are judged by beside the events."""

    sites: Mapping[str, Site]
    learnt: Learnt
    same_camera: timedelta
    """The longest time between two events of one camera."""
    next_camera: timedelta
    """The longest time that somebody takes from one camera to the next."""
    longest: timedelta
    """How long an incident lasts at most, from its beginning to the beginning of its last event."""
    harmless_below: int
    """The score from which on an event is more than low."""
    alike: Callable[[bytes, bytes], float | None]
    """How alike two looks are, 0 to 1; None where that cannot be told."""

    @property
    def reach(self) -> timedelta:
        """The longest time between two events of which one goes on from the other."""
        return max(self.same_camera, self.next_camera * LONGER_IF_ALIKE)


@dataclass(frozen=True, slots=True)
class Strand:
    """An incident under its first event: `known` is the id of one that is not arranged anew."""

    started_at: datetime
    first_event_id: int
    known: int | None = None


class _Rank(IntEnum):
    IDENTITY = 0
    HERE = 1
    ALIKE = 2
    GIVEN = 3
    LEARNT = 4
    PLACES = 5


@dataclass(frozen=True, slots=True)
class _Link:
    rank: _Rank
    gap: timedelta
    longest: timedelta


def arrange(members: Iterable[Member], ground: Ground, known: Mapping[int, Strand]) -> dict[int, Strand]:
    """Return the incident of each event, by event id.

    `known` are the incidents of earlier events, which stay as they are.
    """
    strands = dict(known)
    earlier: list[Member] = []
    for member in sorted(members, key=lambda one: one.order):
        if member.event_id not in known:
            joined = _best(member, earlier, strands, ground)
            strands[member.event_id] = joined or Strand(member.started_at, member.event_id)
        earlier.append(member)
    return strands


def _best(member: Member, earlier: Sequence[Member], strands: Mapping[int, Strand], ground: Ground) -> Strand | None:
    """Return the incident of the event that one goes on from, if there is one."""
    best: tuple[tuple[int, timedelta, float, str, int], Strand] | None = None
    for other in earlier:
        if member.started_at - other.last_at > ground.reach:
            continue
        link = _link(other, member, ground)
        strand = strands[other.event_id]
        if link is None or member.started_at - strand.started_at > link.longest:
            continue
        at, camera_id, event_id = other.order
        key = (link.rank, link.gap, -at.timestamp(), camera_id, event_id)
        if best is None or key < best[0]:
            best = (key, strand)
    return best[1] if best else None


def _link(a: Member, b: Member, ground: Ground) -> _Link | None:
    """Return how the later event b goes on from a; None if it does not."""
    gap = max(b.started_at - a.last_at, timedelta(0))
    if _identities(a) & _identities(b):
        return _Link(_Rank.IDENTITY, gap, ground.longest)
    return _here(a, b, gap, ground) if a.camera_id == b.camera_id else _there(a, b, ground)


def _identities(member: Member) -> set[int]:
    return {one.identity for one in member.seen if one.identity is not None}


def _here(a: Member, b: Member, gap: timedelta, ground: Ground) -> _Link | None:
    if not {one.category for one in a.seen} & {one.category for one in b.seen}:
        return None
    if _is_passing(a, b, ground):
        stays = any(_stays(p, q) for p in a.seen for q in b.seen)
        return _Link(_Rank.HERE, gap, min(LONGEST_ON_STREET, ground.longest)) if stays else None
    return _Link(_Rank.HERE, gap, ground.longest) if gap <= ground.same_camera else None


def _stays(p: Seen, q: Seen) -> bool:
    if p.category is not q.category or q.first_at - p.last_at > STAYS_WITHIN:
        return False
    if p.last_point is None or q.first_point is None:
        return True
    return math.dist(p.last_point, q.first_point) <= NEAR


def _there(a: Member, b: Member, ground: Ground) -> _Link | None:
    if _is_passing(a, b, ground):
        return None
    pairs = [(p, q) for p in a.seen for q in b.seen if p.category is q.category and p.category is not Category.ANIMAL]
    links = [link for p, q in pairs if (link := _handover(a.camera_id, p, b.camera_id, q, ground)) is not None]
    return min(links, key=lambda link: (link.rank, link.gap), default=None)


def _handover(here: str, p: Seen, there: str, q: Seen, ground: Ground) -> _Link | None:
    """Return whether one object of each event may be the same on its way."""
    if (q.first_at, q.last_at) < (p.first_at, p.last_at):
        here, p, there, q = there, q, here, p
    rank = _adjacent(here, there, p.category, ground)
    if rank is None:
        return None
    gap = q.first_at - p.last_at
    if rank is _Rank.PLACES and gap < -MOST_OVERLAP:
        return None
    likeness = ground.alike(p.look, q.look) if p.look and q.look else None
    if likeness is not None and likeness < UNLIKE:
        return None
    alike = likeness is not None and likeness >= ALIKE
    if gap > ground.next_camera * (LONGER_IF_ALIKE if alike else 1):
        return None
    return _Link(_Rank.ALIKE if alike else rank, max(gap, timedelta(0)), ground.longest)


def _adjacent(before: str, after: str, category: Category, ground: Ground) -> _Rank | None:
    """Return why somebody may go from one camera to the other, None if nothing says so."""
    first, second = ground.sites.get(before), ground.sites.get(after)
    if first is None or second is None:
        return None
    if after in first.leads_to or before in second.leads_to:
        return _Rank.GIVEN
    if (before, after, category) in ground.learnt:
        return _Rank.LEARNT
    if first.leads_to or second.leads_to:
        return None
    return _Rank.PLACES if first.place in WAY_IN and second.place in WAY_IN else None


def _is_passing(a: Member, b: Member, ground: Ground) -> bool:
    """Return whether both are harmless and one is on a street."""
    on_street = any(
        (site := ground.sites.get(one.camera_id)) is not None and site.place is CameraPlace.STREET for one in (a, b)
    )
    return on_street and max(a.score, b.score) < ground.harmless_below
