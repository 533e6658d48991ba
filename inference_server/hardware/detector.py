# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which detector runs (the one that the settings name, or else the tier's), and its place in the memory."""

import asyncio
import itertools
import logging
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from inference_server.hardware.budget import MemoryBudget, ModelMemoryError, ModelSpec
from inference_server.hardware.machine import Plan
from inference_server.hardware.probe import probe
from inference_server.hardware.tiers import Tier, choose
from inference_server.models.catalogue import memory_of
from inference_server.models.errors import ModelUnavailable
from inference_server.models.store import ModelStore, ResolvedModel
from inference_server.settings import DEVICES, DetectorSettings, Device, HardwareSettings, Settings

_LOGGER = logging.getLogger(__name__)

PRIORITY = 100
"""Nothing is judged without the detector."""


async def tier_of(settings: HardwareSettings) -> Tier:
    """Return the tier of this machine, or the one that is set."""
    return choose(await asyncio.to_thread(probe), settings.tier).tier


class OnDevice(Protocol):
    """A detector that was opened."""

    @property
    def on_gpu(self) -> bool:
        """Whether it really runs on an NVIDIA GPU."""
        ...

    @property
    def occupant(self) -> object:
        """What takes the memory, as long as it lives."""
        ...


type Open[Found] = Callable[[ResolvedModel, ModelUnavailable | None], Found]
"""Opens a model, blocking; not on an NVIDIA GPU where the second argument says why there is no room on it."""


class DetectorPlaces[Found: OnDevice]:
    """Opens detectors where there is memory for them. Each has a place of its own until nobody holds it any more."""

    def __init__(
        self, plan: Callable[[], Awaitable[Plan]], settings: DetectorSettings, open_model: Open[Found]
    ) -> None:
        """Take what is known of the machine, the detector's settings and what opens it."""
        self._plan = plan
        self._settings = settings
        self._open = open_model

    async def open(self, model: ResolvedModel) -> Found:
        """Open a detector, on the processor where the GPU has no room for it.

        Raises ModelMemoryError where there is no room at all, and what opening it raises.
        """
        plan = await self._plan()
        no_room: ModelMemoryError | None = None
        if self._may_use_gpu and plan.gpu is not None:
            try:
                return await self._opened(plan, plan.gpu, model)
            except ModelMemoryError as error:
                _LOGGER.warning("No room on the GPU: %s. %s", error, error.remedy)
                no_room = error
        return await self._opened(plan, plan.memory, model, no_room=no_room)

    async def open_beside(self, model: ResolvedModel, engine_bytes: int) -> Found:
        """Open an engine of so many bytes, which takes over from a detector that still has its own place.

        Raises ModelMemoryError where both at once have no room, and what opening it raises.
        """
        plan = await self._plan()
        budget = plan.gpu if self._may_use_gpu and plan.gpu is not None else plan.memory
        return await self._opened(plan, budget, model, engine_bytes)

    @property
    def _may_use_gpu(self) -> bool:
        """Whether the settings let the detector run on an NVIDIA GPU."""
        device = self._settings.device
        return Device.CUDA in DEVICES[self._settings.backend] and device in {Device.AUTO, Device.CUDA}

    async def _opened(
        self,
        plan: Plan,
        budget: MemoryBudget,
        model: ResolvedModel,
        engine_bytes: int = 0,
        *,
        no_room: ModelMemoryError | None = None,
    ) -> Found:
        """Open a model within a budget. One that then runs on the processor all the same is charged for there."""
        need = memory_of(model.model_id, await asyncio.to_thread(_size, model.path))
        name = _free_name(plan, model.model_id)
        found: list[Found] = []
        expected = max(need.on(gpu=budget is plan.gpu).bytes, engine_bytes)
        await budget.acquire(_spec(name, expected, lambda: found.append(self._open(model, no_room))))
        opened = found.pop()
        if budget is plan.gpu and not opened.on_gpu:
            budget.release(name)
            budget = plan.memory
            await budget.acquire(_spec(name, need.processor.bytes, lambda: None))
        _release_with(opened.occupant, budget, name)
        return opened


async def detector_of(settings: Settings) -> ResolvedModel:
    """Return the detector that the settings mean on this machine, installing it. Raises ModelUnavailable."""
    store = ModelStore(settings.models_folder, offline=settings.models.offline_folder)
    return await resolve_detector(store, settings.detector, await tier_of(settings.hardware))


async def resolve_detector(store: ModelStore, settings: DetectorSettings, tier: Tier) -> ResolvedModel:
    """Return the detector that is used, installing it.

    Where the tier's own cannot be had, a smaller one of its kind that is installed stands in for it, and only then the
    fallback of the settings. Raises ModelUnavailable when nothing of that can be had.
    """
    if settings.model is not None or settings.model_file is not None:
        return await store.resolve(settings)
    smaller = await asyncio.to_thread(_installed, store, tier)
    return await store.resolve(
        settings.model_copy(update={"model": tier.detector, "fallback_model": smaller or settings.fallback_model})
    )


def wanted_detectors(settings: DetectorSettings, tier: Tier) -> tuple[str, ...]:
    """Return the models of which the first that is installed judges, the wanted one first; none for an own file."""
    if settings.model_file is not None:
        return ()
    wanted = (settings.model,) if settings.model else (tier.detector, *tier.smaller_detectors)
    return tuple(dict.fromkeys((*wanted, *((settings.fallback_model,) if settings.fallback_model else ()))))


def _spec(name: str, size: int, load: Callable[[], None]) -> ModelSpec[None]:
    """Return a place that stays until it is released. It does not hold the detector, which may end before it."""
    return ModelSpec(name=name, bytes=size, load=load, priority=PRIORITY, pinned=True)


def _free_name(plan: Plan, model_id: str) -> str:
    """Return the name of a new place: while detectors are exchanged two of one model have one."""
    taken = {model.name for budget in plan.budgets for model in budget.use.models}
    names = itertools.chain((model_id,), (f"{model_id} ({number})" for number in itertools.count(2)))
    return next(name for name in names if name not in taken)


def _release_with(occupant: object, budget: MemoryBudget, name: str) -> None:
    """Give a place back when its detector has ended: after its last use, on whatever thread that was."""
    loop = asyncio.get_running_loop()

    def ended() -> None:
        with suppress(RuntimeError):  # the loop is closed: so is the budget
            loop.call_soon_threadsafe(budget.release, name)

    weakref.finalize(occupant, ended).atexit = False


def _size(path: Path) -> int:
    """Return how many bytes a model has, 0 for one that is gone: who loads it says so."""
    return path.stat().st_size if path.is_file() else 0


def _installed(store: ModelStore, tier: Tier) -> str | None:
    return next((model for model in tier.smaller_detectors if store.installed(model)), None)
