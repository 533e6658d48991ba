# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries on dead letters: messages that failed for good, and their way back."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.message import DeadLetter, Failure, Message, StageName, Work
from inference_server.storage.messages import MAX_ERROR_LENGTH
from inference_server.storage.rows import AnyRow, Page, decode_cursor, encode_cursor, insert
from inference_server.storage.tables import dead_letters, messages

MAX_TRACE_LENGTH = 8000


async def add(connection: AsyncConnection, message: Message, failure: Failure, at: datetime) -> None:
    """Make a message a dead letter, which ends it."""
    work = message.work
    replays = select(messages.c.replays).where(messages.c.id == message.id)
    letter = {
        "camera_id": work.camera_id,
        "priority": work.priority,
        "reason": failure.reason[:MAX_ERROR_LENGTH],
        "service": failure.service,
        "trace": failure.trace[-MAX_TRACE_LENGTH:] if failure.trace else None,
        "attempts": message.attempts,
        "replays": (await connection.execute(replays)).scalar() or 0,
        "died_at": at,
    }
    query = insert(connection, dead_letters).values(
        stage=work.stage.value, subject_id=work.subject_id, enqueued_at=message.enqueued_at, **letter
    )
    await connection.execute(query.on_conflict_do_update(index_elements=["stage", "subject_id"], set_=letter))


async def count(connection: AsyncConnection) -> int:
    """Return how many there are."""
    return (await connection.execute(select(func.count()).select_from(dead_letters))).scalar_one()


async def find(connection: AsyncConnection, *, limit: int, cursor: str | None) -> Page[DeadLetter]:
    """Return dead letters, newest first. Raises BadCursorError."""
    query = select(dead_letters).order_by(dead_letters.c.id.desc())
    if cursor is not None:
        query = query.where(dead_letters.c.id < decode_cursor(cursor))
    rows = (await connection.execute(query.limit(limit + 1))).all()
    return Page(tuple(map(_letter, rows[:limit])), encode_cursor(rows[limit - 1].id) if len(rows) > limit else None)


async def get(connection: AsyncConnection, letter_id: int) -> DeadLetter | None:
    """Return a dead letter, or None."""
    row = (await connection.execute(select(dead_letters).where(dead_letters.c.id == letter_id))).one_or_none()
    return _letter(row) if row else None


async def oldest_of(connection: AsyncConnection, service: str, *, replays_below: int, limit: int) -> tuple[int, ...]:
    """Return the ids of the oldest dead letters of a model service, those that were replayed too often left out."""
    query = (
        select(dead_letters.c.id)
        .where(dead_letters.c.service == service, dead_letters.c.replays < replays_below)
        .order_by(dead_letters.c.id)
        .limit(limit)
    )
    return tuple((await connection.execute(query)).scalars())


async def all_ids(connection: AsyncConnection, *, limit: int) -> tuple[int, ...]:
    """Return the ids of the oldest dead letters."""
    return tuple(
        (await connection.execute(select(dead_letters.c.id).order_by(dead_letters.c.id).limit(limit))).scalars()
    )


async def take(connection: AsyncConnection, ids: Sequence[int]) -> tuple[DeadLetter, ...]:
    """Remove dead letters and return those that were there: for whoever discards them or sends them back."""
    rows = await connection.execute(delete(dead_letters).where(dead_letters.c.id.in_(ids)).returning(dead_letters))
    return tuple(sorted(map(_letter, rows), key=lambda letter: letter.id))


def _letter(row: AnyRow) -> DeadLetter:
    return DeadLetter(
        id=row.id,
        work=Work(StageName(row.stage), row.subject_id, row.camera_id, row.died_at, row.priority),
        failure=Failure(row.reason, row.service, row.trace),
        attempts=row.attempts,
        enqueued_at=row.enqueued_at,
        died_at=row.died_at,
        replays=row.replays,
    )
