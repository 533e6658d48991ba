# SPDX-License-Identifier: AGPL-3.0-or-later
"""The real detector and the real picture."""

import pytest

from inference_server.detection.onnx_detector import OnnxDetector
from inference_server.settings import DetectorSettings
from scripts.development.samples import BUS, sample_path
from tests.support.weights import detector_model_path


@pytest.fixture(scope="session")
def bus_jpeg() -> bytes:
    """A street with a bus, three people and half of a fourth."""
    return sample_path(BUS).read_bytes()


@pytest.fixture(scope="session")
def real_detector() -> OnnxDetector:
    """YOLOv3-tiny with the default settings."""
    return OnnxDetector(detector_model_path(), DetectorSettings(), name="YOLOv3-tiny")
