# SPDX-License-Identifier: AGPL-3.0-or-later
"""Judging: whether pictures can be judged now. Loads the detector, exchanges it, and tells everybody of changes."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from inference_server.core.signal import Signal
from inference_server.core.status import DetectorState, DetectorStatus
from inference_server.detection.backends.opening import Opened
from inference_server.detection.detector import Detector
from inference_server.detection.errors import DetectorUnusable
from inference_server.models.errors import ModelUnavailable
from inference_server.models.store import ResolvedModel
from inference_server.observability.health import HealthBoard, HealthState
from inference_server.pipeline.breaker import CircuitBreaker

_LOGGER = logging.getLogger(__name__)

TRY_AGAIN_SECONDS = 60.0


class Judging:
    """Holds the detector and its status."""

    def __init__(self, health: HealthBoard, changed: Signal) -> None:
        """Start without a detector; `changed` is notified with every new status."""
        self._health = health
        self.changed = changed
        self._detector: Detector | None = None
        self._model: ResolvedModel | None = None
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

    def _breaker_moved(self) -> None:
        if self.breaker.is_closed:
            _LOGGER.info("The detector works again")
            self._report(self._working_state)
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

    async def model(self) -> ResolvedModel:
        """Return the model in use, as soon as there is one."""
        await self._loaded.wait()
        if self._model is None:
            raise RuntimeError("the model was taken away")
        return self._model

    async def load(
        self, resolve: Callable[[], Awaitable[ResolvedModel]], build: Callable[[ResolvedModel], Opened]
    ) -> None:
        """Load the detector, trying again until it works. `build` blocks and runs on a worker thread."""
        while not self._loaded.is_set():
            self._report(HealthState.DEGRADED)
            try:
                model = await resolve()
                opened = await asyncio.to_thread(build, model)
            except (ModelUnavailable, DetectorUnusable) as error:
                self._fail(error)
                await asyncio.sleep(TRY_AGAIN_SECONDS)
            else:
                self._use(model, opened)

    def exchange(self, opened: Opened) -> None:
        """Go on with another detector for the same model. Pictures under way end on the old one; none is lost.

        May be called once there is a detector.
        """
        if self._model is None:
            raise RuntimeError("there is no detector yet that could be exchanged")
        self._use(self._model, opened)

    def _use(self, model: ResolvedModel, opened: Opened) -> None:
        detector, shortfall = opened.detector, opened.shortfall
        messages = [model.message, shortfall.message(detector.provider) if shortfall else None]
        self._model, self._detector = model, detector
        self._status = DetectorStatus(
            DetectorState.OK,
            model.model_id,
            model.name,
            model.fallback,
            detector.provider,
            " ".join(message for message in messages if message) or None,
            shortfall.wanted if shortfall else None,
        )
        if self._status.message:
            _LOGGER.warning("%s", self._status.message)
        _LOGGER.info("Detector ready: %s on %s, %d px", model.name, detector.provider, detector.input_size)
        self._report(self._working_state if self.breaker.is_closed else HealthState.DOWN)
        self._loaded.set()
        self.changed.notify()

    @property
    def _working_state(self) -> HealthState:
        return HealthState.OK if self._status.is_wanted else HealthState.DEGRADED

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
            wanted=self.status.wanted_provider,
            fallback=self.status.fallback,
            breaker=self.breaker.state.value,
        )
