# SPDX-License-Identifier: AGPL-3.0-or-later
"""Looks at the detector service elsewhere: whether it answers, and whether it does so again after it was down."""

import asyncio
import logging
from itertools import count

from inference_server.detection.detector import DetectorElsewhere
from inference_server.detection.errors import DetectorElsewhereError, DetectorLied
from inference_server.pipeline.breaker import ServiceDownError
from inference_server.pipeline.detect import explained
from inference_server.pipeline.judging import Judging

INTERVAL_SECONDS = 10.0
RETRY_SECONDS = 3.0
"""Until it has answered for the first time."""
_LOGGER = logging.getLogger(__name__)


class RemoteWatch:
    """Lets the service judge a grey picture, again and again, so that no camera's picture is what the look costs."""

    def __init__(self, judging: Judging, detector: DetectorElsewhere) -> None:
        """Take the detector, and who is told of it."""
        self._judging = judging
        self._detector = detector

    async def run(self) -> None:
        """Look until cancelled."""
        while not await self._reach():  # noqa: ASYNC110 - another machine is waited for
            await asyncio.sleep(RETRY_SECONDS)
        for look in count(1):
            await asyncio.sleep(INTERVAL_SECONDS)
            await self._look(look)

    async def _reach(self) -> bool:
        """Return whether it answers for the first time."""
        try:
            await self._detector.try_out()
        except (DetectorElsewhereError, DetectorLied) as error:
            self._judging.missed(explained(error))
            return False
        self._judging.reached(self._detector)
        return True

    async def _look(self, look: int) -> None:
        """Try it out, as a call that the breaker counts; each look is a subject of its own, unlike any picture."""
        breaker = self._judging.remote_breaker
        try:
            breaker.begin()
        except ServiceDownError:
            return
        try:
            await self._detector.try_out()
        except (DetectorElsewhereError, DetectorLied) as error:
            breaker.failed(explained(error), [-look])
        except asyncio.CancelledError:
            breaker.left_open()
            raise
        else:
            breaker.succeeded()
