# SPDX-License-Identifier: AGPL-3.0-or-later
"""Automatic replay: when a model service works again, what failed because of it is tried again."""

import asyncio
import logging

from inference_server.pipeline.breaker import CircuitBreaker
from inference_server.pipeline.broker import Broker
from inference_server.storage import dead_letters
from inference_server.storage.database import STORAGE_FAILURES, Database

AT_ONCE = 16
PAUSE_SECONDS = 5.0
"""Between two groups, so that a service which has just come back is not overrun."""
MOST_REPLAYS = 3
"""What failed after so many replays may be what brings the service down: it waits for somebody's decision."""
_LOGGER = logging.getLogger(__name__)


class AutomaticReplay:
    """Sends a service's dead letters back to their stages, oldest first, at the start and after each recovery."""

    def __init__(self, database: Database, broker: Broker, breaker: CircuitBreaker) -> None:
        """Take the breaker of the service."""
        self._database = database
        self._broker = broker
        self._breaker = breaker

    async def run(self) -> None:
        """Replay now and after each recovery, until cancelled."""
        while True:
            seen = self._breaker.recovered.count
            try:
                while self._breaker.is_closed and await self._replay_some():  # noqa: ASYNC110 - the pause is the point
                    await asyncio.sleep(PAUSE_SECONDS)
            except STORAGE_FAILURES as error:
                _LOGGER.warning("Dead letters wait for the database: %s", error)
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                await self._breaker.recovered.wait(seen)

    async def _replay_some(self) -> int:
        async with self._database.reading() as connection:
            ids = await dead_letters.oldest_of(
                connection, self._breaker.service, replays_below=MOST_REPLAYS, limit=AT_ONCE
            )
        if not ids:
            return 0
        replayed = await self._broker.replay(ids)
        _LOGGER.info("The %s works: %d dead letters are tried again", self._breaker.service, replayed)
        return replayed
