# SPDX-License-Identifier: AGPL-3.0-or-later
"""From the settings to a language model, or to the reason why there is none."""

import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path

from inference_server.models.errors import ModelUnavailable
from inference_server.models.store import ModelStore
from inference_server.risk.analyst.language_model import LanguageModel
from inference_server.risk.analyst.llama.model import LlamaCppModel, LlamaOptions
from inference_server.risk.analyst.openai import OpenAiModel, OpenAiOptions
from inference_server.settings import AnalystBackend, AnalystSettings

EXTRA_REMEDY = "Install the extra llm (uv tool install '.[llm]') and restart the server."


@dataclass(frozen=True, slots=True)
class LocalModel:
    """The file that llama.cpp is to run, and its id in the catalogue or else its name."""

    path: Path
    model_id: str
    name: str


@dataclass(frozen=True, slots=True)
class NoModel:
    """Why there is no language model. `wanted` tells whether the settings ask for one, and somebody has to act."""

    reason: str
    remedy: str
    wanted: bool


type Choice = LocalModel | str | NoModel
"""A model on this machine, the address of a server, or none."""


def choose_model(settings: AnalystSettings, store: ModelStore, suggested: str | None) -> Choice:
    """Return what the settings mean. `suggested` is the model of the tier. Looks at the disk; fetches nothing."""
    if settings.backend is AnalystBackend.OFF:
        return NoModel("The analyst is turned off.", "Set analyst.backend to have events explained.", wanted=False)
    named = settings.model_file is not None or settings.model is not None
    if settings.url is not None and (
        settings.backend is AnalystBackend.OPENAI or (settings.backend is AnalystBackend.AUTO and not named)
    ):
        return settings.url
    wanted = named or settings.backend is AnalystBackend.LLAMA_CPP
    found = _file(settings, store, suggested, wanted=wanted)
    if isinstance(found, LocalModel) and not has_llama_cpp():
        return NoModel(f"{found.name} needs llama-cpp-python, which is not installed.", EXTRA_REMEDY, wanted=wanted)
    return found


def _file(settings: AnalystSettings, store: ModelStore, suggested: str | None, *, wanted: bool) -> LocalModel | NoModel:
    if settings.model_file is not None:
        if not settings.model_file.is_file():
            reason = f"The model file {settings.model_file} does not exist."
            return NoModel(reason, "Correct analyst.model_file, or remove it to use the catalogue.", wanted=True)
        return LocalModel(settings.model_file, settings.model_file.stem, settings.model_file.name)
    model_id = settings.model or suggested
    if model_id is None:
        reason = "No language model is named, and the tier of this machine has none."
        remedy = "Set analyst.model, analyst.model_file or analyst.url to have events explained."
        return NoModel(reason, remedy, wanted=wanted)
    path = store.installed(model_id)
    try:
        name = store.entry(model_id).name
    except ModelUnavailable as error:
        if path is None:
            return NoModel(f"{str(error).rstrip('.')}.", error.remedy, wanted=True)
        name = path.name
    if path is None:
        remedy = f"hsi models pull {model_id}, or set analyst.url to a server elsewhere."
        return NoModel(f"{name} is not installed.", remedy, wanted=wanted)
    return LocalModel(path, model_id, name)


def has_llama_cpp() -> bool:
    """Return whether llama-cpp-python is installed."""
    return importlib.util.find_spec("llama_cpp") is not None


def open_model(chosen: LocalModel | str, settings: AnalystSettings, cores: float) -> LanguageModel:
    """Return the model of a choice; nothing is started yet. `cores` is how many processors may be used."""
    if isinstance(chosen, str):
        key = settings.api_key
        return OpenAiModel(
            OpenAiOptions(
                url=chosen,
                key=key.get_secret_value() if key is not None else None,
                model=settings.model_name,
                sight=settings.sees_pictures,
                thinking=settings.thinking,
                parallel=settings.parallel,
                most_waiting=settings.most_waiting,
                connect_seconds=settings.connect_seconds,
                stall_seconds=settings.stall_seconds,
            )
        )
    return LlamaCppModel(
        LlamaOptions(
            path=chosen.path,
            name=chosen.name,
            context_tokens=settings.context_tokens,
            threads=settings.threads or threads_for(cores),
            gpu_layers=settings.gpu_layers,
            thinking=settings.thinking,
            most_waiting=settings.most_waiting,
            stall_seconds=settings.stall_seconds,
            load_seconds=settings.load_seconds,
        )
    )


def threads_for(cores: float) -> int:
    """Return how many threads compute: one core is left to who judges pictures."""
    return max(1, math.floor(cores) - 1)
