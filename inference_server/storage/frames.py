# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries on frames and their detections."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime

from sqlalchemy import and_, bindparam, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.detection import Box, Detection, Label, LeftOut, Sighting
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


@dataclass(frozen=True, slots=True)
class SampledFrame:
    """Of what camera a frame is, when it was taken, and where its file is."""

    camera_id: str
    captured_at: datetime
    media_path: str


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


async def sample(connection: AsyncConnection, most: int) -> Sequence[SampledFrame]:
    """Return about `most` of the frames that have their files, evenly from all that were admitted; all where fewer."""
    kept = frames.c.pruned_at.is_(None)
    count = (await connection.execute(select(func.count()).where(kept).select_from(frames))).scalar_one()
    query = select(frames.c.camera_id, frames.c.captured_at, frames.c.media_path).where(kept).order_by(frames.c.id)
    rows = await connection.execute(query.where(frames.c.id % max(1, -(-count // most)) == 0))
    return [SampledFrame(row.camera_id, row.captured_at, row.media_path) for row in rows]


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
            "appearance": detection.appearance,
        }
        for frame_id, items in found.items()
        for ordinal, detection in enumerate(items)
    ]
    if rows:
        query = insert(connection, detections).on_conflict_do_nothing(index_elements=["frame_id", "ordinal"])
        await connection.execute(query, rows)


async def add_views(connection: AsyncConnection, views: Mapping[int, bytes]) -> None:
    """Store what the pictures of these frame ids look like as a whole."""
    rows = [{"of_frame": frame_id, "seen": view} for frame_id, view in views.items()]
    if rows:
        query = update(frames).where(frames.c.id == bindparam("of_frame")).values(view=bindparam("seen"))
        await connection.execute(query, rows)


async def leave_out(connection: AsyncConnection, judged: Iterable[Sighting]) -> None:
    """Store which of the detections of these sightings make no event, and why."""
    rows = [
        {"of_frame": sighting.frame_id, "place": ordinal, "reason": found.left_out and found.left_out.value}
        for sighting in judged
        for ordinal, found in enumerate(sighting.detections)
    ]
    if rows:
        one = and_(detections.c.frame_id == bindparam("of_frame"), detections.c.ordinal == bindparam("place"))
        await connection.execute(update(detections).where(one).values(left_out=bindparam("reason")), rows)


async def recent(
    connection: AsyncConnection, camera_id: str, *, since: datetime | None, limit: int
) -> tuple[Sighting, ...]:
    """Return a camera's newest sightings in which something was detected, newest first."""
    something = exists().where(detections.c.frame_id == frames.c.id)
    query = select(frames).where(frames.c.camera_id == camera_id, something)
    if since is not None:
        query = query.where(frames.c.captured_at >= since)
    rows = await connection.execute(query.order_by(frames.c.captured_at.desc(), frames.c.id.desc()).limit(limit))
    found = [_frame(row) for row in rows]
    seen = await sightings(connection, found)
    return tuple(seen[frame.id] for frame in found)


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
        frame.id: Sighting(frame.id, frame.captured_at, frame.width, frame.height, tuple(seen[frame.id]), frame.view)
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
        view=row.view,
    )


def _detection(row: AnyRow) -> Detection:
    return Detection(
        Label(row.label),
        row.confidence,
        Box(row.x, row.y, row.width, row.height),
        row.appearance,
        LeftOut(row.left_out) if row.left_out else None,
    )
