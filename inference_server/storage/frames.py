# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries on frames and their detections."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.detection import Box, Detection, Label, Sighting
from inference_server.core.frame import Frame
from inference_server.storage.rows import AnyRow, insert
from inference_server.storage.tables import detections, frames


async def add(
    connection: AsyncConnection,
    *,
    camera_id: str,
    content_hash: str,
    media_path: str,
    captured_at: datetime,
    arrived_at: datetime,
    width: int,
    height: int,
) -> int | None:
    """Add a frame and return its id, or None when the camera already has this content."""
    query = (
        insert(connection, frames)
        .values(
            camera_id=camera_id,
            content_hash=content_hash,
            media_path=media_path,
            captured_at=captured_at,
            arrived_at=arrived_at,
            width=width,
            height=height,
        )
        .on_conflict_do_nothing(index_elements=["camera_id", "content_hash"])
        .returning(frames.c.id)
    )
    return (await connection.execute(query)).scalar()


async def find_id(connection: AsyncConnection, camera_id: str, content_hash: str) -> int | None:
    """Return the id of the camera's frame with this content, if there is one."""
    query = select(frames.c.id).where(frames.c.camera_id == camera_id, frames.c.content_hash == content_hash)
    return (await connection.execute(query)).scalar()


async def get(connection: AsyncConnection, frame_id: int) -> Frame | None:
    """Return a frame, or None."""
    return (await get_many(connection, [frame_id])).get(frame_id)


async def get_many(connection: AsyncConnection, frame_ids: Sequence[int]) -> Mapping[int, Frame]:
    """Return the frames that exist, by id."""
    rows = await connection.execute(select(frames).where(frames.c.id.in_(frame_ids)))
    return {row.id: _frame(row) for row in rows}


async def latest(connection: AsyncConnection, camera_id: str) -> Frame | None:
    """Return a camera's newest frame, judged or not."""
    query = select(frames).where(frames.c.camera_id == camera_id).order_by(frames.c.captured_at.desc()).limit(1)
    row = (await connection.execute(query)).one_or_none()
    return _frame(row) if row else None


async def count(connection: AsyncConnection) -> int:
    """Return how many frames there are."""
    return (await connection.execute(select(func.count()).select_from(frames))).scalar_one()


async def add_detections(connection: AsyncConnection, found: Mapping[int, Sequence[Detection]]) -> None:
    """Store the detections of each frame id; a frame whose detections are stored already keeps them."""
    rows = [
        {
            "frame_id": frame_id,
            "ordinal": ordinal,
            "label": detection.label.value,
            "confidence": detection.confidence,
            "x": detection.box.x,
            "y": detection.box.y,
            "width": detection.box.width,
            "height": detection.box.height,
        }
        for frame_id, items in found.items()
        for ordinal, detection in enumerate(items)
    ]
    if rows:
        query = insert(connection, detections).on_conflict_do_nothing(index_elements=["frame_id", "ordinal"])
        await connection.execute(query, rows)


async def give_to_event(connection: AsyncConnection, frame_id: int, event_id: int) -> None:
    """Make the frame's detections belong to an event."""
    await connection.execute(update(detections).where(detections.c.frame_id == frame_id).values(event_id=event_id))


async def sighting(connection: AsyncConnection, frame: Frame) -> Sighting:
    """Return what was detected in a frame."""
    rows = await connection.execute(
        select(detections).where(detections.c.frame_id == frame.id).order_by(detections.c.ordinal)
    )
    return Sighting(frame.id, frame.captured_at, frame.width, frame.height, tuple(map(_detection, rows)))


async def sightings_of_event(connection: AsyncConnection, event_id: int) -> tuple[Sighting, ...]:
    """Return what was detected in an event's frames, oldest first."""
    rows = await connection.execute(
        select(
            detections,
            frames.c.captured_at,
            frames.c.width.label("frame_width"),
            frames.c.height.label("frame_height"),
        )
        .join(frames, frames.c.id == detections.c.frame_id)
        .where(detections.c.event_id == event_id)
        .order_by(frames.c.captured_at, frames.c.id, detections.c.ordinal)
    )
    by_frame: dict[int, list[AnyRow]] = {}
    for row in rows:
        by_frame.setdefault(row.frame_id, []).append(row)
    return tuple(
        Sighting(
            frame_id, group[0].captured_at, group[0].frame_width, group[0].frame_height, tuple(map(_detection, group))
        )
        for frame_id, group in by_frame.items()
    )


def _frame(row: AnyRow) -> Frame:
    return Frame(
        id=row.id,
        camera_id=row.camera_id,
        content_hash=row.content_hash,
        media_path=row.media_path,
        captured_at=row.captured_at,
        arrived_at=row.arrived_at,
        width=row.width,
        height=row.height,
    )


def _detection(row: AnyRow) -> Detection:
    return Detection(Label(row.label), row.confidence, Box(row.x, row.y, row.width, row.height))
