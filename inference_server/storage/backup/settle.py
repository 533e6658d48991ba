# SPDX-License-Identifier: AGPL-3.0-or-later
"""What changes in restored rows: what happened is as it was, but processes, leases and perhaps files are gone."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Table, delete, func, insert, literal, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.message import StageName
from inference_server.storage.backup import counters
from inference_server.storage.backup.archive import is_safe
from inference_server.storage.backup.errors import untrusted
from inference_server.storage.backup.manifest import Manifest
from inference_server.storage.rows import AnyRow
from inference_server.storage.tables import (
    announcement_sequence,
    announcements,
    dead_letters,
    frames,
    messages,
    metadata,
    workers,
)

GONE = "The picture was not in the backup that was restored. Discard this, or put the file back and replay it."
_LEASES = ("leased_until", "leased_by", "sent_at")
_ROWS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Settled:
    """Pictures and clips whose files are nowhere, and how many pictures of them still waited to be judged."""

    without_file: int
    buried: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the restored rows find: the time, and which media files there are."""

    now: datetime
    has_file: Callable[[str], bool]


async def settle(connection: AsyncConnection, manifest: Manifest, around: Surroundings) -> Settled:
    """Make restored rows fit to go on from, in the newest schema. Raises BackupError for a path that leads outside."""
    by = counters.leap(manifest.created_at, around.now)
    await _end_processes(connection)
    await _forget_announcements(connection, by)
    await counters.advance(connection, {table.name: table.last_id or 0 for table in manifest.tables}, by)
    without_file = 0
    for table in metadata.sorted_tables:
        if "media_path" in table.columns:
            without_file += await _mark_missing(connection, table, around)
    return Settled(without_file, await _bury(connection, around))


async def _end_processes(connection: AsyncConnection) -> None:
    await connection.execute(delete(workers))
    for table in metadata.sorted_tables:
        if held := {name: None for name in _LEASES if name in table.columns}:
            await connection.execute(update(table).values(held))


async def _forget_announcements(connection: AsyncConnection, by: int) -> None:
    """Leave a gap that no client's last number lies behind, so that each is told the state instead of a false story."""
    await connection.execute(delete(announcements))
    last = (await connection.execute(select(func.max(announcement_sequence.c.last)))).scalar() or 0
    await connection.execute(delete(announcement_sequence))
    await connection.execute(insert(announcement_sequence).values(id=1, last=counters.forward(last, by)))


async def _mark_missing(connection: AsyncConnection, table: Table, around: Surroundings) -> int:
    found = 0
    async for rows in _with_files(connection, table):
        for row in rows:
            if not is_safe(row.media_path):
                raise untrusted(f"{table.name} names the file {row.media_path!r:.100}")
        missing = [row.id for row in rows if not around.has_file(row.media_path)]
        found += len(missing)
        if missing:
            await connection.execute(update(table).where(table.c.id.in_(missing)).values(pruned_at=around.now))
    return found


async def _with_files(connection: AsyncConnection, table: Table) -> AsyncIterator[Sequence[AnyRow]]:
    """Yield the rows that should have a file, some at a time, by id."""
    last = 0
    query = select(table.c.id, table.c.media_path).where(table.c.pruned_at.is_(None)).order_by(table.c.id)
    while rows := (await connection.execute(query.where(table.c.id > last).limit(_ROWS_AT_ONCE))).all():
        yield rows
        last = rows[-1].id


async def _bury(connection: AsyncConnection, around: Surroundings) -> int:
    """Make dead letters of the work that cannot be done without the files that were just found missing."""
    lost = (
        select(messages.c.id)
        .join(frames, frames.c.id == messages.c.subject_id)
        .where(messages.c.stage == StageName.DETECT.value, frames.c.pruned_at == around.now)
    )
    dead = select(dead_letters.c.stage, dead_letters.c.subject_id)
    shared = [name for name in messages.columns.keys() if name in dead_letters.columns and name != "id"]  # noqa: SIM118
    letters = select(
        *(messages.c[name] for name in shared), literal(GONE), literal(around.now, dead_letters.c.died_at.type)
    ).where(messages.c.id.in_(lost), tuple_(messages.c.stage, messages.c.subject_id).not_in(dead))
    await connection.execute(insert(dead_letters).from_select([*shared, "reason", "died_at"], letters))
    return (await connection.execute(delete(messages).where(messages.c.id.in_(lost)))).rowcount
