# SPDX-License-Identifier: AGPL-3.0-or-later
"""A better detector that is installed meanwhile judges at once; one that could not be had is tried again."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from inference_server.core.model import ModelUnavailable
from inference_server.detection.errors import DetectorUnusable
from inference_server.models.jobs import ModelJobs
from inference_server.models.places import Footprint, Identity, identity_of
from inference_server.models.store import ModelStore, ResolvedModel
from inference_server.pipeline.model_health import ModelHealth

_LOGGER = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""How often the models folder is looked at, for what other processes do there."""
FIRST_RETRY_SECONDS = 60.0
LONGEST_RETRY_SECONDS = 3600.0
OPEN_AGAIN_SECONDS = 300.0
"""After how long one is tried again that is installed and could not be opened: there may be memory for it by then."""

type Resolve = Callable[[], Awaitable[ResolvedModel]]
type Exchange = Callable[[ResolvedModel], Awaitable[None]]
"""Opens a model and lets it judge from now on. Raises ModelUnavailable, DetectorUnusable."""
type _Used = tuple[str, str, Identity]


class ModelWatch:
    """Sees to it that the best detector that is installed judges, and that the wanted one gets installed."""

    def __init__(
        self, store: ModelStore, jobs: ModelJobs, health: ModelHealth, *, wanted: Sequence[str], exchange: Exchange
    ) -> None:
        """Take the ids of the detectors that may judge, the wanted one first."""
        self._store = store
        self._jobs = jobs
        self._health = health
        self._wanted = wanted
        self._exchange = exchange
        self._used: _Used | None = None
        self._tried: tuple[Footprint, ...] | None = None
        self._seen: tuple[Footprint, ...] | None = None
        self._missing: ModelUnavailable | None = None
        self._retry_seconds = FIRST_RETRY_SECONDS
        self._retry_at = 0.0
        self._open_again_at = math.inf

    async def resolve(self, resolve: Resolve) -> ResolvedModel:
        """Return the model that the server begins with; that the wanted one cannot be had is told in health.

        Raises ModelUnavailable.
        """
        self._tried = await self._footprint()
        try:
            model = await resolve()
        except ModelUnavailable as error:
            self._note(error)
            raise
        if model.missing is not None:
            self._note(model.missing)
        self._used = _used(model)
        return model

    async def pause(self, seconds: float) -> None:
        """Return soon after something was installed since the last attempt, or after so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    await self._jobs.settled.wait(self._jobs.settled.count, LOOK_SECONDS)
                    if await self._footprint() != self._tried:
                        return

    async def run(self) -> None:
        """Look until cancelled, from when a detector is loaded."""
        if not self._wanted:
            return
        self._retry_at = _now() + self._retry_seconds
        while True:
            settled = self._jobs.settled.count
            await self._look()
            await self._jobs.settled.wait(settled, LOOK_SECONDS)

    async def _look(self) -> None:
        footprint = await self._footprint()
        if footprint != self._seen or _now() >= self._open_again_at:
            await self._use_best()
            self._seen = footprint
        if _now() >= self._retry_at:
            await self._retry()

    async def _use_best(self) -> None:
        """Open the best detector that is installed, unless it judges already."""
        self._open_again_at = math.inf
        best = await asyncio.to_thread(self._store.best_installed, self._wanted, self._missing)
        if best is not None and not best.fallback:
            self._missing = None
        if best is None or (used := _used(best)) == self._used:
            self._health.all_used()
            return
        _LOGGER.info("%s is installed and is used from now on", best.name)
        try:
            await self._exchange(best)
        except (ModelUnavailable, DetectorUnusable) as error:
            self._health.cannot_use(best.model_id, _explained(best, error))
            _LOGGER.warning("%s cannot be used: %s", best.name, error)
            self._open_again_at = _now() + OPEN_AGAIN_SECONDS
        else:
            self._used = used
            self._health.all_used()

    async def _retry(self) -> None:
        """Have the wanted detector installed, if it is not; the next time after twice the pause."""
        if await asyncio.to_thread(self._store.installed, self._wanted[0]):
            self._retry_seconds = FIRST_RETRY_SECONDS
        else:
            try:
                self._jobs.ask(self._wanted[0], accept_unpinned=False)
            except ModelUnavailable as error:
                self._note(error)
            self._retry_seconds = min(2 * self._retry_seconds, LONGEST_RETRY_SECONDS)
        self._retry_at = _now() + self._retry_seconds

    def _note(self, error: ModelUnavailable) -> None:
        self._missing = error
        if self._wanted:
            self._jobs.note_failed(self._wanted[0], error)

    async def _footprint(self) -> tuple[Footprint, ...]:
        return await asyncio.to_thread(self._store.footprint, self._wanted)


def _used(model: ResolvedModel) -> _Used:
    return model.model_id, str(model.path), identity_of(model.path)


def _explained(model: ResolvedModel, error: ModelUnavailable | DetectorUnusable) -> ModelUnavailable:
    remedy = (
        error.remedy
        if isinstance(error, ModelUnavailable)
        else f"`hsi models verify {model.model_id}` checks it; import or pull another one."
    )
    return ModelUnavailable(f"{model.name} is installed and cannot be used: {error}", remedy)


def _now() -> float:
    return asyncio.get_running_loop().time()
