# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries on the workers."""

from dataclasses import asdict
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.status import DetectorState
from inference_server.core.worker import Role, Worker
from inference_server.storage.rows import insert
from inference_server.storage.tables import workers


async def report(connection: AsyncConnection, worker: Worker) -> None:
    """Write how a worker is."""
    query = insert(connection, workers).values(**asdict(worker))
    await connection.execute(query.on_conflict_do_update(index_elements=["name"], set_=asdict(worker)))


async def find(connection: AsyncConnection) -> tuple[Worker, ...]:
    """Return every worker, by name."""
    rows = await connection.execute(select(workers).order_by(workers.c.name))
    return tuple(
        Worker(row.name, Role(row.role), row.started_at, row.seen_at, DetectorState(row.detector)) for row in rows
    )


async def remove(connection: AsyncConnection, name: str) -> None:
    """Take a worker that has stopped out of the list."""
    await connection.execute(delete(workers).where(workers.c.name == name))


async def remove_older(connection: AsyncConnection, seen_before: datetime) -> None:
    """Take out of the list what was not heard of for long."""
    await connection.execute(delete(workers).where(workers.c.seen_at < seen_before))
