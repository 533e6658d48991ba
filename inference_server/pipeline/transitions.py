# SPDX-License-Identifier: AGPL-3.0-or-later
"""Learning which camera follows which: each hour is counted once, a little after it."""

import asyncio
import logging
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.baseline import HOUR, hour_of
from inference_server.core.clock import Clock
from inference_server.risk.transitions import FURTHER_OFF, count, merged
from inference_server.storage import chores, surroundings, transitions
from inference_server.storage.database import STORAGE_FAILURES, Database

_LOGGER = logging.getLogger(__name__)

CHORE = "transitions"
SETTLED_AFTER = timedelta(minutes=10)
"""Pictures that come late, and events that run over the time, are in by then."""
MADE_UP = 24
"""Hours that are counted after the server was away."""
LOOK_SECONDS = 60.0


class TransitionLearning:
    """Counts what comes where after what."""

    def __init__(self, database: Database, clock: Clock, *, within: timedelta) -> None:
        """Take how long somebody takes from one camera to the next."""
        self._database = database
        self._clock = clock
        self._within = within
        self._margin = (FURTHER_OFF + 1) * within

    async def run(self) -> None:
        """Look every minute until cancelled."""
        while True:
            try:
                await self.look()
            except STORAGE_FAILURES as error:
                _LOGGER.warning("Which camera follows which is learnt later: %s", error)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Count the hours that have settled since the last one, each in a transaction that notes that it was."""
        now = self._clock.now()
        last = hour_of(now - self._margin - SETTLED_AFTER)
        async with self._database.reading() as connection:
            done = await chores.done_at(connection, CHORE)
        if done is None:
            done = last - HOUR
        begin = max(min(done, last), last - MADE_UP * HOUR)
        while begin < last:
            async with self._database.writing() as connection:
                await self._count(connection, begin, now)
            begin += HOUR

    async def _count(self, connection: AsyncConnection, begin: datetime, now: datetime) -> None:
        if not await chores.take(connection, CHORE, CHORE, now):
            return
        end = begin + HOUR
        done = await chores.done_at(connection, CHORE)
        if done is None or done < end:
            cameras = sorted(await surroundings.placed(connection))
            onsets = await transitions.onsets(connection, begin - self._margin, end + self._margin)
            known = {
                (item.from_camera, item.to_camera, item.category): item for item in await transitions.every(connection)
            }
            mine = [onset for onset in onsets if onset.camera_id in set(cameras)]
            await transitions.write(connection, merged(known, count(mine, begin, end, self._within, cameras)))
        await chores.leave(connection, CHORE, CHORE, max(done or end, end))
