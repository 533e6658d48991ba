# SPDX-License-Identifier: AGPL-3.0-or-later
"""Incidents: events that change take their stories with them, in the same transaction."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.announcement import Announcement
from inference_server.core.clock import Clock
from inference_server.core.detection import Category, Track
from inference_server.core.event import Event
from inference_server.core.incident import Incident
from inference_server.core.transition import Transition
from inference_server.detection.appearance import comparable_likeness
from inference_server.risk.incidents import Ground, Member, Seen, Site, Strand, arrange
from inference_server.risk.story import line_of, subject_of
from inference_server.risk.transitions import learnt
from inference_server.settings import IncidentSettings, RiskSettings
from inference_server.storage import incidents, surroundings, transitions
from inference_server.storage.incidents import IncidentChange, Membership, NearEvent, announcements_of
from inference_server.storage.surroundings import Placed

HORIZON = 2
"""Longest incidents: so far ahead of a change of the past events are arranged anew."""

type Looks = Mapping[tuple[int, Category, float], bytes]
"""By frame, kind of object and confidence."""


@dataclass(frozen=True, slots=True)
class Changed:
    """An event that is new or has changed. `told`: clients are told of it.

    `live`: it happens now, so that its incident goes on. Pictures of the past and new verdicts open none again.
    """

    event: Event
    live: bool = True
    told: bool = True


@dataclass(slots=True)
class Outcome:
    """What became of the incidents: those of the events, and what there is to tell."""

    incident_ids: dict[int, int] = field(default_factory=dict)
    told: list[Announcement] = field(default_factory=list)

    def with_incident(self, told: Announcement) -> Announcement:
        """Return an announcement whose event names its incident."""
        event = told.event
        if event is None or event.id not in self.incident_ids:
            return told
        return replace(told, event=replace(event, incident_id=self.incident_ids[event.id]))


class IncidentKeeper:
    """Finds out which events tell one story, and writes what it is."""

    def __init__(self, clock: Clock, *, settings: IncidentSettings, risk: RiskSettings, zone: ZoneInfo) -> None:
        """Take the gaps and the thresholds; stories tell the time of the zone."""
        self._clock = clock
        self._settings = settings
        self._harmless_below = risk.thresholds.medium
        self._zone = zone

    @property
    def quiet(self) -> timedelta:
        """How long nothing new happens before an incident is over."""
        return timedelta(minutes=self._settings.quiet_minutes)

    async def take(self, connection: AsyncConnection, changes: Sequence[Changed]) -> Outcome:
        """Arrange the incidents around events that have just been written; nobody else does until the commit."""
        outcome = Outcome()
        if not changes:
            return outcome
        await incidents.lock(connection)
        cameras = await surroundings.placed(connection)
        ground = self._ground(cameras)
        latest = {change.event.id: change for change in changes}
        for group in _groups(latest.values(), ground.reach):
            await self._take(connection, group, ground, cameras, outcome)
        return outcome

    async def _take(
        self,
        connection: AsyncConnection,
        changed: Mapping[int, Changed],
        ground: Ground,
        cameras: Mapping[str, Placed],
        outcome: Outcome,
    ) -> None:
        """Arrange the incidents around changes that lie near each other."""
        begin = min(change.event.started_at for change in changed.values())
        around = await incidents.near(connection, begin, begin + HORIZON * ground.longest, ground.reach)
        fixed = [one for one in around if one.started_at < begin and one.incident_id is not None]
        moving = [one for one in around if one.started_at >= begin and (one.incident_id or one.id in changed)]
        known = await self._strands(connection, fixed)
        members = _members([*fixed, *moving], await _looks(connection, [*fixed, *moving]))
        ground = replace(ground, learnt=learnt(await _ways(connection, members)))
        homes = await self._homes(connection, arrange(members, ground, known), moving)
        touched = await self._move(connection, changed, moving, homes, cameras)
        outcome.incident_ids |= {event_id: homes[event_id] for event_id in changed if event_id in homes}
        for incident_id, change in (await incidents.renew(connection, touched)).items():
            of_incident = [one for id_, one in changed.items() if homes.get(id_) == incident_id]
            tell = any(one.told for one in of_incident or changed.values())
            outcome.told += await self._settle(connection, change, of_incident, tell=tell)

    def _ground(self, cameras: Mapping[str, Placed]) -> Ground:
        settings = self._settings
        return Ground(
            sites={camera.id: Site(camera.place, camera.leads_to) for camera in cameras.values()},
            learnt=frozenset(),
            same_camera=timedelta(seconds=settings.same_camera_seconds),
            next_camera=timedelta(seconds=settings.next_camera_seconds),
            longest=timedelta(hours=settings.longest_hours),
            harmless_below=self._harmless_below,
            alike=comparable_likeness,
        )

    @staticmethod
    async def _strands(connection: AsyncConnection, fixed: Sequence[NearEvent]) -> dict[int, Strand]:
        ids = {one.incident_id for one in fixed if one.incident_id is not None}
        found = {known.id: known for known in await incidents.get_many(connection, ids)}
        strands = {
            incident_id: Strand(known.started_at, known.event_ids[0], incident_id)
            for incident_id, known in found.items()
        }
        return {one.id: strands[one.incident_id] for one in fixed if one.incident_id in strands}

    @staticmethod
    async def _homes(
        connection: AsyncConnection, strands: Mapping[int, Strand], moving: Sequence[NearEvent]
    ) -> dict[int, int]:
        """Return the incident of every event that was arranged anew: one that exists where that can be."""
        before = {one.id: one.incident_id for one in moving}
        used = {incident_id for incident_id in before.values() if incident_id is not None}
        held = await incidents.members_of(connection, used)
        free = {incident_id for incident_id, members in held.items() if members <= before.keys()}
        groups: dict[Strand, list[int]] = {}
        for one in moving:
            groups.setdefault(strands[one.id], []).append(one.id)
        homes: dict[int, int] = {}
        for strand, event_ids in sorted(groups.items(), key=lambda item: (item[0].started_at, item[0].first_event_id)):
            had = sorted(id_ for event_id in event_ids if (id_ := before[event_id]) is not None and id_ in free)
            if strand.known is not None:
                home = strand.known
            elif had:
                home = had[0]
            else:
                home = await incidents.begin(connection, strand.started_at)
            free.discard(home)
            homes |= dict.fromkeys(event_ids, home)
        return homes

    async def _move(
        self,
        connection: AsyncConnection,
        changed: Mapping[int, Changed],
        moving: Sequence[NearEvent],
        homes: Mapping[int, int],
        cameras: Mapping[str, Placed],
    ) -> set[int]:
        """Give the events to their incidents and return those that may be others now."""
        touched: set[int] = set()
        for one in moving:
            home, before = homes[one.id], one.incident_id
            if before is not None and before != home:
                await incidents.move(connection, [one.id], home)
            if before != home:
                touched |= {home} | ({before} if before is not None else set())
        written = []
        for event_id, change in changed.items():
            if event_id in homes:
                event = change.event
                camera = cameras.get(event.camera_id)
                name = camera.name if camera else event.camera_id
                line = line_of(event, name, self._zone)
                written.append(Membership(event_id, homes[event_id], subject_of(event), line))
                touched.add(homes[event_id])
        await incidents.give(connection, written)
        return touched

    async def _settle(
        self, connection: AsyncConnection, change: IncidentChange, of: Sequence[Changed], *, tell: bool
    ) -> list[Announcement]:
        """Open or close an incident as its events have it, and return what there is to tell."""
        before, after = change.before, change.after
        if after is not None:
            ended_at = await self._end(connection, before, after, of)
            if ended_at != after.ended_at:
                await incidents.set_end(connection, after.id, ended_at)
                after = replace(after, ended_at=ended_at)
        told = announcements_of(IncidentChange(before, after), self._clock.now())
        return told if tell else []

    async def _end(
        self, connection: AsyncConnection, before: Incident | None, after: Incident, of: Sequence[Changed]
    ) -> datetime | None:
        """Return when an incident ended: of what happens now its timer decides, of the past this."""
        if any(change.live for change in of):
            return None
        if before is not None and before.is_open:
            return None
        over_at = after.last_at + self.quiet
        if over_at > self._clock.now() or await incidents.has_open_event(connection, after.id):
            return None
        return over_at


def _groups(changes: Iterable[Changed], reach: timedelta) -> list[dict[int, Changed]]:
    """Divide changes into those that lie near each other, as pictures of now and of last week come together."""
    groups: list[dict[int, Changed]] = []
    begin: datetime | None = None
    for change in sorted(changes, key=lambda one: (one.event.started_at, one.event.id)):
        if begin is None or change.event.started_at - begin > reach:
            begin = change.event.started_at
            groups.append({})
        groups[-1][change.event.id] = change
    return groups


def _members(found: Sequence[NearEvent], looks: Looks) -> list[Member]:
    return [
        Member(
            one.id,
            one.camera_id,
            one.started_at,
            one.last_detection_at,
            one.score,
            tuple(_seen(track, looks) for track in one.tracks),
        )
        for one in found
    ]


def _seen(track: Track, looks: Looks) -> Seen:
    first, last = (track.path[0], track.path[-1]) if track.path else (None, None)
    return Seen(
        category=track.label.category,
        first_at=track.first_seen_at,
        last_at=track.last_seen_at,
        first_point=(first.x, first.y) if first else None,
        last_point=(last.x, last.y) if last else None,
        look=looks.get((track.best_frame_id, track.label.category, track.confidence)) if track.best_frame_id else None,
    )


async def _looks(connection: AsyncConnection, found: Sequence[NearEvent]) -> Looks:
    """Return what the objects looked like where they were seen best, where more than one camera saw some."""
    if len({one.camera_id for one in found}) < 2:
        return {}
    frame_ids = {track.best_frame_id for one in found for track in one.tracks if track.best_frame_id is not None}
    if not frame_ids:
        return {}
    return {
        (one.frame_id, one.category, one.confidence): one.look for one in await incidents.looks(connection, frame_ids)
    }


async def _ways(connection: AsyncConnection, members: Sequence[Member]) -> tuple[Transition, ...]:
    """Return what is known of the ways between the cameras that saw something."""
    camera_ids = {one.camera_id for one in members}
    return await transitions.between(connection, camera_ids) if len(camera_ids) > 1 else ()
