# SPDX-License-Identifier: AGPL-3.0-or-later
"""The broker in the database: messages live beside the data, so that one transaction holds both."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import delete, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.clock import Clock
from inference_server.core.signal import Signal
from inference_server.core.status import QueueStatus
from inference_server.pipeline.broker import Message, StageName, Work
from inference_server.storage.database import Database
from inference_server.storage.rows import insert
from inference_server.storage.tables import dead_letters, messages

LEASE = timedelta(minutes=5)
"""How long a claimed message is kept from others; far above what any stage needs."""
HORIZON = timedelta(hours=2)
"""No timer is set further ahead; what waits for a later time was set by a clock that has been put back since."""
LONGEST_WAIT_SECONDS = 30.0
"""Waiters look again after this long, also to notice a clock that was set."""
MAX_ERROR_LENGTH = 2000


class SqlBroker:
    """Implements Broker on the tables `messages` and `dead_letters`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Take the database that holds the data as well."""
        self._database = database
        self._clock = clock
        self._arrived = {stage: Signal() for stage in StageName}
        self._published: set[StageName] = set()

    async def publish(self, connection: AsyncConnection, work: Sequence[Work]) -> None:
        """Add messages; work that waits already gets the new time instead of a second message."""
        if not work:
            return
        query = insert(connection, messages)
        query = query.on_conflict_do_update(
            index_elements=["stage", "subject_id"],
            set_={"available_at": query.excluded.available_at, "attempts": 0, "leased_until": None},
        )
        now = self._clock.now()
        self._published.update(item.stage for item in work)
        await connection.execute(
            query,
            [
                {
                    "stage": item.stage.value,
                    "subject_id": item.subject_id,
                    "camera_id": item.camera_id,
                    "available_at": item.available_at,
                    "enqueued_at": now,
                    "attempts": 0,
                }
                for item in work
            ],
        )

    async def complete(self, connection: AsyncConnection, messages_done: Sequence[Message]) -> None:
        """Remove messages whose work is done."""
        ids = [message.id for message in messages_done]
        await connection.execute(delete(messages).where(messages.c.id.in_(ids)))

    async def claim(self, stage: StageName, limit: int) -> list[Message]:
        """Take available messages, oldest first; they come back if they are not completed within the lease."""
        now = self._clock.now()
        available = (
            select(messages.c.id)
            .where(
                messages.c.stage == stage.value,
                or_(messages.c.available_at <= now, messages.c.available_at > now + HORIZON),
                or_(messages.c.leased_until.is_(None), messages.c.leased_until < now),
            )
            .order_by(messages.c.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        query = (
            update(messages)
            .where(messages.c.id.in_(available))
            .values(leased_until=now + LEASE, attempts=messages.c.attempts + 1)
            .returning(messages)
        )
        async with self._database.writing() as connection:
            rows = (await connection.execute(query)).all()
        claimed = [
            Message(
                row.id,
                Work(StageName(row.stage), row.subject_id, row.camera_id, row.available_at),
                row.attempts,
                row.enqueued_at,
            )
            for row in rows
        ]
        return sorted(claimed, key=lambda message: message.id)

    async def release(self, messages_back: Sequence[Message]) -> None:
        """Give messages back that were not worked on, as if they had not been delivered."""
        ids = [message.id for message in messages_back]
        async with self._database.writing() as connection:
            await connection.execute(
                update(messages)
                .where(messages.c.id.in_(ids))
                .values(leased_until=None, attempts=messages.c.attempts - 1)
            )
        for stage in {message.work.stage for message in messages_back}:
            self._arrived[stage].notify()

    async def retry(self, message: Message, error: str, delay: timedelta) -> None:
        """Give a message back, to be delivered again after a delay."""
        async with self._database.writing() as connection:
            await connection.execute(
                update(messages)
                .where(messages.c.id == message.id)
                .values(leased_until=None, available_at=self._clock.now() + delay, last_error=error[:MAX_ERROR_LENGTH])
            )
        self._arrived[message.work.stage].notify()

    async def bury(self, message: Message, reason: str) -> None:
        """Make a message a dead letter."""
        async with self._database.writing() as connection:
            await self.complete(connection, [message])
            letter = {
                "reason": reason[:MAX_ERROR_LENGTH],
                "attempts": message.attempts,
                "died_at": self._clock.now(),
            }
            await connection.execute(
                insert(connection, dead_letters)
                .values(
                    stage=message.work.stage.value,
                    subject_id=message.work.subject_id,
                    camera_id=message.work.camera_id,
                    enqueued_at=message.enqueued_at,
                    **letter,
                )
                .on_conflict_do_update(index_elements=["stage", "subject_id"], set_=letter)
            )

    async def recover(self) -> int:
        """Take back what a crashed process had claimed. Return how many messages that were.

        Right where one process owns the database, which the lock on the data folder sees to.
        """
        async with self._database.writing() as connection:
            result = await connection.execute(
                update(messages).where(messages.c.leased_until.is_not(None)).values(leased_until=None)
            )
        return result.rowcount

    async def wait(self, stage: StageName) -> None:
        """Return when a message of the stage may be available."""
        seen = self._arrived[stage].count
        query = select(func.min(messages.c.available_at)).where(
            messages.c.stage == stage.value, messages.c.leased_until.is_(None)
        )
        async with self._database.reading() as connection:
            soonest = (await connection.execute(query)).scalar()
        timeout = LONGEST_WAIT_SECONDS
        if soonest is not None:
            timeout = min(timeout, (soonest - self._clock.now()).total_seconds())
        if timeout > 0:
            await self._arrived[stage].wait(seen, timeout)

    def notify(self) -> None:
        """Wake whoever waits for what was published: call it after the commit of that transaction."""
        published, self._published = self._published, set()
        for stage in published:
            self._arrived[stage].notify()

    async def frames_wait(self, connection: AsyncConnection, camera_id: str) -> bool:
        """Return whether frames of a camera wait for a stage or are in one."""
        query = select(exists().where(messages.c.camera_id == camera_id, messages.c.stage != StageName.CLOSE.value))
        return bool((await connection.execute(query)).scalar())

    async def status(self) -> QueueStatus:
        """Return how much waits and how much is dead. An open event's timer does not count as waiting work."""
        waiting = select(func.count()).select_from(messages).where(messages.c.stage != StageName.CLOSE.value)
        async with self._database.reading() as connection:
            depth = (await connection.execute(waiting)).scalar_one()
            dead = (await connection.execute(select(func.count()).select_from(dead_letters))).scalar_one()
        return QueueStatus(depth, dead)
