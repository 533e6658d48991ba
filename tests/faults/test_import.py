# SPDX-License-Identifier: AGPL-3.0-or-later
"""The plug is pulled while old pictures are imported: each becomes one frame, and live ones are not held up."""

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from scripts.development.inference_server import InferenceServer
from scripts.development.process import free_port
from tests.support.pictures import jpeg

OLD_PICTURES = 240
KILLS = 3
DAY = 86400

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[InferenceServer]:
    """A real server that imports, without a detector: what it admits waits."""
    no_model = tmp_path / "none.onnx"
    no_model.write_bytes(b"no model")
    settings = {
        "HSI_DETECTOR__MODEL_FILE": str(no_model),
        "HSI_MDNS": "false",
        "HSI_INGEST__MIN_BYTES": "1",
        "HSI_INGEST__EXISTING_FILES": "import",
        "HSI_INGEST__WATCH_MODE": "polling",
        "HSI_INGEST__POLL_SECONDS": "0.1",
    }
    server = InferenceServer(tmp_path / "data", port=free_port(), watch_root=tmp_path / "cameras", settings=settings)
    yield server
    await server.stop()


async def test_kills_during_an_import_lose_nothing_and_repeat_nothing(server: InferenceServer) -> None:
    await asyncio.to_thread(_lay_old_pictures, server.watch_root)
    database = server.directory / "hsi.db"
    await server.start()
    for kill in range(KILLS):
        await _until(database, "SELECT count(*) FROM frames", (kill + 1) * OLD_PICTURES // (KILLS + 3))
        live = server.watch_root / "front" / f"{kill}.jpg"
        live.parent.mkdir(exist_ok=True)
        live.write_bytes(jpeg(1000 + kill))
        await server.process.kill()
        await server.start()
    await _until(database, "SELECT count(*) FROM watch_roots WHERE finished_at IS NOT NULL", 1)
    await _until(database, "SELECT count(*) FROM arrivals", OLD_PICTURES + KILLS)
    await server.stop()
    assert _one(database, "SELECT count(*) FROM frames") == OLD_PICTURES + KILLS
    assert _one(database, "SELECT count(DISTINCT frame_id) FROM arrivals") == OLD_PICTURES + KILLS
    assert _one(database, "SELECT count(*) FROM messages WHERE priority = 1 AND camera_id = 'old'") == OLD_PICTURES
    assert _one(database, "SELECT count(*) FROM messages WHERE priority = 0 AND camera_id = 'front'") == KILLS


def _lay_old_pictures(root: Path) -> None:
    for number in range(OLD_PICTURES):
        path = root / "old" / f"2026-01-{1 + number % 28:02}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(number))
        seconds = time.time() - DAY - number
        os.utime(path, (seconds, seconds))


async def _until(database: Path, query: str, count: int) -> None:
    async with asyncio.timeout(120):
        while _one(database, query) < count:  # noqa: ASYNC110 - another process writes what is waited for
            await asyncio.sleep(0.05)


def _one(database: Path, query: str) -> int:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
        value: int = connection.execute(query).fetchone()[0]
    return value
