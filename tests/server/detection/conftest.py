# SPDX-License-Identifier: AGPL-3.0-or-later
"""The real detector and the real picture."""

import pytest

from inference_server.detection.detector import Detector
from scripts.development.samples import BUS, sample_path
from tests.support.detectors import detector_on
from tests.support.weights import detector_model_path


@pytest.fixture(scope="session")
def bus_jpeg() -> bytes:
    """A street with a bus, three people and half of a fourth."""
    return sample_path(BUS).read_bytes()


@pytest.fixture(scope="session")
def real_detector() -> Detector:
    """YOLOv3-tiny with the default settings."""
    return detector_on(detector_model_path(), name="YOLOv3-tiny")
