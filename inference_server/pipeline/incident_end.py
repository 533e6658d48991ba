# SPDX-License-Identifier: AGPL-3.0-or-later
"""Ending incidents: each when nothing new has happened for the quiet time, to the second and across restarts.

The open incidents themselves are the timers, so that a process that stops forgets none.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.announcement import Announcement
from inference_server.core.clock import Clock
from inference_server.core.incident import Incident
from inference_server.core.signal import Signal
from inference_server.storage import announcements, incidents
from inference_server.storage.database import STORAGE_FAILURES, Database
from inference_server.storage.incidents import IncidentChange, announcements_of

_LOGGER = logging.getLogger(__name__)

LOOK_AGAIN = timedelta(seconds=1)
"""While an event goes on or its pictures wait to be judged, they decide themselves whether the incident goes on."""
LONGEST_PAUSE = timedelta(seconds=30)
"""Less than any quiet time: an incident that another process began is seen in time."""


class IncidentEnding:
    """Follows the open incidents."""

    def __init__(self, database: Database, announced: Signal, clock: Clock, *, quiet: timedelta) -> None:
        """Take the parts; `announced` is notified when something was announced."""
        self._database = database
        self._announced = announced
        self._clock = clock
        self._quiet = quiet

    async def run(self) -> None:
        """End what is over until cancelled."""
        while True:
            try:
                pause = await self.look()
            except STORAGE_FAILURES as error:
                _LOGGER.warning("Incidents end later: %s", error)
                pause = LONGEST_PAUSE
            await asyncio.sleep(pause.total_seconds())

    async def look(self) -> timedelta:
        """End the incidents whose time is up. Return when to look again."""
        now = self._clock.now()
        async with self._database.reading() as connection:
            waiting = await incidents.open_incidents(connection)
            over = [incident.id for incident in waiting if await self._is_over(connection, incident, now)]
        if over:
            await self._end(over, now)
        soonest = min((incident.last_at + self._quiet - now for incident in waiting), default=LONGEST_PAUSE)
        return min(soonest, LONGEST_PAUSE) if soonest > timedelta(0) else LOOK_AGAIN

    async def _end(self, incident_ids: Sequence[int], now: datetime) -> None:
        async with self._database.writing() as connection:
            await incidents.lock(connection)
            told: list[Announcement] = []
            for incident in await incidents.get_many(connection, incident_ids):
                if incident.is_open and await self._is_over(connection, incident, now):
                    ended_at = max(min(incident.last_at + self._quiet, now), incident.started_at)
                    await incidents.set_end(connection, incident.id, ended_at)
                    ended = replace(incident, ended_at=ended_at)
                    told += announcements_of(IncidentChange(incident, ended), now)
            await announcements.add(connection, told)
        self._announced.notify()

    async def _is_over(self, connection: AsyncConnection, incident: Incident, now: datetime) -> bool:
        """Return whether nothing can go on; what lies further ahead was told by a clock that went back."""
        over_at = incident.last_at + self._quiet
        if now < over_at <= now + self._quiet or await incidents.has_open_event(connection, incident.id):
            return False
        late = over_at + await incidents.delay(connection, incident.id)
        return not now < late <= now + self._quiet and not await incidents.pictures_wait(connection, over_at)
