# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who this server is: an id made once and kept with the data."""

import secrets

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.clock import Clock
from inference_server.storage.rows import lock
from inference_server.storage.tables import identity


async def server_id(connection: AsyncConnection, clock: Clock) -> str:
    """Return this server's id, 32 hexadecimal digits; the first call makes it."""
    await lock(connection, "identity")
    known = (await connection.execute(select(identity.c.server_id))).scalar()
    if known is not None:
        return str(known)
    made = secrets.token_hex(16)
    await connection.execute(identity.insert().values(server_id=made, created_at=clock.now()))
    return made
