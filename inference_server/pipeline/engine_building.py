# SPDX-License-Identifier: AGPL-3.0-or-later
"""Builds the detector's engine in the background while another backend judges, and exchanges the detector then."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from inference_server.detection.backends.opening import Opened
from inference_server.detection.errors import BackendAbsent, DetectorUnusable
from inference_server.models.engines import EngineBuilder, EngineBuildError, EngineCache, EngineKey
from inference_server.models.errors import ModelUnavailable
from inference_server.models.store import ResolvedModel
from inference_server.observability.health import HealthBoard, HealthState
from inference_server.pipeline.judging import Judging

_LOGGER = logging.getLogger(__name__)

COMPONENT = "engine"
_STILL_WORKS = "Pictures are judged by {provider} meanwhile."


class EngineBuilding:
    """One engine: that of the model in use."""

    def __init__(
        self,
        judging: Judging,
        cache: EngineCache,
        builder: EngineBuilder,
        *,
        source_of: Callable[[ResolvedModel], tuple[Path, EngineKey]],
        open_again: Callable[[ResolvedModel, int], Awaitable[Opened]],
        health: HealthBoard,
    ) -> None:
        """Take the parts.

        `source_of` says what an engine is built from and what it would depend on here; it blocks. `open_again` opens
        the detector beside the one in use; it is told how many bytes the engine has, 0 without one.
        """
        self._judging = judging
        self._cache = cache
        self._builder = builder
        self._source_of = source_of
        self._open_again = open_again
        self._health = health

    async def run(self) -> None:
        """Build the engine of the model in use, unless it is there or failed before, and use it."""
        model = await self._judging.model()
        try:
            source, key = await asyncio.to_thread(self._source_of, model)
        except (BackendAbsent, DetectorUnusable) as error:
            _LOGGER.info("No engine is built: %s", error)
            return
        if await asyncio.to_thread(self._cache.find, key):
            self._health.report(COMPONENT, HealthState.OK, engine=key.id, progress=1.0)
        elif reason := self._cache.failure(key):
            self._failed(key, reason)
        else:
            await self._build(model, source, key)

    async def _build(self, model: ResolvedModel, source: Path, key: EngineKey) -> None:
        _LOGGER.info("Building the engine of %s for %s (TensorRT %s)", model.name, key.gpu, key.tensorrt)
        self._building(key, 0.0)
        try:
            await self._cache.build(source, key, self._builder, lambda done: self._building(key, done))
        except (EngineBuildError, OSError, TimeoutError) as error:
            self._failed(key, str(error))
        else:
            _LOGGER.info("The engine of %s is built", model.name)
        await self._exchange(model, key)

    async def _exchange(self, model: ResolvedModel, key: EngineKey) -> None:
        """Open the detector again: with the engine, or with what says why there is none."""
        engine = await asyncio.to_thread(self._cache.find, key)
        try:
            opened = await self._open_again(model, engine.stat().st_size if engine else 0)
        except DetectorUnusable as error:
            self._failed(key, str(error))
            return
        except ModelUnavailable as error:
            if engine is not None:
                self._declined(key, error)
            return
        self._judging.exchange(opened)
        if engine is not None:
            lacking = opened.shortfall
            state = HealthState.OK if lacking is None else HealthState.DEGRADED
            reason = lacking.reason if lacking else None
            self._health.report(COMPONENT, state, last_error=reason, engine=key.id, progress=1.0)

    def _building(self, key: EngineKey, progress: float) -> None:
        self._health.report(
            COMPONENT,
            HealthState.OK,
            still_works=_STILL_WORKS.format(provider=self._judging.status.provider),
            engine=key.id,
            progress=round(progress, 3),
        )

    def _declined(self, key: EngineKey, error: ModelUnavailable) -> None:
        """Tell that the engine is there, and that both detectors at once have no room."""
        _LOGGER.warning("The engine is built and not used yet: %s. %s", error, error.remedy)
        self._health.report(
            COMPONENT,
            HealthState.DEGRADED,
            last_error=f"The engine is built, but there is no room for it beside the detector in use: {error}.",
            still_works=_STILL_WORKS.format(provider=self._judging.status.provider),
            remedy=f"Restart the server: it begins with the engine then. Or: {error.remedy}",
            engine=key.id,
            progress=1.0,
        )

    def _failed(self, key: EngineKey, reason: str) -> None:
        _LOGGER.warning("The engine could not be built: %s", reason)
        self._health.report(
            COMPONENT,
            HealthState.DEGRADED,
            last_error=reason,
            still_works=_STILL_WORKS.format(provider=self._judging.status.provider),
            remedy=f"Remove {key.id}.failed.json from the folder engines of the models to try again.",
            engine=key.id,
        )
