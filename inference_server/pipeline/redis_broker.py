# SPDX-License-Identifier: AGPL-3.0-or-later
"""The broker on Redis Streams: the rows of the SQL broker are its outbox and its truth, the streams deliver them.

What is committed reaches a stream, sooner or later and perhaps twice; a message ends when its row is deleted together
with the results, which happens once. So Redis may be restarted, flushed or lost: the streams are filled anew from the
rows (C. Richardson, "Microservices Patterns", 2018, 3.3.7: transactional outbox, polling publisher).
"""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import override

from inference_server.core.clock import Clock
from inference_server.core.message import Message, StageName
from inference_server.core.signal import Signal
from inference_server.observability.health import HealthBoard, HealthState
from inference_server.pipeline.broker import BrokerDownError
from inference_server.pipeline.sql_broker import LEASE, RENEWALS_PER_LEASE, Held, SqlBroker
from inference_server.pipeline.streams import Entry, Streams
from inference_server.storage import messages
from inference_server.storage.database import STORAGE_FAILURES, Database

RELAY_SECONDS = 0.25
"""How often timers that are due and what other processes published are looked for."""
CHECK_SECONDS = 2.0
WINDOW = 256
"""Messages of a stage that are in its stream at most: what waits in the rows keeps its priority and its turn."""
MOST_UNREAD = 1
"""Messages for the analyst that wait in the stream: it is slow, and what is more serious overtakes only in the rows."""
_LOGGER = logging.getLogger(__name__)


class RedisBroker(SqlBroker):
    """Implements Broker with streams that deliver what the table of messages holds."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        streams: Streams,
        health: HealthBoard,
        worker: str,
        lease: timedelta = LEASE,
    ) -> None:
        """Take the database that holds the data as well, the streams, and a name that no other running worker has."""
        super().__init__(database, clock, worker=worker, lease=lease)
        self._streams = streams
        self._health = health
        self._taken: dict[StageName, deque[Message]] = defaultdict(deque)
        self._to_send = Signal()
        self._check_at = 0.0
        self._keep_at = 0.0

    @property
    @override
    def _owner(self) -> str | None:
        return None

    @override
    async def claim(self, stage: StageName, limit: int) -> list[Message]:
        """Take messages of the stage's stream."""
        taken = self._taken[stage]
        if len(taken) < limit:
            taken += self._hold(await self._streams.read(stage, limit - len(taken)))
        return [taken.popleft() for _ in range(min(limit, len(taken)))]

    @override
    async def wait(self, stage: StageName) -> None:
        """Return when a message was taken from the stream, or after a second."""
        if not self._taken[stage]:
            self._taken[stage] += self._hold(await self._streams.read(stage, 1, block=True))

    @override
    async def recover(self) -> int:
        """Take back what this worker has claimed. Return how many."""
        await self._check()
        self._taken.clear()
        recovered = 0
        for stage in StageName:
            while entries := await self._streams.own(stage, WINDOW):
                async with self._database.writing() as connection:
                    for entry in entries:
                        await messages.give_back(connection, entry.message.id, entry.message.attempts)
                await self._streams.settle(stage, [entry.id for entry in entries])
                recovered += len(entries)
        self._held.clear()
        return recovered

    @override
    async def close(self) -> None:
        """Give the connections to Redis up."""
        await self._streams.close()

    @override
    async def run(self) -> None:
        """Send what was committed, keep this worker's messages and take over abandoned ones, until cancelled."""
        while True:
            seen = self._to_send.count
            try:
                await self.deliver()
                self._health.report("broker", HealthState.OK, kind="redis", held=len(self._held))
            except STORAGE_FAILURES as error:
                self._check_at = 0.0
                self._report_down(error)
            await self._to_send.wait(seen, RELAY_SECONDS)

    async def deliver(self) -> None:
        """Do once what `run` does again and again: check the streams now and then, and send what is due."""
        now = asyncio.get_running_loop().time()
        if now >= self._check_at:
            await self._check()
            self._check_at = now + CHECK_SECONDS
        while await self._send():
            pass
        if now >= self._keep_at:
            self._keep_at = now + self._lease.total_seconds() / RENEWALS_PER_LEASE
            await self._keep()

    async def _check(self) -> None:
        """Make the streams at the first time, and fill them anew when Redis has lost them."""
        if await self._streams.are_intact() or not await self._streams.rebuild():
            return
        async with self._database.writing() as connection:
            sent = [await messages.mark_all_unsent(connection, stage) for stage in StageName]
        await self._streams.rebuilt()
        _LOGGER.info("Redis was empty or restarted: %d messages are sent again", sum(sent))

    async def _send(self) -> bool:
        """Send as many waiting messages as the streams may hold, and note that before others may send them.

        Return whether more may be waiting: a stream was filled, and may have been read meanwhile.
        """
        rooms = {stage: WINDOW - length for stage, length in (await self._streams.lengths()).items()}
        rooms[StageName.ANALYSE] = MOST_UNREAD - await self._streams.unread(StageName.ANALYSE)
        filled = False
        async with self._database.writing() as connection:
            for stage in (stage for stage, room in rooms.items() if room > 0):
                if rows := await messages.unsent(connection, stage, self._clock.now(), rooms[stage]):
                    await self._streams.add(stage, map(messages.message_of, rows))
                    await messages.mark_sent(connection, [row.id for row in rows], self._clock.now())
                filled |= len(rows) == rooms[stage]
        return filled

    async def _keep(self) -> None:
        by_stage: dict[StageName, list[str]] = defaultdict(list)
        for held in self._held.values():
            by_stage[held.message.work.stage].append(held.entry)
        for stage in StageName:
            if ids := by_stage[stage]:
                await self._streams.keep(stage, ids)
            await self._take_over(stage)

    async def _take_over(self, stage: StageName) -> None:
        entries = await self._streams.abandoned(stage, self._lease, WINDOW)
        if not entries:
            return
        async with self._database.reading() as connection:
            waiting = await messages.existing(connection, [entry.message.id for entry in entries])
        if done := [entry.id for entry in entries if entry.message.id not in waiting]:
            await self._streams.settle(stage, done)
        self._taken[stage] += self._hold([entry for entry in entries if entry.message.id in waiting])

    def _hold(self, entries: Sequence[Entry]) -> list[Message]:
        for entry in entries:
            self._held[entry.message.id] = Held(entry.message, entry.id)
        return [entry.message for entry in entries]

    @override
    async def _settle(self, ended: Sequence[Held]) -> None:
        await super()._settle(ended)
        by_stage: dict[StageName, list[str]] = defaultdict(list)
        for held in ended:
            by_stage[held.message.work.stage].append(held.entry)
        for stage, ids in by_stage.items():
            try:
                await self._streams.settle(stage, ids)
            except BrokerDownError as error:
                _LOGGER.debug("Left to those who find it abandoned: %s", error)

    @override
    def _wake(self, stages: Iterable[StageName]) -> None:
        self._to_send.notify()

    def _report_down(self, error: Exception) -> None:
        if not any(item.name == "broker" and item.state is HealthState.DOWN for item in self._health.components):
            _LOGGER.warning("Messages cannot be delivered: %s", error)
        self._health.report(
            "broker",
            HealthState.DOWN,
            last_error=str(error),
            still_works="Pictures are admitted and kept; they are judged as soon as Redis and the database answer.",
            remedy="Check that Redis runs, and that HSI_REDIS_URL holds its address and password. Nothing has to be "
            "restored in it.",
            kind="redis",
        )
