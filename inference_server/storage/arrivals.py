# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries on arrivals: which files were found, and what became of each."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Self

from sqlalchemy import Insert, and_, delete, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.frame import Refusal, RefusalReason
from inference_server.storage.rows import Page, decode_moment, encode_moment, insert_in
from inference_server.storage.tables import arrivals

MAX_INTEGER = 2**63 - 1
LOOKUP_CHUNK = 500
"""Paths asked for at once; SQLite bounds the variables of a statement."""


def storable(path: str) -> str:
    """Return a path as text that any database and client can hold, whatever bytes its names have."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True)
class FileVersion:
    """A file at one moment: its path (see `tables.arrivals`), its size in bytes and its modification time."""

    path: str
    size: int
    modified_ns: int

    @classmethod
    def of(cls, path: str, status: os.stat_result) -> Self:
        """Describe a file; a time that no database holds (before 1677, after 2262) becomes the nearest that it does."""
        return cls(path, status.st_size, max(-MAX_INTEGER, min(status.st_mtime_ns, MAX_INTEGER)))


async def unseen(connection: AsyncConnection, files: Sequence[FileVersion]) -> list[FileVersion]:
    """Return those files that did not arrive yet, changed since or could not be read, in the order given."""
    seen: set[FileVersion] = set()
    for start in range(0, len(files), LOOKUP_CHUNK):
        paths = [file.path for file in files[start : start + LOOKUP_CHUNK]]
        rows = await connection.execute(
            select(arrivals.c.path, arrivals.c.size, arrivals.c.modified_ns).where(
                arrivals.c.path.in_(paths),
                arrivals.c.refusal_reason.is_distinct_from(RefusalReason.UNREADABLE.value),
            )
        )
        seen.update(FileVersion(row.path, row.size, row.modified_ns) for row in rows)
    return [file for file in files if file not in seen]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file and what became of it: a frame or clip, new or of the same content, or a refusal."""

    file: FileVersion
    arrived_at: datetime
    camera_id: str | None
    frame_id: int | None = None
    clip_id: int | None = None
    refusal: Refusal | None = None


async def record(connection: AsyncConnection, items: Sequence[Arrival]) -> None:
    """Record what became of files; a path that arrived before, with other content, is overwritten."""
    if not items:
        return
    await connection.execute(
        _insertion(connection.dialect.name),
        [
            {
                "path": item.file.path,
                "size": item.file.size,
                "modified_ns": item.file.modified_ns,
                "arrived_at": item.arrived_at,
                "camera_id": item.camera_id,
                "frame_id": item.frame_id,
                "clip_id": item.clip_id,
                "refusal_reason": item.refusal.reason.value if item.refusal else None,
                "refusal_detail": item.refusal.detail if item.refusal else None,
            }
            for item in items
        ],
    )


@lru_cache
def _insertion(dialect: str) -> Insert:
    query = insert_in(dialect, arrivals)
    changing = [column.name for column in arrivals.c if column.name not in {"id", "path"}]
    return query.on_conflict_do_update(index_elements=["path"], set_={name: query.excluded[name] for name in changing})


async def forget_refused(connection: AsyncConnection, reason: RefusalReason) -> int:
    """Forget the files that were refused for a reason that holds no more: the next scan finds them. Return how many."""
    result = await connection.execute(delete(arrivals).where(arrivals.c.refusal_reason == reason.value))
    return result.rowcount


async def refusals(connection: AsyncConnection, *, limit: int, cursor: str | None) -> Page[Refusal]:
    """Return refusals, newest first. Raises BadCursorError."""
    query = (
        select(arrivals)
        .where(arrivals.c.refusal_reason.is_not(None))
        .order_by(arrivals.c.arrived_at.desc(), arrivals.c.id.desc())
    )
    if cursor is not None:
        at, last_id = decode_moment(cursor)
        same = and_(arrivals.c.arrived_at == at, arrivals.c.id < last_id)
        query = query.where(or_(arrivals.c.arrived_at < at, same))
    rows = (await connection.execute(query.limit(limit + 1))).all()
    items = tuple(
        Refusal(row.path, row.camera_id, RefusalReason(row.refusal_reason), row.refusal_detail, row.arrived_at)
        for row in rows[:limit]
    )
    return Page(items, encode_moment(items[-1].refused_at, rows[limit - 1].id) if len(rows) > limit else None)


async def refused_since(connection: AsyncConnection, now: datetime, period: timedelta) -> int:
    """Return how many files were refused in the period before now."""
    query = (
        select(func.count())
        .select_from(arrivals)
        .where(arrivals.c.refusal_reason.is_not(None), arrivals.c.arrived_at > now - period)
    )
    return (await connection.execute(query)).scalar_one()
