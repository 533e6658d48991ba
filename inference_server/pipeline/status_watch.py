# SPDX-License-Identifier: AGPL-3.0-or-later
"""Looks after what no other part reports by itself: the queue, the database and what was refused."""

import asyncio
from datetime import timedelta

from inference_server.core.clock import Clock
from inference_server.core.context import HomeContext
from inference_server.core.signal import Signal
from inference_server.core.status import QueueStatus
from inference_server.ingest.backpressure import Backpressure
from inference_server.observability.health import HealthBoard, HealthState
from inference_server.pipeline.broker import Broker
from inference_server.storage import arrivals, dead_letters, home_context
from inference_server.storage.database import STORAGE_FAILURES, Database, DatabaseDownError, remedy_of

INTERVAL_SECONDS = 5.0
ANSWER_SECONDS = 15.0
"""A database that takes longer hangs, or the network to it does."""
QUEUE = "queue"
OPEN_AGAIN = 0.8
BUSY_FROM = 32
"""Live messages from which on imports of old pictures wait."""
DEAD_LETTERS_REMEDY = (
    "GET /api/dead_letters or `hsi dead-letters list` tells why each one failed; "
    "POST /api/dead_letters/replay or `hsi dead-letters replay --all` tries them again."
)


class StatusWatch:
    """Reports to the health board every few seconds."""

    def __init__(
        self,
        *,
        database: Database,
        broker: Broker,
        health: HealthBoard,
        changed: Signal,
        clock: Clock,
        backpressure: Backpressure,
        most_waiting: int,
    ) -> None:
        """Take the parts; `changed` is notified when the queue's status changed.

        With `most_waiting` messages the queue is full: nothing more is let in until a fifth of them are done.
        """
        self._database = database
        self._broker = broker
        self._health = health
        self._changed = changed
        self._clock = clock
        self._backpressure = backpressure
        self._most_waiting = most_waiting
        self._queue: QueueStatus | None = None

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._check_database()
            except TimeoutError:
                self._report_down(DatabaseDownError(f"the database gives no answer within {ANSWER_SECONDS:.0f} s"))
            except STORAGE_FAILURES as error:
                self._report_down(error)
            await asyncio.sleep(INTERVAL_SECONDS)

    def _report_down(self, error: Exception) -> None:
        self._health.report(
            "database",
            HealthState.DOWN,
            last_error=str(error),
            still_works="Pictures stay in the camera folders and are judged later.",
            remedy=remedy_of(error),
        )

    async def _check_database(self) -> None:
        queue = await self._broker.status()
        async with self._database.reading() as connection:
            refused = await arrivals.refused_since(connection, self._clock.now(), timedelta(days=1))
            discarded = await dead_letters.count_discarded(connection)
            told = await home_context.get(connection)
        self._health.report("database", HealthState.OK, where=self._database.name)
        self._health.report("admission", HealthState.OK, refused_in_the_last_day=refused)
        self._report_home(told)
        self._push_back(queue)
        full = self._backpressure.is_closed_by(QUEUE)
        self._health.report(
            QUEUE,
            HealthState.DEGRADED if full or queue.dead_letters else HealthState.OK,
            last_error="The queue is full." if full else None,
            still_works="New files wait in their folders, uploads are told to come later." if full else None,
            remedy=_remedy(full=full, dead=queue.dead_letters > 0),
            waiting=queue.depth,
            live=queue.live,
            dead_letters=queue.dead_letters,
            discarded=discarded,
        )
        if queue != self._queue:
            self._queue = queue
            self._changed.notify()

    def _report_home(self, told: HomeContext | None) -> None:
        if told is None:
            return
        stale = told.is_stale(self._clock.now())
        self._health.report(
            "home",
            HealthState.DEGRADED if stale else HealthState.OK,
            last_error=f"Home Assistant has not told the state of the home since {told.told_at}." if stale else None,
            still_works="Events are judged without knowing who is at home, the mode and the alarm." if stale else None,
            remedy="Check in Home Assistant that the integration is loaded and reaches this server." if stale else None,
            told_at=told.told_at.isoformat(),
        )

    def _push_back(self, queue: QueueStatus) -> None:
        self._backpressure.set_busy(queue.live > BUSY_FROM)
        if queue.live >= self._most_waiting:
            self._backpressure.close(QUEUE, f"{queue.live} pictures wait to be judged: the queue is full.")
        elif queue.live < self._most_waiting * OPEN_AGAIN:
            self._backpressure.open(QUEUE)


def _remedy(*, full: bool, dead: bool) -> str | None:
    if full:
        return "Add a worker or a faster detector, or let the cameras send less; it goes on by itself."
    return DEAD_LETTERS_REMEDY if dead else None
