# SPDX-License-Identifier: AGPL-3.0-or-later
"""The doctor of a running server: one examination at a time, for all who ask meanwhile."""

import asyncio
from collections.abc import Callable

from inference_server.core.clock import Clock
from inference_server.core.diagnosis import Diagnosis
from inference_server.detection.detector import Detector
from inference_server.doctor.examination import diagnose
from inference_server.settings import Settings


class Practice:
    """Examines the installation of this process, with the detector that runs in it."""

    def __init__(self, settings: Settings, clock: Clock, running: Callable[[], Detector | None]) -> None:
        """Take what is examined; `running` gives the detector of this process."""
        self._settings = settings
        self._clock = clock
        self._running = running
        self._examining: asyncio.Task[Diagnosis] | None = None

    async def diagnose(self) -> Diagnosis:
        """Return the findings of the examination that is under way, or of a new one."""
        if self._examining is None or self._examining.done():
            self._examining = asyncio.create_task(diagnose(self._settings, self._clock, running=self._running))
        return await asyncio.shield(self._examining)
