# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries on cameras."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.announcement import CameraState
from inference_server.core.camera import Camera
from inference_server.core.event import Event
from inference_server.storage import events
from inference_server.storage.rows import AnyRow, insert
from inference_server.storage.tables import cameras


async def add(connection: AsyncConnection, camera: Camera) -> bool:
    """Add a camera, or bring back a removed one of the same id. Return whether it was not there."""
    known = (await connection.execute(select(cameras.c.removed_at).where(cameras.c.id == camera.id))).one_or_none()
    if known is None:
        await connection.execute(
            insert(connection, cameras).values(id=camera.id, name=camera.name, created_at=camera.created_at)
        )
        return True
    if known.removed_at is not None:
        await connection.execute(update(cameras).where(cameras.c.id == camera.id).values(removed_at=None))
        return True
    return False


async def remove(connection: AsyncConnection, camera_id: str, at: datetime) -> bool:
    """Take a camera out of every list; its frames and events stay. Return whether it was there."""
    result = await connection.execute(
        update(cameras).where(cameras.c.id == camera_id, cameras.c.removed_at.is_(None)).values(removed_at=at)
    )
    return result.rowcount > 0


async def saw_frame(connection: AsyncConnection, camera_id: str, frame_id: int, captured_at: datetime) -> None:
    """Remember a camera's newest frame; an older one than the newest changes nothing."""
    await connection.execute(
        update(cameras)
        .where(
            cameras.c.id == camera_id,
            (cameras.c.last_frame_at.is_(None)) | (cameras.c.last_frame_at <= captured_at),
        )
        .values(last_frame_at=captured_at, last_frame_id=frame_id)
    )


async def had_event(connection: AsyncConnection, camera_id: str, event_id: int) -> None:
    """Remember a camera's newest event."""
    await connection.execute(update(cameras).where(cameras.c.id == camera_id).values(last_event_id=event_id))


async def state(connection: AsyncConnection, camera_id: str, *, judged: bool) -> CameraState | None:
    """Return a camera as it stands, or None for an unknown or removed one."""
    row = (
        await connection.execute(select(cameras).where(cameras.c.id == camera_id, cameras.c.removed_at.is_(None)))
    ).one_or_none()
    if row is None:
        return None
    return _state(row, await events.open_event(connection, camera_id), judged=judged)


async def states(connection: AsyncConnection, *, judged: bool) -> tuple[CameraState, ...]:
    """Return every camera as it stands, by name."""
    open_events = {event.camera_id: event for event in await events.open_events(connection)}
    rows = await connection.execute(select(cameras).where(cameras.c.removed_at.is_(None)).order_by(cameras.c.name))
    return tuple(_state(row, open_events.get(row.id), judged=judged) for row in rows)


async def last_event_ids(connection: AsyncConnection) -> Iterable[int]:
    """Return the newest event of each camera that had one."""
    rows = await connection.execute(
        select(cameras.c.last_event_id).where(cameras.c.removed_at.is_(None), cameras.c.last_event_id.is_not(None))
    )
    return rows.scalars().all()


async def count(connection: AsyncConnection) -> int:
    """Return how many cameras there are."""
    query = select(func.count()).select_from(cameras).where(cameras.c.removed_at.is_(None))
    return (await connection.execute(query)).scalar_one()


def _state(row: AnyRow, open_event: Event | None, *, judged: bool) -> CameraState:
    score = (open_event.assessment.score if open_event else 0) if judged else None
    return CameraState(
        camera=Camera(row.id, row.name, row.created_at, row.last_frame_at),
        last_frame_id=row.last_frame_id,
        judged=judged,
        score=score,
        occupied_by=frozenset(track.label.category for track in open_event.tracks) if open_event else frozenset(),
        open_event_id=open_event.id if open_event else None,
        last_event_id=row.last_event_id,
    )
