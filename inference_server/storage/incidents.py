# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries on incidents.

Whoever changes which event is part of which incident holds `lock` to the end of the transaction: incidents reach over
cameras, and what several workers do for different cameras at a time meets here.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, delete, exists, func, not_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.announcement import Announcement, AnnouncementKind
from inference_server.core.detection import Category, Label, Track
from inference_server.core.incident import Chapter, Incident, story_of, title_of
from inference_server.core.message import Priority, StageName
from inference_server.storage import rows
from inference_server.storage.events import tracks_of
from inference_server.storage.rows import AnyRow, Page, decode_moment, encode_moment, insert
from inference_server.storage.tables import (
    assessments,
    cameras,
    detections,
    events,
    frames,
    incident_events,
    incidents,
    messages,
)

MOST_EVENTS = 2000
"""That are arranged anew at a time, the earliest of them."""
LONGEST_EVENT = timedelta(hours=1)
"""No event is longer: `batch.window_seconds` says so."""
_LISTED = events.c.deleted_at.is_(None)
_FRAME_STAGES = [stage.value for stage in StageName if stage.is_about_frames]


@dataclass(frozen=True, slots=True)
class IncidentFilter:
    """Which incidents a list holds; None means all."""

    camera_id: str | None = None
    min_score: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    open: bool | None = None


@dataclass(frozen=True, slots=True)
class NearEvent:
    """An event with the incident that it is part of, as far as incidents are arranged by it."""

    id: int
    camera_id: str
    started_at: datetime
    last_detection_at: datetime
    is_open: bool
    score: int
    tracks: tuple[Track, ...]
    incident_id: int | None


@dataclass(frozen=True, slots=True)
class Membership:
    """An event's place in an incident, and what the story says of it."""

    event_id: int
    incident_id: int
    subject: str
    line: str


@dataclass(frozen=True, slots=True)
class IncidentChange:
    """An incident as it was (None: it is new) and is now (None: it has no event left)."""

    before: Incident | None
    after: Incident | None


@dataclass(frozen=True, slots=True)
class Look:
    """What an object of a frame looks like."""

    frame_id: int
    category: Category
    confidence: float
    look: bytes


async def lock(connection: AsyncConnection) -> None:
    """Keep every other transaction from arranging incidents, to the end of this one."""
    await rows.lock(connection, "incidents")


async def near(connection: AsyncConnection, since: datetime, until: datetime, reach: timedelta) -> list[NearEvent]:
    """Return the events that began in a time, and those before which were going on at most `reach` before it."""
    columns = (
        events.c.id,
        events.c.camera_id,
        events.c.started_at,
        events.c.last_detection_at,
        events.c.ended_at,
        events.c.score,
        events.c.tracks,
        incident_events.c.incident_id,
    )
    wanted = (
        _LISTED,
        events.c.started_at >= since - reach - LONGEST_EVENT,
        events.c.started_at <= until,
        events.c.last_detection_at >= since - reach,
    )
    query = select(*columns).outerjoin(incident_events, incident_events.c.event_id == events.c.id).where(*wanted)
    found = await connection.execute(query.order_by(events.c.started_at, events.c.id).limit(MOST_EVENTS))
    return [
        NearEvent(
            row.id,
            row.camera_id,
            row.started_at,
            row.last_detection_at,
            row.ended_at is None,
            row.score,
            tracks_of(row.tracks),
            row.incident_id,
        )
        for row in found
    ]


async def looks(connection: AsyncConnection, frame_ids: Collection[int]) -> list[Look]:
    """Return the looks of all objects in these frames that have one."""
    columns = (detections.c.frame_id, detections.c.label, detections.c.confidence, detections.c.appearance)
    wanted = (detections.c.frame_id.in_(list(frame_ids)), detections.c.appearance.is_not(None))
    found = await connection.execute(select(*columns).where(*wanted).order_by(detections.c.id))
    return [Look(row.frame_id, Label(row.label).category, row.confidence, row.appearance) for row in found]


async def members_of(connection: AsyncConnection, incident_ids: Collection[int]) -> Mapping[int, set[int]]:
    """Return the events of these incidents that are not in the trash, by incident id."""
    query = _memberships(incident_ids).with_only_columns(incident_events.c.incident_id, incident_events.c.event_id)
    found: dict[int, set[int]] = {incident_id: set() for incident_id in incident_ids}
    for row in await connection.execute(query):
        found[row.incident_id].add(row.event_id)
    return found


async def begin(connection: AsyncConnection, at: datetime) -> int:
    """Make an incident without events, to which some are given at once, and return its id."""
    new = incidents.insert().values(
        started_at=at, last_at=at, score=0, verified=False, title="", summary="", cameras=[], event_ids=[], listed=False
    )
    return int((await connection.execute(new.returning(incidents.c.id))).scalar_one())


async def give(connection: AsyncConnection, told: Iterable[Membership]) -> None:
    """Make events part of incidents, with what their stories say of them."""
    for one in told:
        columns = {"incident_id": one.incident_id, "subject": one.subject, "line": one.line}
        query = insert(connection, incident_events).values(event_id=one.event_id, **columns)
        await connection.execute(query.on_conflict_do_update(index_elements=["event_id"], set_=columns))


async def move(connection: AsyncConnection, event_ids: Collection[int], incident_id: int) -> None:
    """Make events part of another incident; what is said of them stays."""
    moved = update(incident_events).where(incident_events.c.event_id.in_(list(event_ids)))
    await connection.execute(moved.values(incident_id=incident_id))


async def renew(connection: AsyncConnection, incident_ids: Collection[int]) -> dict[int, IncidentChange]:
    """Write what incidents are by the events that they have now. One that never had any counts as new.

    Of one whose events are all in the trash nothing is listed; one that has none at all is deleted.
    """
    before = {found.id: found for found in await get_many(connection, incident_ids)}
    chapters, facts = await _chapters(connection, incident_ids)
    changes = {}
    for incident_id in sorted(incident_ids):
        told = chapters.get(incident_id, [])
        if told:
            started_at, last_at, verified = facts[incident_id]
            columns = {
                "started_at": started_at,
                "last_at": last_at,
                "score": max(chapter.score for chapter in told),
                "verified": verified,
                "title": title_of(told),
                "summary": story_of(told),
                "cameras": list(dict.fromkeys(chapter.camera_id for chapter in told)),
                "event_ids": [chapter.event_id for chapter in told],
            }
        else:
            columns = {}
        changed = update(incidents).where(incidents.c.id == incident_id).values(listed=bool(told), **columns)
        await connection.execute(changed)
        if not told:
            unused = not_(exists().where(incident_events.c.incident_id == incidents.c.id))
            await connection.execute(delete(incidents).where(incidents.c.id == incident_id, unused))
    after = {found.id: found for found in await get_many(connection, incident_ids)}
    for incident_id in sorted(incident_ids):
        change = IncidentChange(before.get(incident_id), after.get(incident_id))
        if change.before or change.after:
            changes[incident_id] = change
    return changes


async def _chapters(
    connection: AsyncConnection, incident_ids: Collection[int]
) -> tuple[dict[int, list[Chapter]], dict[int, tuple[datetime, datetime, bool]]]:
    """Return the stories of incidents, and when each began, went on last and whether all of it is verified."""
    columns = (
        incident_events.c.incident_id,
        incident_events.c.subject,
        incident_events.c.line,
        events.c.id,
        events.c.camera_id,
        cameras.c.name,
        events.c.score,
        events.c.started_at,
        events.c.last_detection_at,
        assessments.c.verified,
    )
    query = _memberships(incident_ids).join(cameras, cameras.c.id == events.c.camera_id)
    query = query.join(assessments, assessments.c.id == events.c.assessment_id).with_only_columns(*columns)
    found = (await connection.execute(query)).all()
    chapters, facts = {}, {}
    for incident_id, group in groupby(found, key=attrgetter("incident_id")):
        members = list(group)
        chapters[incident_id] = [
            Chapter(row.id, row.camera_id, row.name, row.score, row.subject, row.line) for row in members
        ]
        last_at = max(row.last_detection_at for row in members)
        facts[incident_id] = members[0].started_at, last_at, all(row.verified for row in members)
    return chapters, facts


async def set_end(connection: AsyncConnection, incident_id: int, at: datetime | None) -> None:
    """Close an incident, or open it again."""
    await connection.execute(update(incidents).where(incidents.c.id == incident_id).values(ended_at=at))


async def renew_of_event(connection: AsyncConnection, event_id: int) -> IncidentChange | None:
    """Write an event's incident anew after the event went into the trash or came back; None if it has none."""
    incident_id = await _incident_of(connection, event_id)
    return None if incident_id is None else (await renew(connection, [incident_id])).get(incident_id)


async def forget(connection: AsyncConnection, event_id: int) -> IncidentChange | None:
    """Take an event out of its incident before it is deleted; None if it has none."""
    incident_id = await _incident_of(connection, event_id)
    if incident_id is None:
        return None
    await connection.execute(delete(incident_events).where(incident_events.c.event_id == event_id))
    return (await renew(connection, [incident_id])).get(incident_id)


def announcements_of(change: IncidentChange, at: datetime) -> list[Announcement]:
    """Return what there is to tell of a change: of an incident that goes on as it was, nothing."""
    before, after = change.before, change.after
    if after is None:
        if before is None:
            return []
        kind = AnnouncementKind.INCIDENT_REMOVED
        return [Announcement(kind, before.cameras[-1], at, removed_incident_id=before.id)]
    camera_id = after.cameras[-1]
    told = []
    if before is None:
        told.append(Announcement(AnnouncementKind.INCIDENT_STARTED, camera_id, at, incident=after))
    elif _told_of(before) != _told_of(after) and (after.is_open or not before.is_open):
        told.append(Announcement(AnnouncementKind.INCIDENT_UPDATED, camera_id, at, incident=after))
    if not after.is_open and (before is None or before.is_open):
        told.append(Announcement(AnnouncementKind.INCIDENT_ENDED, camera_id, at, incident=after))
    return told


def _told_of(incident: Incident) -> tuple[object, ...]:
    """Return what of an incident is worth a message; the rest comes with the next one."""
    return incident.score, incident.verified, incident.title, incident.event_ids, incident.ended_at


async def _incident_of(connection: AsyncConnection, event_id: int) -> int | None:
    """Return an event's incident, which nobody else arranges from now on."""
    await lock(connection)
    query = select(incident_events.c.incident_id).where(incident_events.c.event_id == event_id)
    found: int | None = (await connection.execute(query)).scalar()
    return found


async def get(connection: AsyncConnection, incident_id: int) -> Incident | None:
    """Return an incident, or None when there is none or all its events are in the trash."""
    return next(iter(await get_many(connection, [incident_id])), None)


async def get_many(connection: AsyncConnection, incident_ids: Collection[int]) -> tuple[Incident, ...]:
    """Return the incidents that exist and are listed, oldest first."""
    query = select(incidents).where(incidents.c.id.in_(list(incident_ids)), incidents.c.listed)
    return tuple(map(_incident, await connection.execute(query.order_by(incidents.c.id))))


async def open_incidents(connection: AsyncConnection) -> tuple[Incident, ...]:
    """Return every open incident, oldest first."""
    query = select(incidents).where(incidents.c.ended_at.is_(None), incidents.c.listed)
    found = map(_incident, await connection.execute(query.order_by(incidents.c.last_at)))
    return tuple(sorted(found, key=attrgetter("id")))


async def find(
    connection: AsyncConnection, wanted: IncidentFilter, *, limit: int, cursor: str | None
) -> Page[Incident]:
    """Return incidents, newest first. Raises BadCursorError."""
    query = select(incidents).where(incidents.c.listed, *_conditions(wanted))
    query = query.order_by(incidents.c.started_at.desc(), incidents.c.id.desc())
    if cursor is not None:
        at, last_id = decode_moment(cursor)
        same = and_(incidents.c.started_at == at, incidents.c.id < last_id)
        query = query.where(or_(incidents.c.started_at < at, same))
    found = (await connection.execute(query.limit(limit + 1))).all()
    items = tuple(map(_incident, found[:limit]))
    return Page(items, encode_moment(items[-1].started_at, items[-1].id) if len(found) > limit else None)


def _conditions(wanted: IncidentFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.camera_id is not None:
        of_camera = and_(events.c.id == incident_events.c.event_id, events.c.camera_id == wanted.camera_id, _LISTED)
        found.append(exists().where(incident_events.c.incident_id == incidents.c.id, of_camera))
    if wanted.min_score is not None:
        found.append(incidents.c.score >= wanted.min_score)
    if wanted.since is not None:
        found.append(incidents.c.started_at >= wanted.since)
    if wanted.until is not None:
        found.append(incidents.c.started_at < wanted.until)
    if wanted.open is not None:
        found.append(incidents.c.ended_at.is_(None) if wanted.open else incidents.c.ended_at.is_not(None))
    return found


async def has_open_event(connection: AsyncConnection, incident_id: int) -> bool:
    """Return whether an event of an incident is still going on."""
    query = select(exists().where(*_of(incident_id), events.c.ended_at.is_(None)))
    return bool((await connection.execute(query)).scalar())


async def delay(connection: AsyncConnection, incident_id: int) -> timedelta:
    """Return by how much the pictures of an incident's last event came later than they were taken."""
    last = (await connection.execute(_last_event(incident_id))).one_or_none()
    if last is None:
        return timedelta(0)
    of_event = select(detections.c.frame_id).where(detections.c.event_id == last.id)
    query = select(func.max(frames.c.arrived_at)).where(frames.c.id.in_(of_event))
    arrived_at: datetime | None = (await connection.execute(query)).scalar()
    return max(arrived_at - last.last_detection_at, timedelta(0)) if arrived_at else timedelta(0)


def _last_event(incident_id: int) -> Select[Any]:
    query = select(events.c.id, events.c.last_detection_at)
    query = query.join(incident_events, incident_events.c.event_id == events.c.id)
    query = query.where(incident_events.c.incident_id == incident_id, _LISTED)
    return query.order_by(events.c.last_detection_at.desc(), events.c.id.desc()).limit(1)


async def pictures_wait(connection: AsyncConnection, until: datetime) -> bool:
    """Return whether live pictures taken until then are still to be judged, of whatever camera."""
    waiting = and_(
        messages.c.stage.in_(_FRAME_STAGES),
        messages.c.priority <= Priority.LIVE,
        frames.c.id == messages.c.subject_id,
        frames.c.captured_at <= until,
    )
    return bool((await connection.execute(select(exists().where(waiting)))).scalar())


def _of(incident_id: int) -> tuple[ColumnElement[bool], ...]:
    return (incident_events.c.incident_id == incident_id, incident_events.c.event_id == events.c.id, _LISTED)


def _memberships(incident_ids: Collection[int]) -> Select[Any]:
    query = select(incident_events).join(events, events.c.id == incident_events.c.event_id)
    query = query.where(incident_events.c.incident_id.in_(list(incident_ids)), _LISTED)
    return query.order_by(incident_events.c.incident_id, events.c.started_at, events.c.camera_id, events.c.id)


def _incident(row: AnyRow) -> Incident:
    return Incident(
        id=row.id,
        started_at=row.started_at,
        last_at=row.last_at,
        ended_at=row.ended_at,
        score=row.score,
        verified=row.verified,
        title=row.title,
        summary=row.summary,
        cameras=tuple(row.cameras),
        event_ids=tuple(row.event_ids),
    )
