# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tells every camera's state again when pictures begin or cease to be judged: without a detector it is unknown."""

from inference_server.core.announcement import Announcement, AnnouncementKind
from inference_server.core.clock import Clock
from inference_server.core.signal import Signal
from inference_server.pipeline.judging import Judging
from inference_server.storage import announcements, cameras
from inference_server.storage.database import Database


class JudgedNews:
    """Follows the detector's status."""

    def __init__(self, database: Database, announced: Signal, clock: Clock, judging: Judging) -> None:
        """Take the parts; `announced` is notified when something was announced."""
        self._database = database
        self._announced = announced
        self._clock = clock
        self._judging = judging

    async def run(self) -> None:
        """Tell each change until cancelled. Before the start nothing was judged."""
        told = False
        while True:
            seen = self._judging.changed.count
            judges = self._judging.status.judges
            if judges != told:
                await self._tell(judged=judges)
                told = judges
            await self._judging.changed.wait(seen)

    async def _tell(self, *, judged: bool) -> None:
        async with self._database.writing() as connection:
            states = await cameras.states(connection, judged=judged)
            now = self._clock.now()
            told = [Announcement(AnnouncementKind.CAMERA_UPDATED, state.camera.id, now, state) for state in states]
            await announcements.add(connection, told)
        self._announced.notify()
