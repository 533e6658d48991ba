# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries on dead letters: messages that failed for good, and their way back.

One that was discarded is no dead letter any more: only `get` and `count_discarded` know of it.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.message import DeadLetter, Failure, Message, StageName, Work
from inference_server.storage.database import Database
from inference_server.storage.messages import MAX_ERROR_LENGTH
from inference_server.storage.rows import AnyRow, Page, decode_moment, encode_moment, insert, storable
from inference_server.storage.tables import dead_letters, messages

MAX_TRACE_LENGTH = 8000
AT_ONCE = 500
"""Dead letters that one transaction takes at most, so that others need not wait for it."""
_NOT_DISCARDED = dead_letters.c.discarded_at.is_(None)


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which dead letters are meant; None means all."""

    stage: StageName | None = None
    camera_id: str | None = None
    service: str | None = None

    @property
    def condition(self) -> ColumnElement[bool]:
        """What a row has to meet."""
        columns = dead_letters.c
        wanted = ((columns.stage, self.stage), (columns.camera_id, self.camera_id), (columns.service, self.service))
        return and_(_NOT_DISCARDED, *(column == value for column, value in wanted if value is not None))


EVERY = LetterFilter()
"""The filter that leaves nothing out."""


async def add(connection: AsyncConnection, message: Message, failure: Failure, at: datetime) -> None:
    """Make a message a dead letter, which ends it."""
    work = message.work
    replays = select(messages.c.replays).where(messages.c.id == message.id)
    letter = {
        "camera_id": work.camera_id,
        "priority": work.priority,
        "reason": storable(failure.reason)[:MAX_ERROR_LENGTH],
        "service": failure.service,
        "trace": storable(failure.trace)[-MAX_TRACE_LENGTH:] if failure.trace else None,
        "attempts": message.attempts,
        "replays": (await connection.execute(replays)).scalar() or 0,
        "died_at": at,
        "discarded_at": None,
    }
    query = insert(connection, dead_letters).values(
        stage=work.stage.value, subject_id=work.subject_id, enqueued_at=message.enqueued_at, **letter
    )
    await connection.execute(query.on_conflict_do_update(index_elements=["stage", "subject_id"], set_=letter))


async def count(connection: AsyncConnection, wanted: LetterFilter = EVERY) -> int:
    """Return how many there are."""
    query = select(func.count()).select_from(dead_letters).where(wanted.condition)
    return (await connection.execute(query)).scalar_one()


async def count_discarded(connection: AsyncConnection) -> int:
    """Return how many were discarded."""
    query = select(func.count()).select_from(dead_letters).where(dead_letters.c.discarded_at.is_not(None))
    return (await connection.execute(query)).scalar_one()


async def find(
    connection: AsyncConnection, wanted: LetterFilter = EVERY, *, limit: int, cursor: str | None = None
) -> Page[DeadLetter]:
    """Return dead letters, newest first. Raises BadCursorError."""
    position = (dead_letters.c.died_at, dead_letters.c.id)
    query = select(dead_letters).where(wanted.condition).order_by(*(column.desc() for column in position))
    if cursor is not None:
        query = query.where(tuple_(*position) < decode_moment(cursor))
    rows = (await connection.execute(query.limit(limit + 1))).all()
    more = len(rows) > limit
    last = rows[limit - 1] if more else None
    return Page(tuple(map(_letter, rows[:limit])), encode_moment(last.died_at, last.id) if last else None)


async def get(connection: AsyncConnection, letter_id: int) -> DeadLetter | None:
    """Return a dead letter, discarded or not, or None."""
    row = (await connection.execute(select(dead_letters).where(dead_letters.c.id == letter_id))).one_or_none()
    return _letter(row) if row else None


async def oldest_of(connection: AsyncConnection, service: str, *, replays_below: int, limit: int) -> tuple[int, ...]:
    """Return the ids of the oldest dead letters of a model service, those that were replayed too often left out."""
    query = (
        select(dead_letters.c.id)
        .where(LetterFilter(service=service).condition, dead_letters.c.replays < replays_below)
        .order_by(dead_letters.c.id)
        .limit(limit)
    )
    return tuple((await connection.execute(query)).scalars())


async def in_portions(database: Database, wanted: LetterFilter) -> AsyncIterator[tuple[int, ...]]:
    """Yield the ids of what there is now, oldest first, in portions; what dies meanwhile is left out."""
    newest = select(func.max(dead_letters.c.id)).where(wanted.condition)
    async with database.reading() as connection:
        last = (await connection.execute(newest)).scalar() or 0
    done = 0
    while done < last:
        query = select(dead_letters.c.id).where(wanted.condition, dead_letters.c.id > done, dead_letters.c.id <= last)
        async with database.reading() as connection:
            ids = tuple((await connection.execute(query.order_by(dead_letters.c.id).limit(AT_ONCE))).scalars())
        if not ids:
            return
        yield ids
        done = ids[-1]


async def take(connection: AsyncConnection, ids: Sequence[int]) -> tuple[DeadLetter, ...]:
    """Remove dead letters and return those that were there: for whoever sends them back."""
    query = delete(dead_letters).where(dead_letters.c.id.in_(await _locked(connection, ids))).returning(dead_letters)
    rows = await connection.execute(query)
    return tuple(sorted(map(_letter, rows), key=lambda letter: letter.id))


async def discard(connection: AsyncConnection, ids: Sequence[int], at: datetime) -> int:
    """Give dead letters up for ever. Return how many there were."""
    found = await _locked(connection, ids)
    await connection.execute(update(dead_letters).where(dead_letters.c.id.in_(found)).values(discarded_at=at))
    return len(found)


async def _locked(connection: AsyncConnection, ids: Sequence[int]) -> Sequence[int]:
    """Return those of the ids that are dead letters, locked in one order to the end of the transaction."""
    query = select(dead_letters.c.id).where(dead_letters.c.id.in_(ids), _NOT_DISCARDED).order_by(dead_letters.c.id)
    return (await connection.execute(query.with_for_update())).scalars().all()


def _letter(row: AnyRow) -> DeadLetter:
    return DeadLetter(
        id=row.id,
        work=Work(StageName(row.stage), row.subject_id, row.camera_id, row.died_at, row.priority),
        failure=Failure(row.reason, row.service, row.trace),
        attempts=row.attempts,
        enqueued_at=row.enqueued_at,
        died_at=row.died_at,
        replays=row.replays,
        discarded_at=row.discarded_at,
    )
