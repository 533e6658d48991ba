# SPDX-License-Identifier: AGPL-3.0-or-later
"""Learning habits: each hour that was watched from its beginning to its end is counted, once, a little after it."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.baseline import HOUR, Habit, hour_of, slot_of
from inference_server.core.clock import Clock
from inference_server.risk.baseline import by_category, counts, learn
from inference_server.risk.continuity import first_sights
from inference_server.storage import baselines, chores, surroundings
from inference_server.storage.database import STORAGE_FAILURES, Database

_LOGGER = logging.getLogger(__name__)

CHORE = "habits"
SETTLED_AFTER = timedelta(minutes=10)
"""Pictures that come late, and events that run over the hour, are in by then."""
MOST_UNWATCHED = 0.1
"""Of an hour: more, and what was not seen would count as not there."""
LOOK_SECONDS = 60.0


class HabitLearning:
    """Counts what each camera sees, hour by hour, while this process can judge."""

    def __init__(self, database: Database, clock: Clock, *, judges: Callable[[], bool], zone: ZoneInfo) -> None:
        """Take the parts; `judges` says whether there is a detector now, the zone is the home's."""
        self._database = database
        self._clock = clock
        self._judges = judges
        self._zone = zone
        self._looks: dict[datetime, list[bool]] = {}

    async def run(self) -> None:
        """Look every minute until cancelled."""
        while True:
            try:
                await self.look()
            except STORAGE_FAILURES as error:
                _LOGGER.warning("Habits are learnt later: %s", error)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Note whether this minute is watched, and learn from the hours that have settled."""
        now = self._clock.now()
        self._looks.setdefault(hour_of(now), []).append(self._judges())
        for begin in sorted(hour for hour in self._looks if now >= hour + HOUR + SETTLED_AFTER):
            if self._was_watched(begin):
                async with self._database.writing() as connection:
                    await self._learn(connection, begin, now)
            del self._looks[begin]

    def _was_watched(self, begin: datetime) -> bool:
        looks = self._looks[begin]
        return sum(looks) >= (1 - MOST_UNWATCHED) * (HOUR.total_seconds() / LOOK_SECONDS)

    async def _learn(self, connection: AsyncConnection, begin: datetime, now: datetime) -> None:
        """Learn from one hour, in the transaction that notes that it was."""
        if not await chores.take(connection, CHORE, CHORE, now):
            return
        last, end = await chores.done_at(connection, CHORE), begin + HOUR
        if last is None or last < end:
            for camera in await surroundings.placed(connection):
                await self._learn_camera(connection, camera, begin)
        await chores.leave(connection, CHORE, CHORE, max(last or end, end))

    async def _learn_camera(self, connection: AsyncConnection, camera_id: str, begin: datetime) -> None:
        end = begin + HOUR
        slot = slot_of(begin.astimezone(self._zone))
        known = by_category(await baselines.at_hour(connection, camera_id, slot))
        sights = first_sights(await baselines.tracks_since(connection, camera_id, begin - HOUR, end))
        await baselines.write(
            connection,
            [
                learn(known[category], Habit(camera_id, category, slot, float(number), 1.0, end))
                for category, number in counts(sights, begin, end).items()
            ],
        )
