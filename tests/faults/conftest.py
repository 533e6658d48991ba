# SPDX-License-Identifier: AGPL-3.0-or-later
"""Servers that the tests share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scripts.development.inference_server import InferenceServer
from scripts.development.process import free_port
from tests.server.conftest import postgresql, redis, where
from tests.support.weights import models_folder

__all__ = ["postgresql", "redis", "where"]


@pytest.fixture
async def real_server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[InferenceServer]:
    """Give a real server on the real detector, with what the test's module calls SETTINGS; it is not started yet."""
    settings = {
        "HSI_MODELS_DIR": str(models_folder()),
        "HSI_DETECTOR__MODEL": "yolov3-tiny",
        "HSI_MDNS": "false",
        **request.module.SETTINGS,
    }
    server = InferenceServer(tmp_path / "data", port=free_port(), watch_root=tmp_path / "cameras", settings=settings)
    yield server
    await server.stop()
