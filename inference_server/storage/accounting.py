# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries on how much is kept, by kind and by camera."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from sqlalchemy import and_, bindparam, exists, func, not_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.assessment import LevelThresholds, RiskLevel, scores_of
from inference_server.core.cleanup import Amount, CameraStorage, Stored
from inference_server.storage import retention
from inference_server.storage.rows import AnyRow
from inference_server.storage.tables import cameras, clips, detections, events, frames

MEASURED_AT_ONCE = 500


async def unmeasured(connection: AsyncConnection, *, after: int) -> Mapping[int, str]:
    """Return the media paths of the next frames above an id whose size older versions did not note, by frame id."""
    query = select(frames.c.id, frames.c.media_path).where(
        frames.c.id > after, frames.c.size_bytes == 0, frames.c.pruned_at.is_(None)
    )
    rows = await connection.execute(query.order_by(frames.c.id).limit(MEASURED_AT_ONCE))
    return {row.id: row.media_path for row in rows}


async def note_sizes(connection: AsyncConnection, sizes: Mapping[int, int]) -> None:
    """Note the bytes of frames, by id."""
    query = update(frames).where(frames.c.id == bindparam("of")).values(size_bytes=bindparam("bytes"))
    await connection.execute(query, [{"of": frame_id, "bytes": size} for frame_id, size in sizes.items()])


async def stored(connection: AsyncConnection, thresholds: LevelThresholds) -> Stored:
    """Return what is kept."""
    listed = events.c.deleted_at.is_(None)
    levels: dict[RiskLevel, Amount] = {}
    for level in RiskLevel:
        scores = scores_of(level, thresholds)
        of_level = and_(listed, events.c.score.between(scores.start, scores.stop - 1))
        levels[level] = await retention.events_amount(connection, of_level)
    of_event = exists().where(detections.c.frame_id == frames.c.id, detections.c.event_id.is_not(None))
    oldest: datetime | None = (
        await connection.execute(select(events.c.started_at).where(listed).order_by(events.c.started_at).limit(1))
    ).scalar()
    return Stored(
        events=levels,
        frames=await retention.frames_amount(connection, and_(not_(of_event), frames.c.pruned_at.is_(None))),
        clips=await retention.clips_amount(connection, clips.c.pruned_at.is_(None)),
        trash=await retention.events_amount(connection, events.c.deleted_at.is_not(None)),
        cameras=await _of_cameras(connection),
        oldest_event_at=oldest,
    )


async def _of_cameras(connection: AsyncConnection) -> tuple[CameraStorage, ...]:
    of_frames = select(frames.c.camera_id, func.count(), func.sum(frames.c.size_bytes)).where(
        frames.c.pruned_at.is_(None)
    )
    of_clips = select(clips.c.camera_id, func.count(), func.sum(clips.c.size_bytes)).where(clips.c.pruned_at.is_(None))
    of_events = select(events.c.camera_id, func.count()).where(events.c.deleted_at.is_(None))
    pictures = _amounts((await connection.execute(of_frames.group_by(frames.c.camera_id))).all())
    videos = _amounts((await connection.execute(of_clips.group_by(clips.c.camera_id))).all())
    happened = {row[0]: row[1] for row in await connection.execute(of_events.group_by(events.c.camera_id))}
    ids = (await connection.execute(select(cameras.c.id).order_by(cameras.c.id))).scalars()
    return tuple(
        CameraStorage(id_, happened.get(id_, 0), pictures.get(id_, Amount()), videos.get(id_, Amount())) for id_ in ids
    )


def _amounts(rows: Iterable[AnyRow]) -> dict[str, Amount]:
    return {camera_id: Amount(count, int(size)) for camera_id, count, size in rows}


async def database_bytes(connection: AsyncConnection, file: Path | None) -> int:
    """Return the bytes of the database: of SQLite's file with what lies beside it, or of PostgreSQL's own count."""
    if file is None:
        size = select(func.pg_database_size(func.current_database()))
        return int((await connection.execute(size)).scalar_one())
    present = (path for path in file.parent.glob(f"{file.name}*") if path.is_file())
    return sum(path.stat().st_size for path in present)
