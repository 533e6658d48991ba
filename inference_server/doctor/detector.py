# SPDX-License-Identifier: AGPL-3.0-or-later
"""The detector: there, whole, and how long it takes for a picture."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np

from inference_server.core.diagnosis import Finding, ok, problem, warning
from inference_server.detection.backends.opening import default_loaders, open_detector, quantised_below
from inference_server.detection.backends.remote import RemoteDetector
from inference_server.detection.detector import Detector, Picture
from inference_server.detection.errors import DetectorElsewhereError, DetectorLied, DetectorUnusable
from inference_server.hardware.tiers import Tier
from inference_server.models.store import ModelStore, ResolvedModel
from inference_server.settings import Backend, RemoteFallback, Settings

RUNS = 3
SLOW_MILLISECONDS = 1000
SIZE = (540, 960)
"""Height and width of the picture, as a camera's is after it was decoded small."""


def look(settings: Settings, tier: Tier, running: Callable[[], Detector | None]) -> Iterator[Finding]:
    """Infer a picture, with the detector that runs in this process or else with the one that the settings mean.

    Nothing is downloaded. It blocks for seconds.
    """
    detector = running()
    if detector is not None:
        yield _tried(detector, "runs")
        return
    store = ModelStore(settings.models_folder, offline=settings.models.offline_folder)
    wanted = settings.detector.model or tier.detector
    candidates = dict.fromkeys((wanted, *tier.smaller_detectors, settings.detector.fallback_model))
    installed = ((model, store.installed(model)) for model in candidates if model)
    model_id, path = next(((model, path) for model, path in installed if path is not None), (wanted, None))
    if settings.detector.model_file is not None:
        model_id, path = settings.detector.model_file.stem, settings.detector.model_file
    if path is None:
        yield warning(
            "detector",
            f"{wanted} is not installed, nor is another detector: it is fetched at the next start",
            f"hsi models pull {wanted}, or put {wanted}.onnx into {settings.models_folder}.",
        )
        return
    try:
        model = ResolvedModel(path, model_id, model_id)
        opened = open_detector(
            model,
            settings.detector.here,
            default_loaders(settings.models_folder / "engines"),
            quantised=quantised_below(settings.models_folder),
        )
    except MemoryError as error:
        yield problem("detector", str(error), "End what else uses the memory, or choose a smaller model.")
        return
    except DetectorUnusable as error:
        yield problem("detector", str(error), _other_than(path, model_id, settings))
        return
    if opened.shortfall is not None:
        yield warning("detector", opened.shortfall.fact(opened.detector.provider), opened.shortfall.remedy)
    how = "can be loaded" if model_id == wanted else f"can be loaded, and stands in for {wanted}"
    yield _tried(opened.detector, how)


async def elsewhere(settings: Settings) -> Iterator[Finding]:
    """Have the detector service that the settings name judge a grey picture."""
    remote = settings.detector.remote
    if settings.detector.backend is not Backend.REMOTE or remote.url is None:
        return iter(())
    there = RemoteDetector(settings.detector)
    try:
        await there.try_out()
    except (DetectorElsewhereError, DetectorLied) as error:
        told = warning if remote.fallback is RemoteFallback.LOCAL else problem
        stands_in = " The detector here judges meanwhile." if remote.fallback is RemoteFallback.LOCAL else ""
        remedy = error.remedy if isinstance(error, DetectorElsewhereError) else "Update the detector service."
        return iter((told("detector", f"{str(error).rstrip('.')}.{stands_in}", remedy),))
    finally:
        await there.close()
    return iter((ok("detector", f"{there.name} judges on {there.provider}"),))


def _other_than(path: Path, model_id: str, settings: Settings) -> str:
    """Return what to do about a model that cannot be used."""
    if path == settings.detector.model_file:
        return "Correct detector.model_file (HSI_DETECTOR__MODEL_FILE), or remove that setting."
    return f"Remove {path}, and have it fetched anew: hsi models pull {model_id}."


def _tried(detector: Detector, how: str) -> Finding:
    picture = Picture(np.full((*SIZE, 3), 114, np.uint8), SIZE[1], SIZE[0])
    took = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        detector.detect([picture])
        took.append((time.perf_counter() - begun) * 1000)
    found = f"{detector.name} {how} on {detector.provider}: {median(took):.0f} ms a picture"
    if median(took) > SLOW_MILLISECONDS:
        return warning("detector", found, "Choose a smaller model, or give it more processors (detector.threads).")
    return ok("detector", found)
