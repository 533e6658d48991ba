# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries on clips."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache

from sqlalchemy import Select, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.clip import Clip, EventClip
from inference_server.storage.rows import AnyRow, insert
from inference_server.storage.tables import clips, detections, frames


@dataclass(frozen=True, slots=True)
class NewClip:
    """A clip that has no id yet. Sizes are in pixels and bytes; one that is pruned at once was not kept at all."""

    camera_id: str
    content_hash: str
    media_path: str
    captured_at: datetime
    arrived_at: datetime
    duration_seconds: float
    width: int
    height: int
    size_bytes: int
    pruned_at: datetime | None = None


async def add(connection: AsyncConnection, new: NewClip) -> int | None:
    """Add a clip and return its id, or None when the camera already has one of this content."""
    query = insert(connection, clips).on_conflict_do_nothing(index_elements=["camera_id", "content_hash"])
    added: int | None = (await connection.execute(query.values(**asdict(new)).returning(clips.c.id))).scalar()
    return added


async def find_id(connection: AsyncConnection, camera_id: str, content_hash: str) -> int | None:
    """Return the id of the camera's clip with this content, if there is one."""
    query = select(clips.c.id).where(clips.c.camera_id == camera_id, clips.c.content_hash == content_hash)
    found: int | None = (await connection.execute(query)).scalar()
    return found


async def get(connection: AsyncConnection, clip_id: int) -> Clip | None:
    """Return a clip, or None."""
    row = (await connection.execute(select(clips).where(clips.c.id == clip_id))).one_or_none()
    return _clip(row) if row else None


async def of_events(connection: AsyncConnection, event_ids: Sequence[int]) -> Mapping[int, tuple[EventClip, ...]]:
    """Return the clips that show these events and can be played, by event id, in the order of their frames."""
    found: dict[int, list[EventClip]] = {}
    for row in await connection.execute(_shown(), {"events": list(event_ids)}):
        found.setdefault(row.event_id, []).append(EventClip(row.clip_id, row.start))
    return {event_id: tuple(shown) for event_id, shown in found.items()}


@lru_cache
def _shown() -> Select[tuple[int, int, float]]:
    """Return the query for the clips of some events. Made once: making it costs more than the database needs for it."""
    start = func.min(frames.c.clip_offset_seconds)
    return (
        select(detections.c.event_id, frames.c.clip_id, start.label("start"))
        .join(frames, frames.c.id == detections.c.frame_id)
        .join(clips, clips.c.id == frames.c.clip_id)
        .where(detections.c.event_id.in_(bindparam("events", expanding=True)), clips.c.pruned_at.is_(None))
        .group_by(detections.c.event_id, frames.c.clip_id)
        .order_by(detections.c.event_id, func.min(frames.c.captured_at), frames.c.clip_id)
    )


def _clip(row: AnyRow) -> Clip:
    return Clip(
        id=row.id,
        camera_id=row.camera_id,
        content_hash=row.content_hash,
        media_path=row.media_path,
        captured_at=row.captured_at,
        arrived_at=row.arrived_at,
        duration_seconds=row.duration_seconds,
        width=row.width,
        height=row.height,
        size_bytes=row.size_bytes,
        pruned_at=row.pruned_at,
    )
