# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries on the messages between the stages. A row is the truth of its message until its work is done."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache

from sqlalchemy import ColumnElement, Insert, Select, Update, bindparam, case, delete, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.message import Message, StageName, Work
from inference_server.storage.rows import AnyRow, insert_in, storable
from inference_server.storage.tables import messages

HORIZON = timedelta(minutes=3)
"""No work waits longer; what is to wait for a later time was set by a clock that has been put back since.

So was what was enqueued later than now.
"""
TIMER_HORIZON = timedelta(hours=2)
"""The same for the timers of events."""
MAX_ERROR_LENGTH = 2000
_WITHOUT_TURNS = frozenset({StageName.ANALYSE})
_UNCOUNTED = (StageName.CLOSE.value, StageName.ANALYSE.value)
"""Stages whose messages hold no picture up: an open event's timer, and what waits to be explained."""
_HANDED_BACK = {"leased_until": None, "leased_by": None, "sent_at": None}


class MessageTakenError(Exception):
    """A message is no longer this worker's: another one did its work, or is about to."""


async def add(
    connection: AsyncConnection, work: Sequence[Work], now: datetime, *, replays: int = 0, kept: bool = False
) -> None:
    """Add messages; work that waits already gets the new time instead of a second message.

    `replays` is how often the work came back from the dead letters. With `kept`, work that waits or is being done stays
    as it is, and only becomes as urgent as it is now.
    """
    if not work:
        return
    rows = [
        {
            "stage": item.stage.value,
            "subject_id": item.subject_id,
            "camera_id": item.camera_id,
            "available_at": item.available_at,
            "enqueued_at": now,
            "attempts": 0,
            "priority": item.priority,
            "turn": turn,
            "replays": replays,
        }
        for item, turn in await _with_turns(connection, work)
    ]
    await connection.execute(_insertion(connection.dialect.name, kept=kept), rows)


@lru_cache
def _insertion(dialect: str, *, kept: bool) -> Insert:
    query = insert_in(dialect, messages)
    if kept:
        urgent = case(
            (messages.c.priority < query.excluded.priority, messages.c.priority), else_=query.excluded.priority
        )
        return query.on_conflict_do_update(index_elements=["stage", "subject_id"], set_={"priority": urgent})
    taken_over = {name: query.excluded[name] for name in ("available_at", "enqueued_at")}
    new = {**taken_over, "attempts": 0, **_HANDED_BACK}
    return query.on_conflict_do_update(index_elements=["stage", "subject_id"], set_=new)


async def _with_turns(connection: AsyncConnection, work: Sequence[Work]) -> list[tuple[Work, int]]:
    """Give each work its turn, by which cameras are served in rotation however many messages one of them has.

    A camera's next turn is one after its last one, but not before the turns that are being served now. Source:
    P. Goyal, H. Vin, H. Cheng, "Start-time fair queueing", SIGCOMM 1996, with every message of the same length.

    What the analyst is asked has no turns: its priority is the event's score, of equals the oldest is first.
    """
    flows = sorted({(item.stage, item.priority, item.camera_id) for item in work if item.stage not in _WITHOUT_TURNS})
    if not flows:
        return [(item, 0) for item in work]
    named = {
        f"{name}{number}": value
        for number, (stage, priority, camera) in enumerate(flows)
        for name, value in (("stage", stage.value), ("priority", priority), ("camera", camera))
    }
    found = (await connection.execute(_turns_of(len(flows)), named)).one()
    served, last = found[: len(flows)], found[len(flows) :]
    turns = {
        flow: max(now or 0, 0 if before is None else before + 1)
        for flow, now, before in zip(flows, served, last, strict=True)
    }
    given = []
    for item in work:
        flow = (item.stage, item.priority, item.camera_id)
        if flow not in turns:
            given.append((item, 0))
            continue
        given.append((item, turns[flow]))
        turns[flow] += 1
    return given


@lru_cache(maxsize=64)
def _turns_of(flows: int) -> Select[tuple[int | None, ...]]:
    """Return the query for the turns that so many flows are at: one column each for those served now, and for the last.

    Each is one look into an index. Made once: making it costs more than the database needs for it.
    """
    turn = messages.c.turn
    served = [_one(messages.c.priority == bindparam(f"priority{n}"), n, turn) for n in range(flows)]
    last = [_one(messages.c.camera_id == bindparam(f"camera{n}"), n, turn.desc()) for n in range(flows)]
    return select(*(query.scalar_subquery().label(f"turn{n}") for n, query in enumerate([*served, *last])))


def _one(flow: ColumnElement[bool], number: int, order: ColumnElement[int]) -> Select[tuple[int]]:
    """Return the query for the first turn of a flow: by order, as PostgreSQL may read all of them for a minimum."""
    query = select(messages.c.turn).where(messages.c.stage == bindparam(f"stage{number}"), flow)
    return query.order_by(order).limit(1)


async def claim(
    connection: AsyncConnection, stage: StageName, *, limit: int, worker: str, now: datetime, lease: timedelta
) -> list[Message]:
    """Take available messages, the most urgent first and the cameras in rotation; they are `worker`'s for a lease."""
    available = (
        select(messages.c.id)
        .where(messages.c.stage == stage.value, _is_due(stage, now), _is_free(now, lease))
        .order_by(messages.c.priority, messages.c.turn, messages.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    query = (
        update(messages)
        .where(messages.c.id.in_(available))
        .values(leased_until=now + lease, leased_by=worker, attempts=messages.c.attempts + 1)
        .returning(messages)
    )
    rows = (await connection.execute(query)).all()
    return [message_of(row) for row in sorted(rows, key=_rank)]


def _is_due(stage: StageName, now: datetime) -> ColumnElement[bool]:
    at, horizon = messages.c.available_at, TIMER_HORIZON if stage is StageName.CLOSE else HORIZON
    return or_(at <= now, at > now + horizon, messages.c.enqueued_at > now)


def _is_free(now: datetime, lease: timedelta) -> ColumnElement[bool]:
    """Nobody's, or of somebody whose lease is over, or was given by a clock that has been put back since."""
    until = messages.c.leased_until
    return or_(until.is_(None), until < now, until > now + lease)


def _rank(row: AnyRow) -> tuple[int, int, int]:
    return row.priority, row.turn, row.id


async def complete(connection: AsyncConnection, ids: Sequence[int], worker: str | None) -> None:
    """Remove messages whose work is done. Raises MessageTakenError if one is no longer the worker's (None: is gone)."""
    query = delete(messages).where(messages.c.id.in_(ids))
    if worker is not None:
        query = query.where(messages.c.leased_by == worker)
    if (await connection.execute(query)).rowcount != len(ids):
        raise MessageTakenError("another worker has taken this work over")


async def renew(connection: AsyncConnection, ids: Sequence[int], worker: str, until: datetime) -> None:
    """Prolong the leases of those messages that are still the worker's."""
    await connection.execute(_of_worker(ids, worker).values(leased_until=until))


async def release(connection: AsyncConnection, items: Sequence[Message], worker: str | None) -> None:
    """Give messages back that were not worked on, as if they had not been delivered."""
    for attempts in {item.attempts for item in items}:
        ids = [item.id for item in items if item.attempts == attempts]
        await connection.execute(_of_worker(ids, worker).values(attempts=attempts - 1, **_HANDED_BACK))


async def retry(
    connection: AsyncConnection, item: Message, worker: str | None, *, error: str, available_at: datetime
) -> None:
    """Give a message back, to be delivered again at a later time."""
    values = {"attempts": item.attempts, "available_at": available_at, "last_error": storable(error)[:MAX_ERROR_LENGTH]}
    await connection.execute(_of_worker([item.id], worker).values(**values, **_HANDED_BACK))


async def give_back(connection: AsyncConnection, message_id: int, attempts: int) -> None:
    """Note how often a message was delivered to a worker that died, and that no stream holds it."""
    query = update(messages).where(messages.c.id == message_id)
    await connection.execute(query.values(attempts=attempts, sent_at=None))


async def recover(connection: AsyncConnection, worker: str) -> int:
    """Take back what a worker of this name, or a server of an older version, had claimed. Return how many."""
    theirs = or_(messages.c.leased_by == worker, messages.c.leased_by.is_(None))
    query = update(messages).where(messages.c.leased_until.is_not(None), theirs)
    return (await connection.execute(query.values(leased_until=None, leased_by=None))).rowcount


async def soonest(connection: AsyncConnection, stage: StageName) -> datetime | None:
    """Return when the next message of a stage that nobody has claimed becomes available."""
    query = select(func.min(messages.c.available_at)).where(
        messages.c.stage == stage.value, messages.c.leased_until.is_(None)
    )
    found: datetime | None = (await connection.execute(query)).scalar()
    return found


async def frames_wait(connection: AsyncConnection, camera_id: str) -> bool:
    """Return whether live frames of a camera wait for a stage or are in one."""
    query = select(
        exists().where(messages.c.camera_id == camera_id, messages.c.stage.not_in(_UNCOUNTED), messages.c.priority <= 0)
    )
    return bool((await connection.execute(query)).scalar())


async def depths(connection: AsyncConnection) -> dict[int, int]:
    """Return how many messages wait or are worked on, by priority, without open events' timers and the analyst's."""
    query = (
        select(messages.c.priority, func.count())
        .where(messages.c.stage.not_in(_UNCOUNTED))
        .group_by(messages.c.priority)
    )
    return {row[0]: row[1] for row in await connection.execute(query)}


async def count(connection: AsyncConnection, stage: StageName) -> int:
    """Return how many messages of a stage wait or are worked on."""
    query = select(func.count()).select_from(messages).where(messages.c.stage == stage.value)
    return int((await connection.execute(query)).scalar_one())


async def unsent(connection: AsyncConnection, stage: StageName, now: datetime, limit: int) -> list[AnyRow]:
    """Return available messages that no stream holds yet, the most urgent first, locked until the transaction ends."""
    query = (
        select(messages)
        .where(messages.c.stage == stage.value, messages.c.sent_at.is_(None), _is_due(stage, now))
        .order_by(messages.c.priority, messages.c.turn, messages.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return list((await connection.execute(query)).all())


async def mark_sent(connection: AsyncConnection, ids: Iterable[int], at: datetime | None) -> None:
    """Note that a stream holds these messages; None takes the note back."""
    await connection.execute(update(messages).where(messages.c.id.in_(list(ids))).values(sent_at=at))


async def mark_all_unsent(connection: AsyncConnection, stage: StageName) -> int:
    """Note that the stream of a stage holds nothing. Return how many messages are to be sent.

    Those without a note are written too, so as to wait for whoever is just sending them: perhaps to the old stream.
    """
    query = update(messages).where(messages.c.stage == stage.value)
    return (await connection.execute(query.values(sent_at=None))).rowcount


async def existing(connection: AsyncConnection, ids: Sequence[int]) -> set[int]:
    """Return those of the messages whose work is not done."""
    return set((await connection.execute(select(messages.c.id).where(messages.c.id.in_(ids)))).scalars())


def message_of(row: AnyRow) -> Message:
    """Return the message of a row."""
    work = Work(StageName(row.stage), row.subject_id, row.camera_id, row.available_at, row.priority)
    return Message(row.id, work, row.attempts, row.enqueued_at)


def _of_worker(ids: Sequence[int], worker: str | None) -> Update:
    query = update(messages).where(messages.c.id.in_(ids))
    return query if worker is None else query.where(messages.c.leased_by == worker)
