# SPDX-License-Identifier: AGPL-3.0-or-later
"""Deals with old files as the owner chose, behind the live ones and never instead of them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from inference_server.core.camera import camera_id
from inference_server.core.clock import Clock
from inference_server.ingest.backpressure import Backpressure
from inference_server.ingest.folder.admitting import Admitter, until_stored
from inference_server.ingest.folder.condition import RootHealth
from inference_server.ingest.folder.existing import FirstSight
from inference_server.settings import ExistingFiles
from inference_server.storage import arrivals, watch_roots
from inference_server.storage.arrivals import Arrival, FileVersion, storable
from inference_server.storage.database import Database

_LOGGER = logging.getLogger(__name__)

IMPORTED_TOGETHER = 4
LEFT_ALONE_TOGETHER = 500
SCAN_PATIENCE_SECONDS = 60.0
"""So long the oldest files wait for those of a place that does not answer."""


class OldFiles:
    """Works off a root's old files until none is left, which is remembered: it happens once in a root's life."""

    def __init__(
        self,
        root: str,
        choice: ExistingFiles,
        *,
        sight: FirstSight,
        scanned: Sequence[asyncio.Event],
        until_live_done: Callable[[], Awaitable[None]],
        admitter: Admitter,
        backpressure: Backpressure,
        database: Database,
        health: RootHealth,
        clock: Clock,
    ) -> None:
        """Take the parts; each of the `scanned` events is set when a place was looked through for the first time."""
        self._root = root
        self._choice = choice
        self._sight = sight
        self._scanned = scanned
        self._until_live_done = until_live_done
        self._admitter = admitter
        self._backpressure = backpressure
        self._database = database
        self._health = health
        self._clock = clock

    async def run(self) -> None:
        """Deal with all old files; return at once where that was done before."""
        if self._sight.finished:
            return
        root = storable(str(self._root))
        try:
            async with asyncio.timeout(SCAN_PATIENCE_SECONDS):
                await self._until_scanned()
        except TimeoutError:
            _LOGGER.warning("A place below %s does not answer; the old files of the others go first", root)
        if self._sight.left:
            _LOGGER.info("%d old files lie in %s: %s", self._sight.left, root, self._choice.value)
        while self._sight.left or not self._sight.found or not all(event.is_set() for event in self._scanned):
            seen = self._sight.changed.count
            if self._sight.left:
                self._health.tell(old_files_left=self._sight.left, old_files=self._choice.value)
                await self._deal_with_some()
            elif self._sight.found:
                await self._until_scanned()
            else:
                await self._sight.changed.wait(seen)
        await until_stored(self._finish, self._health)

    async def _until_scanned(self) -> None:
        for event in self._scanned:
            await event.wait()

    async def _deal_with_some(self) -> None:
        if self._choice is ExistingFiles.IMPORT:
            await self._until_live_done()
            await self._backpressure.until_idle()
            await self._admitter.admit(list(self._sight.take(IMPORTED_TOGETHER)), imported=True)
        else:
            files = self._sight.take(LEFT_ALONE_TOGETHER)
            await until_stored(lambda: self._leave_alone(files), self._health)

    async def _leave_alone(self, files: Mapping[str, FileVersion]) -> None:
        now = self._clock.now()
        left = [Arrival(file, now, self._camera_of(path)) for path, file in files.items()]
        async with self._database.writing() as connection:
            await arrivals.record(connection, left)

    def _camera_of(self, path: str) -> str | None:
        folder, slash, _ = path[len(self._root) + 1 :].partition("/")
        return camera_id(folder) if slash else None

    async def _finish(self) -> None:
        async with self._database.writing() as connection:
            await watch_roots.finish(connection, self._root, self._clock.now())
        self._sight.finished = True
        self._health.tell(old_files_left=None, old_files=None)
