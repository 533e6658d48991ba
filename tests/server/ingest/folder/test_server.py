# SPDX-License-Identifier: AGPL-3.0-or-later
"""From a file in a further root, which is polled, to what the API answers: through the whole server."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from inference_server.app import Server
from inference_server.settings import Settings
from scripts.development.process import free_port
from tests.support.pictures import jpeg

PICTURE = jpeg(1, size=(640, 480))


@asynccontextmanager
async def _serving(settings: Settings) -> AsyncIterator[aiohttp.ClientSession]:
    """Serve during the block; the session speaks to the API with the server's token."""
    stop = asyncio.Event()
    serving = asyncio.create_task(Server(settings).run(stop))
    token = settings.data_dir / "token"
    async with asyncio.timeout(20):
        while not token.exists():
            assert not serving.done()
            await asyncio.sleep(0.01)
    headers = {"Authorization": f"Bearer {token.read_text().strip()}"}
    url = f"http://127.0.0.1:{settings.api.port}"
    async with aiohttp.ClientSession(url, headers=headers) as session:
        await _until_it_answers(session)
        yield session
    stop.set()
    await serving


async def _until_it_answers(session: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                async with session.get("/api/system/health"):
                    return
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.02)


async def _until(session: aiohttp.ClientSession, path: str, words: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            async with session.get(path) as response:
                answer = await response.text()
                if words in answer:
                    found: dict[str, Any] = await response.json()
                    return found
            await asyncio.sleep(0.02)


def _arrived(settings: Settings) -> set[str]:
    with closing(sqlite3.connect(settings.data_dir / "hsi.db")) as database:
        return {path for (path,) in database.execute("SELECT path FROM arrivals")}


async def _until_arrived(settings: Settings, path: str) -> None:
    async with asyncio.timeout(20):
        while path not in _arrived(settings):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.02)


async def test_each_root_s_cameras_and_health_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nas = tmp_path / "nas"
    (nas / "garage").mkdir(parents=True)
    old = nas / "garage" / "old.jpg"
    old.write_bytes(PICTURE)
    os.utime(old, (1.7e9, 1.7e9))
    monkeypatch.setenv("HSI_INGEST__MORE_ROOTS", f'[{{"path": "{nas}", "mode": "polling", "poll_seconds": 0.1}}]')
    monkeypatch.setenv("HSI_INGEST__IGNORE", '["*thumb*"]')
    monkeypatch.setenv("HSI_API__PORT", str(free_port()))
    monkeypatch.setenv("HSI_DETECTOR__MODEL_FILE", str(old))
    monkeypatch.setenv("HSI_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("HSI_MDNS", "false")
    settings = Settings()
    async with _serving(settings) as session:
        await _until(session, "/api/system/health/full", f"ingest:{nas}")
        (nas / "porch" / "2026-11-23").mkdir(parents=True)
        for name in ("thumb.jpg", "1.jpg"):
            (nas / "porch" / "2026-11-23" / name).write_bytes(PICTURE)
        (settings.watch_folder / "front").mkdir()
        (settings.watch_folder / "front" / "1.jpg").write_bytes(PICTURE)
        await _until(session, "/api/cameras", "porch")
        cameras = await _until(session, "/api/cameras", "front")
        assert {camera["id"] for camera in cameras["items"]} == {"front", "porch"}
        health = await _until(session, "/api/system/health/full", f"ingest:{nas}")
        async with session.patch("/api/cameras/front", json={"ignore_patterns": ["*small*"]}) as response:
            assert response.status == 200
        for number, name in enumerate(("2_small.jpg", "2.jpg")):
            (settings.watch_folder / "front" / name).write_bytes(jpeg(2 + number, size=(640, 480)))
        await _until_arrived(settings, "front/2.jpg")
    arrived = _arrived(settings)
    assert arrived == {f"{nas}/garage/old.jpg", f"{nas}/porch/2026-11-23/1.jpg", "front/1.jpg", "front/2.jpg"}
    components = {component["name"]: component for component in health["components"]}
    assert components["ingest"]["details"]["watched_by"] == "inotify"
    assert components[f"ingest:{nas}"]["state"] == "ok"
    assert components[f"ingest:{nas}"]["details"] == {
        "watching": str(nas),
        "watched_by": "polling every 0.1 s",
        "because": "so it is set",
    }
