# SPDX-License-Identifier: AGPL-3.0-or-later
"""Chores: what one process at a time does for all processes of a database."""

from datetime import datetime, timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.storage.rows import insert
from inference_server.storage.tables import chores

LEASE = timedelta(minutes=5)
"""How long a chore belongs to who took it, unless prolonged; what a dead process had taken is free again after it."""


async def take(connection: AsyncConnection, name: str, holder: str, now: datetime) -> bool:
    """Take a chore, or prolong it. Return False when it is somebody else's.

    A lease that reaches too far ahead was given by a clock that has been put back since.
    """
    await connection.execute(insert(connection, chores).values(name=name).on_conflict_do_nothing())
    until = chores.c.leased_until
    free = or_(until.is_(None), until < now, until > now + LEASE, chores.c.leased_by == holder)
    query = update(chores).where(chores.c.name == name, free).values(leased_by=holder, leased_until=now + LEASE)
    return (await connection.execute(query)).rowcount > 0


async def leave(connection: AsyncConnection, name: str, holder: str, done_at: datetime | None) -> None:
    """Give a chore back; `done_at` says when it was done to its end, None that it was not."""
    values = {"leased_by": None, "leased_until": None} | ({"done_at": done_at} if done_at else {})
    query = update(chores).where(chores.c.name == name, chores.c.leased_by == holder)
    await connection.execute(query.values(**values))


async def done_at(connection: AsyncConnection, name: str) -> datetime | None:
    """Return when a chore was last done to its end."""
    found: datetime | None = (await connection.execute(select(chores.c.done_at).where(chores.c.name == name))).scalar()
    return found
