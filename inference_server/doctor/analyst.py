# SPDX-License-Identifier: AGPL-3.0-or-later
"""The analyst's language model: there, whole, and how long it takes for a short answer in a schema."""

import asyncio
from collections.abc import Iterator

from inference_server.core.diagnosis import Finding, ok, problem, warning
from inference_server.core.hardware import GIB
from inference_server.hardware.analyst import analyst_bytes
from inference_server.hardware.probe import Hardware
from inference_server.hardware.tiers import choose
from inference_server.models.store import ModelStore
from inference_server.risk.analyst.language_model import LanguageAnswer, LanguageModel, LanguageRequest, ModelError
from inference_server.risk.analyst.opening import Choice, LocalModel, NoModel, choose_model, open_model
from inference_server.risk.analyst.schema import JsonSchema
from inference_server.settings import Settings

SECONDS = 90.0
"""For loading the model and one answer."""
SLOW_SECONDS = 30.0
_SCHEMA = JsonSchema({"type": "object", "properties": {"answer": {"enum": ["yes", "no"]}}, "required": ["answer"]})
_QUESTION = LanguageRequest(
    prefix="You answer with JSON.", prompt="Is the sky blue?", schema=_SCHEMA, max_tokens=64, deadline_seconds=SECONDS
)


async def look(settings: Settings, hardware: Hardware) -> Iterator[Finding]:
    """Ask the model that the settings mean. Nothing is downloaded."""
    chosen = await asyncio.to_thread(_chosen, settings, hardware)
    if isinstance(chosen, NoModel):
        return iter((_without(chosen),))
    if isinstance(chosen, LocalModel) and (lacking := await asyncio.to_thread(_lacking, chosen, settings, hardware)):
        return iter((lacking,))
    model = open_model(chosen, settings.analyst, hardware.processor.cores)
    try:
        await model.load()
        answer = await model.answer(_QUESTION)
    except ModelError as error:
        return iter((problem("analyst", str(error).rstrip("."), error.remedy or "See the log."),))
    else:
        return iter((_tried(model, answer),))
    finally:
        await model.close()


def _chosen(settings: Settings, hardware: Hardware) -> Choice:
    store = ModelStore(settings.models_folder, offline=settings.models.offline_folder)
    return choose_model(settings.analyst, store, choose(hardware, settings.hardware.tier).tier.analyst)


def _without(found: NoModel) -> Finding:
    reason = f"{found.reason.rstrip('.')}: the rules judge alone"
    return problem("analyst", reason, found.remedy) if found.wanted else ok("analyst", f"{reason}. {found.remedy}")


def _lacking(chosen: LocalModel, settings: Settings, hardware: Hardware) -> Finding | None:
    """Return what is told where the model does not even fit the machine, and is not loaded."""
    if settings.analyst.gpu_layers and hardware.best_gpu is not None:
        return None
    need = analyst_bytes(chosen.model_id, chosen.path.stat().st_size, gpu=False)
    if need <= hardware.memory.usable:
        return None
    found = f"{chosen.name} takes {need / GIB:.1f} GiB, and {hardware.memory.usable / GIB:.1f} GiB may be used"
    return problem("analyst", found, "Choose a smaller model (analyst.model), or a server elsewhere (analyst.url).")


def _tried(model: LanguageModel, answer: LanguageAnswer) -> Finding:
    status = model.status
    found = f"{status.model} answers on {status.device}: {answer.seconds:.1f} s for a short answer"
    if answer.seconds > SLOW_SECONDS:
        return warning("analyst", found, "Choose a smaller model, a GPU, or a server elsewhere (analyst.url).")
    return ok("analyst", found)
