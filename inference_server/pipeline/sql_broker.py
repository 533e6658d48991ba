# SPDX-License-Identifier: AGPL-3.0-or-later
"""The broker in the database: messages live beside the data, so that one transaction holds both."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.clock import Clock
from inference_server.core.message import DeadLetter, Failure, Message, Priority, StageName, Work
from inference_server.core.signal import Signal
from inference_server.core.status import QueueStatus
from inference_server.storage import dead_letters, messages
from inference_server.storage.database import STORAGE_FAILURES, Database

_LOGGER = logging.getLogger(__name__)

LEASE = timedelta(seconds=30)
"""How long a claimed message is kept from others after its worker was last heard of."""
RENEWALS_PER_LEASE = 3
LONGEST_WAIT_SECONDS = 5.0
"""Waiters look again after this long, to notice a clock that was set and what the command line sent back."""
SHARED_WAIT_SECONDS = 0.25
"""The same where other processes publish, who cannot wake anybody here."""


@dataclass(frozen=True, slots=True)
class Held:
    """A message that this process works on. `entry` is its place in the stream that delivered it."""

    message: Message
    entry: str = ""


class SqlTransaction:
    """Implements Transaction; remembers what is to be told after the commit."""

    def __init__(self, connection: AsyncConnection, clock: Clock, owner: str | None) -> None:
        """Take whose messages may be completed; None trusts that a message which is there is the worker's."""
        self.connection = connection
        self.published: list[Work] = []
        self.wished: list[Work] = []
        self.completed: list[Message] = []
        self._clock = clock
        self._owner = owner

    async def publish(self, work: Sequence[Work]) -> None:
        """Add messages; work that waits already gets the new time instead of a second message."""
        await messages.add(self.connection, work, self._clock.now())
        self.published += work

    async def wish(self, work: Sequence[Work]) -> None:
        """Add messages; work that waits or is being done already stays as it is, and at most becomes more urgent."""
        await messages.add(self.connection, work, self._clock.now(), kept=True)
        self.wished += work

    async def complete(self, done: Sequence[Message]) -> None:
        """End messages whose work is done. Raises MessageTakenError if another worker has taken one over."""
        await messages.complete(self.connection, [message.id for message in done], self._owner)
        self.completed += done


class SqlBroker:
    """Implements Broker on the tables `messages` and `dead_letters`, for any number of workers on one database."""

    def __init__(self, database: Database, clock: Clock, *, worker: str = "server", lease: timedelta = LEASE) -> None:
        """Take the database that holds the data as well, and a name that no other running worker has."""
        self.worker = worker
        self._database = database
        self._clock = clock
        self._lease = lease
        self._arrived = {stage: Signal() for stage in StageName}
        self._held: dict[int, Held] = {}
        """What this process works on: only that is kept from others."""

    @property
    def _owner(self) -> str | None:
        """Whose name the rows of claimed messages carry."""
        return self.worker

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SqlTransaction]:
        """Give a transaction; after its commit, whoever waits for what it published is woken."""
        async with self._database.writing() as connection:
            transaction = SqlTransaction(connection, self._clock, self._owner)
            yield transaction
            ended = [*self._held_of(transaction.completed), *self._given_back(transaction.published)]
        await self._settle(ended)
        self._wake(work.stage for work in (*transaction.published, *transaction.wished))

    async def claim(self, stage: StageName, limit: int) -> list[Message]:
        """Take available messages, the most urgent first, the cameras in rotation. They come back after the lease."""
        async with self._database.writing() as connection:
            claimed = await messages.claim(
                connection, stage, limit=limit, worker=self.worker, now=self._clock.now(), lease=self._lease
            )
        self._held.update((message.id, Held(message)) for message in claimed)
        return claimed

    async def wait(self, stage: StageName) -> None:
        """Return when a message of the stage may be available."""
        seen = self._arrived[stage].count
        async with self._database.reading() as connection:
            soonest = await messages.soonest(connection, stage)
        timeout = SHARED_WAIT_SECONDS if self._database.shared else LONGEST_WAIT_SECONDS
        if soonest is not None:
            timeout = min(timeout, (soonest - self._clock.now()).total_seconds())
        if timeout > 0:
            await self._arrived[stage].wait(seen, timeout)

    async def release(self, back: Sequence[Message]) -> None:
        """Give messages back that were not worked on, as if they had not been delivered."""
        ended = self._held_of(back)
        async with self._database.writing() as connection:
            await messages.release(connection, back, self._owner)
        await self._settle(ended)
        self._wake(message.work.stage for message in back)

    async def retry(self, message: Message, error: str, delay: timedelta) -> None:
        """Give a message back, to be delivered again after a delay."""
        available_at = self._clock.now() + delay
        ended = self._held_of([message])
        async with self._database.writing() as connection:
            await messages.retry(connection, message, self._owner, error=error, available_at=available_at)
        await self._settle(ended)
        self._wake([message.work.stage])

    async def bury(self, message: Message, failure: Failure) -> None:
        """Make a message a dead letter."""
        async with self.transaction() as transaction:
            await dead_letters.add(transaction.connection, message, failure, self._clock.now())
            await transaction.complete([message])

    async def replay(self, letter_ids: Sequence[int]) -> int:
        """Send dead letters back to their stages. Return how many there were."""
        now = self._clock.now()
        async with self._database.writing() as connection:
            letters = await dead_letters.take(connection, letter_ids)
            by_replays: dict[int, list[DeadLetter]] = defaultdict(list)
            for letter in letters:
                by_replays[letter.replays].append(letter)
            for replays, group in by_replays.items():
                await messages.add(connection, [letter.work for letter in group], now, replays=replays + 1)
        self._wake(letter.work.stage for letter in letters)
        return len(letters)

    async def forget(self, taken: Sequence[Message]) -> None:
        """Note that messages turned out to be done, or another worker's; their rows say so already."""
        await self._settle(self._held_of(taken))

    def abandon(self, left: Sequence[Message]) -> None:
        """Note that nobody works on these messages any more: they come back when their lease is over."""
        for message in left:
            self._held.pop(message.id, None)

    async def recover(self) -> int:
        """Take back what this worker has claimed: at its start, after a crash, and at its end. Return how many."""
        async with self._database.writing() as connection:
            return await messages.recover(connection, self.worker)

    async def run(self) -> None:
        """Keep this worker's leases until cancelled."""
        while True:
            await asyncio.sleep(self._lease.total_seconds() / RENEWALS_PER_LEASE)
            try:
                await self.renew()
            except STORAGE_FAILURES as error:
                _LOGGER.warning("Leases could not be prolonged, so that others may do this work again: %s", error)

    async def renew(self) -> None:
        """Prolong the leases of what this process works on.

        A claim whose commit was not heard of is not among that, however the rows are marked: it comes back.
        """
        if self._held:
            async with self._database.writing() as connection:
                await messages.renew(connection, list(self._held), self.worker, self._clock.now() + self._lease)

    async def close(self) -> None:
        """Give its own connections up: it has none besides the database's."""

    async def frames_wait(self, connection: AsyncConnection, camera_id: str) -> bool:
        """Return whether live frames of a camera wait for a stage or are in one."""
        return await messages.frames_wait(connection, camera_id)

    async def status(self) -> QueueStatus:
        """Return how much waits and how much is dead. An open event's timer does not count as waiting work."""
        async with self._database.reading() as connection:
            depths = await messages.depths(connection)
            dead = await dead_letters.count(connection)
        return QueueStatus(sum(depths.values()), dead, live=depths.get(Priority.LIVE, 0))

    def _held_of(self, wanted: Sequence[Message]) -> list[Held]:
        """Return how messages are held now: after the commit that gives them back they may be claimed here anew."""
        return [self._held[message.id] for message in wanted if message.id in self._held]

    def _given_back(self, published: Sequence[Work]) -> list[Held]:
        """Return what is held here and was published again, which ends the claim."""
        again = {(work.stage, work.subject_id) for work in published}
        return [
            held for held in self._held.values() if (held.message.work.stage, held.message.work.subject_id) in again
        ]

    async def _settle(self, ended: Sequence[Held]) -> None:
        """Note that messages are no longer claimed; the rows say so already."""
        for held in ended:
            if self._held.get(held.message.id) is held:
                del self._held[held.message.id]

    def _wake(self, stages: Iterable[StageName]) -> None:
        for stage in set(stages):
            self._arrived[stage].notify()
