# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries on watch roots: when each was seen first, and whether what lay in it then is dealt with."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.storage.arrivals import storable
from inference_server.storage.rows import insert
from inference_server.storage.tables import watch_roots

FORMER_ROOT = ""
"""The path of the root that was watched before roots were remembered."""


@dataclass(frozen=True, slots=True)
class KnownRoot:
    """A root that was seen before, or is now."""

    first_seen_at: datetime
    finished: bool


async def see(connection: AsyncConnection, path: str, now: datetime, *, main: bool) -> KnownRoot:
    """Return what is known of a root; one that was never seen is seen from now on."""
    path = storable(path)
    if main and await _find(connection, path) is None:
        await connection.execute(update(watch_roots).where(watch_roots.c.path == FORMER_ROOT).values(path=path))
    known = insert(connection, watch_roots).values(path=path, first_seen_at=now)
    await connection.execute(known.on_conflict_do_nothing())
    found = await _find(connection, path)
    return found or KnownRoot(now, finished=False)


async def finish(connection: AsyncConnection, path: str, now: datetime) -> None:
    """Note that all that lay in a root when it was first seen is dealt with."""
    await connection.execute(update(watch_roots).where(watch_roots.c.path == storable(path)).values(finished_at=now))


async def _find(connection: AsyncConnection, path: str) -> KnownRoot | None:
    row = (await connection.execute(select(watch_roots).where(watch_roots.c.path == path))).one_or_none()
    return None if row is None else KnownRoot(row.first_seen_at, row.finished_at is not None)
