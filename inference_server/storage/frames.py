# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries on frames and their detections."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.detection import Box, Detection, Label, Sighting
from inference_server.core.frame import Frame, FrameSource, TimeSource
from inference_server.storage.rows import AnyRow, insert
from inference_server.storage.tables import detections, frames


@dataclass(frozen=True, slots=True)
class NewFrame:
    """A frame that has no id yet. Sizes are in pixels."""

    camera_id: str
    content_hash: str
    media_path: str
    captured_at: datetime
    arrived_at: datetime
    width: int
    height: int
    source: FrameSource = FrameSource.FOLDER
    time_source: TimeSource = TimeSource.ARRIVAL
    size_bytes: int = 0
    clip_id: int | None = None
    clip_offset_seconds: float | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What makes a frame unique: its camera and its content."""
        return self.camera_id, self.content_hash


async def add(connection: AsyncConnection, new: Sequence[NewFrame]) -> Mapping[tuple[str, str], int]:
    """Add frames and return the ids of those that were new, by key; content that a camera already has is left out."""
    if not new:
        return {}
    query = (
        insert(connection, frames)
        .on_conflict_do_nothing(index_elements=["camera_id", "content_hash"])
        .returning(frames.c.camera_id, frames.c.content_hash, frames.c.id)
    )
    values = [{column.name: getattr(frame, column.name) for column in fields(frame)} for frame in new]
    rows = await connection.execute(query, values)
    return {(row.camera_id, row.content_hash): row.id for row in rows}


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
    """Return a camera's newest frame that has its file, judged or not."""
    newest_first = (frames.c.captured_at.desc(), frames.c.id.desc())
    query = select(frames).where(frames.c.camera_id == camera_id, frames.c.pruned_at.is_(None))
    query = query.order_by(*newest_first).limit(1)
    row = (await connection.execute(query)).one_or_none()
    return _frame(row) if row else None


async def last_arrival(connection: AsyncConnection, event_id: int) -> datetime | None:
    """Return when the last of an event's pictures arrived."""
    of_event = select(detections.c.frame_id).where(detections.c.event_id == event_id)
    query = select(func.max(frames.c.arrived_at)).where(frames.c.id.in_(of_event))
    last: datetime | None = (await connection.execute(query)).scalar()
    return last


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


async def give_to_event(connection: AsyncConnection, frame_ids: Sequence[int], event_id: int) -> None:
    """Make the frames' detections belong to an event."""
    await connection.execute(update(detections).where(detections.c.frame_id.in_(frame_ids)).values(event_id=event_id))


async def sightings(connection: AsyncConnection, found: Iterable[Frame]) -> Mapping[int, Sighting]:
    """Return what was detected in each of these frames, by frame id."""
    by_id = {frame.id: frame for frame in found}
    rows = await connection.execute(
        select(detections).where(detections.c.frame_id.in_(by_id)).order_by(detections.c.frame_id, detections.c.ordinal)
    )
    seen: dict[int, list[Detection]] = {frame_id: [] for frame_id in by_id}
    for row in rows:
        seen[row.frame_id].append(_detection(row))
    return {
        frame.id: Sighting(frame.id, frame.captured_at, frame.width, frame.height, tuple(seen[frame.id]))
        for frame in by_id.values()
    }


async def sightings_of_event(connection: AsyncConnection, event_id: int) -> tuple[Sighting, ...]:
    """Return what was detected in an event's frames, oldest first."""
    of_event = select(detections.c.frame_id).where(detections.c.event_id == event_id)
    rows = await connection.execute(select(frames).where(frames.c.id.in_(of_event)))
    seen = await sightings(connection, map(_frame, rows))
    return tuple(sorted(seen.values(), key=lambda sighting: (sighting.captured_at, sighting.frame_id)))


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
        source=FrameSource(row.source),
        time_source=TimeSource(row.time_source),
    )


def _detection(row: AnyRow) -> Detection:
    return Detection(Label(row.label), row.confidence, Box(row.x, row.y, row.width, row.height))
