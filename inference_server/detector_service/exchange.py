# SPDX-License-Identifier: AGPL-3.0-or-later
"""The batcher of the detector in use. When that is exchanged, the old one first ends what it has taken."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from inference_server.detector_service.batching import Batcher
from inference_server.pipeline.fitting import FittingDetector
from inference_server.pipeline.inference import InferenceThreads
from inference_server.pipeline.judging import Judging
from inference_server.settings import DetectorServiceSettings


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """The detector in use, and what gives it its batches."""

    detector: FittingDetector
    batcher: Batcher


class Exchange:
    """Holds the batcher that new pictures go to, and those that still have some."""

    def __init__(
        self, judging: Judging, settings: DetectorServiceSettings, inferred: Callable[[int, float], None]
    ) -> None:
        """Take who says which detector is in use; `inferred` is told of each inference."""
        self._judging = judging
        self._settings = settings
        self._inferred = inferred
        self._batchers: list[Batcher] = []
        self._ended: list[InferenceThreads] = []
        self.loaded: Loaded | None = None
        """What new pictures go to; None while there is no detector."""

    @property
    def waiting(self) -> int:
        """Pictures that are here."""
        return sum(batcher.waiting for batcher in self._batchers)

    @property
    def stuck(self) -> int:
        """Inferences that hang, those of earlier detectors too."""
        return sum(batcher.stuck for batcher in self._batchers) + sum(threads.stuck for threads in self._ended)

    async def run(self) -> None:
        """Serve with the detector in use until cancelled, with each one that takes over from it."""
        try:
            async with asyncio.TaskGroup() as serving:
                replaced = asyncio.Event()
                while True:
                    seen = self._judging.changed.count
                    detector = self._judging.loaded
                    if detector is not None and (self.loaded is None or self.loaded.detector is not detector):
                        serves, last, replaced = asyncio.Event(), replaced, asyncio.Event()
                        serving.create_task(self._serve(detector, serves, replaced))
                        await serves.wait()
                        last.set()
                    del detector
                    await self._judging.changed.wait(seen)
        finally:
            self.loaded = None

    async def _serve(self, detector: FittingDetector, serves: asyncio.Event, replaced: asyncio.Event) -> None:
        """Serve until another detector does and nobody waits for this one any more."""
        batcher = Batcher(detector, self._settings, inferred=self._inferred)
        self._batchers.append(batcher)
        try:
            async with batcher.running():
                self.loaded = Loaded(detector, batcher)
                serves.set()
                await replaced.wait()
                await batcher.until_idle()
        finally:
            self._batchers.remove(batcher)
            self._ended.append(batcher.threads)
