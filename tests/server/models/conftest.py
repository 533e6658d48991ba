# SPDX-License-Identifier: AGPL-3.0-or-later
"""The real weights and the catalogue's entries."""

from pathlib import Path

import pytest

from inference_server.models.catalogue import CATALOGUE, HttpsSource, ModelEntry
from tests.support.weights import models_folder


@pytest.fixture(scope="session")
def real_weights() -> Path:
    """The Darknet weights of YOLOv3-tiny."""
    return models_folder() / "downloads" / "yolov3-tiny.weights"


@pytest.fixture(scope="session")
def tiny() -> ModelEntry:
    """The catalogue's entry of YOLOv3-tiny."""
    return next(entry for entry in CATALOGUE if entry.id == "yolov3-tiny")


@pytest.fixture(scope="session")
def yolo26n() -> ModelEntry:
    """The catalogue's entry of YOLO26n."""
    return next(entry for entry in CATALOGUE if entry.id == "yolo26n")


@pytest.fixture
def nowhere(unused_tcp_port: int) -> HttpsSource:
    """A source on a port at which nobody listens."""
    return HttpsSource(f"http://127.0.0.1:{unused_tcp_port}/weights")
