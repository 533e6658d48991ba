# SPDX-License-Identifier: AGPL-3.0-or-later
"""Detectors for tests and benchmarks, opened as the server opens them."""

from pathlib import Path

from inference_server.detection.backends.opening import default_loaders, open_detector
from inference_server.detection.detector import Detector
from inference_server.models.store import ResolvedModel
from inference_server.settings import Backend, DetectorSettings, Device

ON_THE_PROCESSOR = DetectorSettings(backend=Backend.ONNX, device=Device.CPU)


def detector_on(path: Path, settings: DetectorSettings = ON_THE_PROCESSOR, *, name: str | None = None) -> Detector:
    """Return a detector on a model file, on exactly what the settings name. Raises DetectorUnusable."""
    model = ResolvedModel(path, path.stem, name or path.stem)
    opened = open_detector(model, settings, default_loaders(path.parent / "engines"))
    assert opened.shortfall is None, opened.shortfall
    return opened.detector
