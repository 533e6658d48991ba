# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries on the trash: events that somebody deleted, until they are restored or their time is up."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.announcement import Announcement, AnnouncementKind
from inference_server.core.event import Event
from inference_server.storage import announcements, cameras, incidents, retention
from inference_server.storage.events import get, joined, of_row, with_clips
from inference_server.storage.incidents import IncidentChange
from inference_server.storage.rows import Page, decode_moment, encode_moment
from inference_server.storage.tables import cameras as camera_table
from inference_server.storage.tables import events


@dataclass(frozen=True, slots=True)
class TrashedEvent:
    """An event in the trash."""

    event: Event
    deleted_at: datetime


@dataclass(frozen=True, slots=True)
class Restored:
    """An event that is back, and what becomes of its incident."""

    event: Event
    incident: IncidentChange | None


async def put(connection: AsyncConnection, event: Event, at: datetime) -> IncidentChange | None:
    """Put an ended event into the trash: it leaves every list, and its camera's last event is an older one.

    Return what becomes of its incident, which keeps the event's place for its return.
    """
    await cameras.lock(connection, [event.camera_id])
    await connection.execute(update(events).where(events.c.id == event.id).values(deleted_at=at))
    await retention.renew_last_event(connection, event.camera_id, event.id)
    return await incidents.renew_of_event(connection, event.id)


async def restore(connection: AsyncConnection, event_id: int) -> Restored | None:
    """Take an event back out of the trash and return it; None when it is not there."""
    in_trash = and_(events.c.id == event_id, events.c.deleted_at.is_not(None))
    camera_id: str | None = (await connection.execute(select(events.c.camera_id).where(in_trash))).scalar()
    if camera_id is None:
        return None
    await cameras.lock(connection, [camera_id])
    if (await connection.execute(update(events).where(in_trash).values(deleted_at=None))).rowcount == 0:
        return None
    event = await get(connection, event_id)
    if event is None:
        return None
    await _make_last(connection, event)
    return Restored(event, await incidents.renew_of_event(connection, event_id))


async def _make_last(connection: AsyncConnection, event: Event) -> None:
    """Let an event be its camera's last one unless that is younger."""
    camera = (await cameras.get_many(connection, [event.camera_id])).get(event.camera_id)
    last = await get(connection, camera.last_event_id) if camera and camera.last_event_id else None
    if last is None or (last.started_at, last.id) < (event.started_at, event.id):
        query = update(camera_table).where(camera_table.c.id == event.camera_id)
        await connection.execute(query.values(last_event_id=event.id))


async def find(connection: AsyncConnection, *, limit: int, cursor: str | None) -> Page[TrashedEvent]:
    """Return what is in the trash, what was deleted last first. Raises BadCursorError."""
    query = joined().where(events.c.deleted_at.is_not(None))
    query = query.order_by(events.c.deleted_at.desc(), events.c.id.desc())
    if cursor is not None:
        at, last_id = decode_moment(cursor)
        same = and_(events.c.deleted_at == at, events.c.id < last_id)
        query = query.where(or_(events.c.deleted_at < at, same))
    rows = (await connection.execute(query.limit(limit + 1))).all()
    found = await with_clips(connection, map(of_row, rows[:limit]))
    items = tuple(TrashedEvent(event, row.deleted_at) for event, row in zip(found, rows, strict=False))
    more = len(rows) > limit
    return Page(items, encode_moment(items[-1].deleted_at, items[-1].event.id) if more else None)


async def tell_removed(
    connection: AsyncConnection,
    removed_id: int,
    camera_id: str,
    at: datetime,
    *,
    judged: bool,
    more: Sequence[Announcement] = (),
) -> None:
    """Announce that an event is gone, with its camera and that one's last event as they are now, and more after it."""
    state = await cameras.state(connection, camera_id, judged=judged)
    last_id = state.last_event_id if state else None
    last = await get(connection, last_id) if last_id else None
    told = Announcement(AnnouncementKind.EVENT_REMOVED, camera_id, at, state, last, removed_event_id=removed_id)
    await announcements.add(connection, [told, *more])
