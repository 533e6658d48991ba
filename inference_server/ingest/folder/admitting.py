# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bringing files to admission: groups of them, again and again while nothing can be stored."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path

from inference_server.core.frame import FrameSource
from inference_server.ingest.admission import Admission, Intake, Outcome
from inference_server.ingest.folder.condition import Condition, RootHealth
from inference_server.observability.health import HealthState
from inference_server.storage.arrivals import storable
from inference_server.storage.database import STORAGE_FAILURES, remedy_of

_LOGGER = logging.getLogger(__name__)

RETRY_SECONDS = 5.0


async def until_stored[Result](attempt: Callable[[], Awaitable[Result]], health: RootHealth) -> Result:
    """Return what comes of an attempt; one that fails because nothing can be stored now is made again."""
    while True:
        try:
            result = await attempt()
        except STORAGE_FAILURES as error:
            health.note(
                "storage",
                Condition(
                    HealthState.DOWN,
                    f"Files wait on disk, because they cannot be stored: {error}.",
                    "Files stay in the camera folders and are admitted later; open events go on.",
                    remedy_of(error),
                ),
            )
            await asyncio.sleep(RETRY_SECONDS)
        else:
            health.note("storage", None)
            return result


class Admitter:
    """Has files examined side by side on threads, and what comes of them recorded together."""

    def __init__(self, *, admission: Admission, intake: Intake, health: RootHealth, threads: Executor) -> None:
        """Take the parts."""
        self._admission = admission
        self._intake = intake
        self._health = health
        self._threads = threads

    async def admit(self, paths: Sequence[str], *, imported: bool = False) -> None:
        """Bring files to admission; one with which something unexpected goes wrong is refused, and no other."""
        try:
            await until_stored(lambda: self._admit_together(paths, imported=imported), self._health)
        except Exception as error:  # whatever is wrong with one file must not keep the others
            if len(paths) > 1:
                for path in paths:
                    await self.admit([path], imported=imported)
                return
            _LOGGER.exception("%s could not be admitted", storable(paths[0]))
            await self._intake.take([self._admission.refuse(Path(paths[0]), error)])

    async def _admit_together(self, paths: Sequence[str], *, imported: bool) -> None:
        loop = asyncio.get_running_loop()
        source = FrameSource.IMPORT if imported else FrameSource.FOLDER

        def admit(path: str) -> asyncio.Future[Outcome | None]:
            return loop.run_in_executor(self._threads, self._admission.admit, Path(path), source)

        decided = await asyncio.gather(*map(admit, paths))
        if outcomes := [outcome for outcome in decided if outcome is not None]:
            await self._intake.take(outcomes)
