# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries on announcements: what happened, in sequence, for clients that missed some of it."""

from collections.abc import Sequence

from pydantic import TypeAdapter
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.announcement import Announcement, SequencedAnnouncement
from inference_server.storage.tables import announcement_sequence, announcements

KEPT = 10_000
"""Announcements that stay for replay; a client that missed more gets a snapshot."""

_BODY = TypeAdapter(Announcement)


async def add(connection: AsyncConnection, items: Sequence[Announcement]) -> None:
    """Append announcements to the sequence: the last thing a transaction does, as other processes wait for its end.

    The counter's row lock lets transactions that announce end in the order of their numbers, so that a reader who saw
    a number has seen all before it.
    """
    if not items:
        return
    counted = update(announcement_sequence).values(last=announcement_sequence.c.last + len(items))
    last = (await connection.execute(counted.returning(announcement_sequence.c.last))).scalar_one()
    await connection.execute(
        announcements.insert(),
        [
            {"sequence": sequence, "body": _BODY.dump_python(item, mode="json")}
            for sequence, item in enumerate(items, last - len(items) + 1)
        ],
    )


async def last_sequence(connection: AsyncConnection) -> int:
    """Return the newest sequence number, 0 when nothing was ever announced."""
    return int((await connection.execute(select(announcement_sequence.c.last))).scalar_one())


async def after(connection: AsyncConnection, sequence: int, *, limit: int) -> tuple[SequencedAnnouncement, ...] | None:
    """Return what came after a sequence number, oldest first; None when some of it is no longer kept."""
    oldest, last = await _oldest(connection), await last_sequence(connection)
    if sequence > last or sequence < (last if oldest is None else oldest - 1):
        return None
    rows = await connection.execute(
        select(announcements).where(announcements.c.sequence > sequence).order_by(announcements.c.sequence).limit(limit)
    )
    return tuple(SequencedAnnouncement(row.sequence, _BODY.validate_python(row.body)) for row in rows)


async def _oldest(connection: AsyncConnection) -> int | None:
    oldest: int | None = (await connection.execute(select(func.min(announcements.c.sequence)))).scalar()
    return oldest


async def prune(connection: AsyncConnection) -> int:
    """Delete what is too old to be kept. Return how many went."""
    newest = await last_sequence(connection)
    result = await connection.execute(delete(announcements).where(announcements.c.sequence <= newest - KEPT))
    return result.rowcount
