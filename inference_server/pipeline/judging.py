# SPDX-License-Identifier: AGPL-3.0-or-later
"""Judging: whether pictures can be judged now. Loads the detector, and tells everybody when that changes."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from inference_server.core.signal import Signal
from inference_server.core.status import DetectorState, DetectorStatus
from inference_server.detection.detector import Detector
from inference_server.detection.errors import DetectorUnusable
from inference_server.models.errors import ModelUnavailable
from inference_server.models.store import ResolvedModel
from inference_server.observability.health import HealthBoard, HealthState
from inference_server.pipeline.breaker import CircuitBreaker

_LOGGER = logging.getLogger(__name__)

TRY_AGAIN_SECONDS = 60.0


type Place = Callable[[ResolvedModel, Callable[[], Detector]], Awaitable[Detector]]
"""Loads a detector on a worker thread, where there is memory for it. Raises ModelUnavailable."""


async def _on_a_thread(_model: ResolvedModel, load: Callable[[], Detector]) -> Detector:
    return await asyncio.to_thread(load)


class Judging:
    """Holds the detector and its status."""

    def __init__(self, health: HealthBoard, changed: Signal) -> None:
        """Start without a detector; `changed` is notified with every new status."""
        self._health = health
        self.changed = changed
        self._detector: Detector | None = None
        self._loaded = asyncio.Event()
        self._status = DetectorStatus(DetectorState.STARTING)
        self.breaker = CircuitBreaker("detector", self._breaker_moved)
        self._report(HealthState.DEGRADED)

    @property
    def status(self) -> DetectorStatus:
        """How the detector is: down also while it is left alone because it failed again and again."""
        if self.breaker.is_closed:
            return self._status
        message = f"The detector fails: {self.breaker.last_error}. It is tried again by itself."
        return replace(self._status, state=DetectorState.DOWN, message=message)

    @property
    def loaded(self) -> Detector | None:
        """The detector, if there is one already."""
        return self._detector

    def _breaker_moved(self) -> None:
        if self.breaker.is_closed:
            _LOGGER.info("The detector works again")
            self._report(HealthState.DEGRADED if self._status.fallback else HealthState.OK)
        else:
            _LOGGER.error(
                "The detector is left alone for a while (%s): %s", self.breaker.state, self.breaker.last_error
            )
            self._report(HealthState.DOWN)
        self.changed.notify()

    async def detector(self) -> Detector:
        """Return the detector, as soon as there is one."""
        await self._loaded.wait()
        if self._detector is None:
            raise RuntimeError("the detector was taken away")
        return self._detector

    async def load(
        self,
        resolve: Callable[[], Awaitable[ResolvedModel]],
        build: Callable[[ResolvedModel], Detector],
        place: Place = _on_a_thread,
    ) -> None:
        """Load the detector, trying again until it works. `build` blocks; `place` runs it where there is room."""
        while not self._loaded.is_set():
            self._report(HealthState.DEGRADED)
            try:
                model = await resolve()
                detector = await place(model, partial(build, model))
            except (ModelUnavailable, DetectorUnusable) as error:
                self._fail(error)
                await asyncio.sleep(TRY_AGAIN_SECONDS)
            else:
                self._succeed(model, detector)

    def _succeed(self, model: ResolvedModel, detector: Detector) -> None:
        self._detector = detector
        self._status = DetectorStatus(
            DetectorState.OK, model.model_id, model.name, model.fallback, detector.provider, model.message
        )
        if model.fallback:
            _LOGGER.warning("%s", model.message)
        _LOGGER.info("Detector ready: %s on %s, %d px", model.name, detector.provider, detector.input_size)
        self._report(HealthState.DEGRADED if model.fallback else HealthState.OK)
        self._loaded.set()
        self.changed.notify()

    def _fail(self, error: ModelUnavailable | DetectorUnusable) -> None:
        remedy = error.remedy if isinstance(error, ModelUnavailable) else "Choose another model file."
        message = f"{str(error).rstrip('.')}. {remedy}"
        _LOGGER.error("No detector: %s Trying again in %d s.", message, TRY_AGAIN_SECONDS)
        self._status = DetectorStatus(DetectorState.DOWN, message=message)
        self._report(HealthState.DOWN)
        self.changed.notify()

    def _report(self, state: HealthState) -> None:
        without_detector = "Pictures are admitted and wait; they are judged when the detector is there."
        self._health.report(
            "detector",
            state,
            last_error=self.status.message if state is HealthState.DOWN else None,
            still_works=None if self.status.judges else without_detector,
            remedy=self.status.message,
            model=self.status.model,
            provider=self.status.provider,
            fallback=self.status.fallback,
            breaker=self.breaker.state.value,
        )
