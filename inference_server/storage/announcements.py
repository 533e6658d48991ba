# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries on announcements: what happened, in sequence, for clients that missed some of it."""

from collections.abc import Sequence

from pydantic import TypeAdapter
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.announcement import Announcement, SequencedAnnouncement
from inference_server.storage.tables import announcements

KEPT = 10_000
"""Announcements that stay for replay; a client that missed more gets a snapshot."""

_BODY = TypeAdapter(Announcement)


async def add(connection: AsyncConnection, items: Sequence[Announcement]) -> None:
    """Append announcements to the sequence."""
    if items:
        await connection.execute(
            announcements.insert(), [{"body": _BODY.dump_python(item, mode="json")} for item in items]
        )


async def last_sequence(connection: AsyncConnection) -> int:
    """Return the newest sequence number, 0 when nothing was ever announced."""
    return (await connection.execute(select(func.max(announcements.c.sequence)))).scalar() or 0


async def after(connection: AsyncConnection, sequence: int, *, limit: int) -> tuple[SequencedAnnouncement, ...] | None:
    """Return what came after a sequence number, oldest first; None when some of it is no longer kept."""
    oldest = (await connection.execute(select(func.min(announcements.c.sequence)))).scalar()
    if sequence > await last_sequence(connection) or (oldest is not None and sequence < oldest - 1):
        return None
    rows = await connection.execute(
        select(announcements).where(announcements.c.sequence > sequence).order_by(announcements.c.sequence).limit(limit)
    )
    return tuple(SequencedAnnouncement(row.sequence, _BODY.validate_python(row.body)) for row in rows)


async def prune(connection: AsyncConnection) -> int:
    """Delete what is too old to be kept. Return how many went."""
    newest = await last_sequence(connection)
    result = await connection.execute(delete(announcements).where(announcements.c.sequence <= newest - KEPT))
    return result.rowcount
