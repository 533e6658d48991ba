# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries on what the cameras usually see."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.baseline import HOURS_OF_DAY, SLOTS, Habit
from inference_server.core.detection import Category, Track
from inference_server.storage.events import tracks_of
from inference_server.storage.rows import AnyRow, insert
from inference_server.storage.tables import events, habits


async def of_camera(connection: AsyncConnection, camera_id: str) -> tuple[Habit, ...]:
    """Return what a camera usually sees."""
    rows = await connection.execute(select(habits).where(habits.c.camera_id == camera_id))
    return tuple(_habit(row) for row in rows)


async def at_hour(connection: AsyncConnection, camera_id: str, slot: int) -> tuple[Habit, ...]:
    """Return what a camera usually sees at the hour of the day of a slot, on all days."""
    same = list(range(slot % HOURS_OF_DAY, SLOTS, HOURS_OF_DAY))
    query = select(habits).where(habits.c.camera_id == camera_id, habits.c.slot.in_(same))
    return tuple(_habit(row) for row in await connection.execute(query))


async def write(connection: AsyncConnection, learnt: Iterable[Habit]) -> None:
    """Write habits in the place of older ones."""
    for habit in learnt:
        key = {"camera_id": habit.camera_id, "category": habit.category.value, "slot": habit.slot}
        columns = {"objects": habit.objects, "hours": habit.hours, "updated_at": habit.updated_at}
        query = insert(connection, habits).values(**key, **columns)
        await connection.execute(query.on_conflict_do_update(index_elements=list(key), set_=columns))


async def tracks_since(
    connection: AsyncConnection, camera_id: str, since: datetime, until: datetime, *, but_of: int | None = None
) -> tuple[tuple[Track, ...], ...]:
    """Return the tracks of each of a camera's events that began then, the earliest first.

    Those of the event `but_of` are left out.
    """
    query = select(events.c.tracks).where(
        events.c.camera_id == camera_id,
        events.c.started_at >= since,
        events.c.started_at < until,
        events.c.deleted_at.is_(None),
        events.c.id != but_of if but_of is not None else true(),
    )
    rows = (await connection.execute(query.order_by(events.c.started_at, events.c.id))).scalars()
    return tuple(tracks_of(stored) for stored in rows)


def _habit(row: AnyRow) -> Habit:
    return Habit(row.camera_id, Category(row.category), row.slot, row.objects, row.hours, row.updated_at)
