# SPDX-License-Identifier: AGPL-3.0-or-later
"""The real weights and the catalogue's entries, and a small model of several files."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from inference_server.core.model import Capability
from inference_server.models.catalogue import CATALOGUE, HttpsSource, ModelEntry, Source, Weights
from tests.support.home import sample_model
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


def weights(name: str, content: bytes, *sources: Source, pinned: bool = True) -> Weights:
    """Return a file of this content; without a digest its size is about right only."""
    digest = hashlib.sha256(content).hexdigest() if pinned else None
    return Weights(name, len(content), digest, sources, size_exact=pinned)


def model(*files: Weights, model_id: str = "sample", capability: Capability = Capability.DEPTH) -> ModelEntry:
    """Return a model that is loaded as it is downloaded."""
    return replace(sample_model(), id=model_id, files=files, capability=capability)
