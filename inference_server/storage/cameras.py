# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries on cameras."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.announcement import CameraState, camera_state
from inference_server.core.camera import Camera
from inference_server.core.event import Event
from inference_server.storage import events
from inference_server.storage.rows import AnyRow, insert
from inference_server.storage.tables import cameras


async def add(connection: AsyncConnection, camera: Camera) -> bool:
    """Add a camera, or bring back a removed one of the same id. Return whether it was not there."""
    known = (await connection.execute(select(cameras.c.removed_at).where(cameras.c.id == camera.id))).one_or_none()
    if known is None:
        query = insert(connection, cameras).values(id=camera.id, name=camera.name, created_at=camera.created_at)
        return (await connection.execute(query.on_conflict_do_nothing())).rowcount > 0
    if known.removed_at is not None:
        await connection.execute(update(cameras).where(cameras.c.id == camera.id).values(removed_at=None))
        return True
    return False


async def existing(connection: AsyncConnection, camera_ids: Iterable[str]) -> set[str]:
    """Return those of the cameras that are there and not removed."""
    query = select(cameras.c.id).where(cameras.c.id.in_(list(camera_ids)), cameras.c.removed_at.is_(None))
    return set((await connection.execute(query)).scalars())


async def lock(connection: AsyncConnection, camera_ids: Iterable[str]) -> None:
    """Keep other transactions away from these cameras' events to the end of this one; SQLite has one writer anyway.

    Taken in one order by everybody, so that no two wait for each other; new frames may refer to the cameras meanwhile.
    """
    if connection.dialect.name == "postgresql":
        query = select(cameras.c.id).where(cameras.c.id.in_(sorted(set(camera_ids)))).order_by(cameras.c.id)
        await connection.execute(query.with_for_update(key_share=True))


async def remove(connection: AsyncConnection, camera_id: str, at: datetime) -> bool:
    """Take a camera out of every list; its frames and events stay. Return whether it was there."""
    result = await connection.execute(
        update(cameras).where(cameras.c.id == camera_id, cameras.c.removed_at.is_(None)).values(removed_at=at)
    )
    return result.rowcount > 0


async def rename(connection: AsyncConnection, camera_id: str, name: str) -> None:
    """Give a camera the name that people see."""
    await connection.execute(update(cameras).where(cameras.c.id == camera_id).values(name=name))


async def set_clock_offset(connection: AsyncConnection, camera_id: str, offset: timedelta) -> None:
    """Store what was learnt of a camera's clock: what is to be added to the time that it shows."""
    query = update(cameras).where(cameras.c.id == camera_id).values(clock_offset_seconds=offset.total_seconds())
    await connection.execute(query)


async def clock_offsets(connection: AsyncConnection) -> Mapping[str, float]:
    """Return what was learnt of the cameras' clocks, in seconds, by camera id."""
    query = select(cameras.c.id, cameras.c.clock_offset_seconds)
    query = query.where(cameras.c.clock_offset_seconds.is_not(None), cameras.c.removed_at.is_(None))
    return {row.id: row.clock_offset_seconds for row in await connection.execute(query)}


@dataclass(frozen=True, slots=True)
class CameraRow:
    """A camera with its newest frame and event."""

    camera: Camera
    last_frame_id: int | None
    last_event_id: int | None

    def state(self, open_event: Event | None, *, judged: bool) -> CameraState:
        """Return the camera as it stands with this open event."""
        return camera_state(
            self.camera,
            last_frame_id=self.last_frame_id,
            last_event_id=self.last_event_id,
            open_event=open_event,
            judged=judged,
        )


async def get_many(connection: AsyncConnection, camera_ids: Iterable[str]) -> Mapping[str, CameraRow]:
    """Return the cameras that exist and were not removed, by id."""
    query = select(cameras).where(cameras.c.id.in_(list(camera_ids)), cameras.c.removed_at.is_(None))
    return {row.id: _row(row) for row in await connection.execute(query)}


async def update_latest(connection: AsyncConnection, row: CameraRow) -> None:
    """Write a camera's newest frame and event."""
    await connection.execute(
        update(cameras)
        .where(cameras.c.id == row.camera.id)
        .values(
            last_frame_at=row.camera.last_frame_at, last_frame_id=row.last_frame_id, last_event_id=row.last_event_id
        )
    )


async def state(connection: AsyncConnection, camera_id: str, *, judged: bool) -> CameraState | None:
    """Return a camera as it stands, or None for an unknown or removed one."""
    row = (await get_many(connection, [camera_id])).get(camera_id)
    if row is None:
        return None
    return row.state(await events.open_event(connection, camera_id), judged=judged)


async def states(connection: AsyncConnection, *, judged: bool) -> tuple[CameraState, ...]:
    """Return every camera as it stands, by name."""
    open_events = {event.camera_id: event for event in await events.open_events(connection)}
    rows = await connection.execute(select(cameras).where(cameras.c.removed_at.is_(None)).order_by(cameras.c.name))
    return tuple(_row(row).state(open_events.get(row.id), judged=judged) for row in rows)


def _row(row: AnyRow) -> CameraRow:
    camera = Camera(row.id, row.name, row.created_at, row.last_frame_at)
    return CameraRow(camera, row.last_frame_id, row.last_event_id)
