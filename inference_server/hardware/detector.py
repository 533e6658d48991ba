# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which detector runs (the one that the settings name, or else the tier's), and its place in the memory."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from inference_server.hardware.budget import ModelSpec
from inference_server.hardware.machine import Plan
from inference_server.hardware.needs import need_of
from inference_server.hardware.probe import probe
from inference_server.hardware.tiers import Tier, choose
from inference_server.models.store import ModelStore, ResolvedModel
from inference_server.settings import DetectorSettings, HardwareSettings, Settings

PRIORITY = 100
"""Nothing is judged without the detector."""


async def tier_of(settings: HardwareSettings) -> Tier:
    """Return the tier of this machine, or the one that is set."""
    return choose(await asyncio.to_thread(probe), settings.tier).tier


async def place_detector[Found](plan: Plan, model: ResolvedModel, load: Callable[[], Found]) -> Found:
    """Load the detector into the memory of the device it runs on, where it stays. `load` blocks.

    Raises ModelMemoryError where there is no room for it, and what `load` raises.
    """
    budget = plan.for_models
    need = need_of(model.model_id, await asyncio.to_thread(_size, model.path), on_gpu=budget is plan.gpu)
    return await budget.acquire(
        ModelSpec(name=model.model_id, bytes=need.bytes, load=load, priority=PRIORITY, pinned=True)
    )


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


def _size(path: Path) -> int:
    """Return how many bytes a model has, 0 for one that is gone: who loads it says so."""
    return path.stat().st_size if path.is_file() else 0


def _installed(store: ModelStore, tier: Tier) -> str | None:
    return next((model for model in tier.smaller_detectors if store.installed(model)), None)
