# SPDX-License-Identifier: AGPL-3.0-or-later
"""A busy server is saved, its data folder is lost, and a new one goes on from the backup."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image

from inference_server.api.schema import SCHEMA_VERSION
from inference_server.storage.backup.counters import LEAST_LEAP
from scripts.development.inference_server import InferenceServer
from scripts.development.process import free_port
from scripts.development.samples import BUS, sample_path
from tests.support.pictures import numbered_jpeg
from tests.support.weights import models_folder

FIRST = 10
"""Pictures before the backup begins."""
CAMERA = "front_door"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def _server(folder: Path) -> InferenceServer:
    settings = {
        "HSI_MODELS_DIR": str(models_folder()),
        "HSI_DETECTOR__MODEL": "yolov3-tiny",
        "HSI_MDNS": "false",
        "HSI_BATCH__IDLE_SECONDS": "2",
        "HSI_BATCH__WINDOW_SECONDS": "9",
    }
    return InferenceServer(folder / "data", port=free_port(), watch_root=folder / "cameras", settings=settings)


async def test_a_new_server_goes_on_from_the_backup_of_a_busy_one(tmp_path: Path) -> None:
    old = _server(tmp_path / "old")
    await old.start()
    try:
        enough = asyncio.Event()
        writing = asyncio.create_task(_write_until(enough, old.watch_root / CAMERA))
        await _until(old.directory / "hsi.db", "SELECT count(*) FROM frames", FIRST)
        assert await _hsi(old, "backup", "--output", tmp_path / "backup.tar") == 0
        enough.set()
        written = await writing
        await _until(old.directory / "hsi.db", "SELECT count(*) FROM frames", written)
        token, server_id = old.token, (await _get(old, old.token, "/api/system/info"))["server_id"]
        heard = (await _subscribed(old, token, None))["sequence"]
    finally:
        await old.process.kill()

    new = _server(tmp_path / "new")
    assert await _hsi(new, "restore", tmp_path / "backup.tar") == 0
    saved = _one(new.directory / "hsi.db", "SELECT count(*) FROM frames")
    assert FIRST <= saved < written
    astray = "SELECT count(*) FROM messages WHERE stage <> 'close' AND subject_id NOT IN (SELECT id FROM frames)"
    assert _one(new.directory / "hsi.db", astray) == 0
    await new.start()
    try:
        assert (await _get(new, token, "/api/system/info"))["server_id"] == server_id  # and the token is still right
        for sequence in (heard, 1, saved):
            answer = await _subscribed(new, token, sequence)
            assert answer["type"] == "snapshot"
            assert answer["sequence"] > heard + LEAST_LEAP - 1
        await _until(new.directory / "hsi.db", "SELECT count(*) = 0 FROM messages", 1)
        info = await _get(new, token, "/api/system/info")
        assert (info["queue_depth"], info["dead_letters"]) == (0, 0)
    finally:
        await new.stop()
    _assert_whole(new.directory, saved)


def _assert_whole(folder: Path, saved: int) -> None:
    database = folder / "hsi.db"
    assert _one(database, "SELECT count(*) FROM frames") == saved
    assert _one(database, "SELECT count(*) FROM frames WHERE pruned_at IS NOT NULL") == 0
    with closing(sqlite3.connect(database)) as connection:
        paths = [row[0] for row in connection.execute("SELECT media_path FROM frames")]
    assert [path for path in paths if not (folder / "media" / path).is_file()] == []
    seen = _one(database, "SELECT count(DISTINCT frame_id) FROM detections")
    assert seen == saved  # each was judged, once
    assert _one(database, "SELECT sum(frame_count) FROM events") == seen
    assert _one(database, "SELECT count(*) FROM events WHERE ended_at IS NULL") == 0


async def _write_until(enough: asyncio.Event, folder: Path) -> int:
    original = Image.open(sample_path(BUS)).convert("RGB").resize((960, 720))
    folder.mkdir(parents=True, exist_ok=True)
    number = 0
    while not enough.is_set() or number % 5:
        content = await asyncio.to_thread(numbered_jpeg, original, number)
        (folder / f"{number:04}.jpg").write_bytes(content)
        number += 1
        await asyncio.sleep(0.1)  # as a camera does
    return number


async def _hsi(server: InferenceServer, *arguments: str | Path) -> int:
    command = server._child("hsi", *map(str, arguments), log=server.directory.parent / "command.log")
    server.directory.parent.mkdir(parents=True, exist_ok=True)
    await command.start()
    return await command.wait()


async def _get(server: InferenceServer, token: str, path: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(server.url, headers=headers) as session, session.get(path) as answer:
        assert answer.ok, await answer.text()
        found: dict[str, Any] = await answer.json()
        return found


async def _subscribed(server: InferenceServer, token: str, sequence: int | None) -> dict[str, Any]:
    async with aiohttp.ClientSession(server.url) as session, session.ws_connect("/api/ws") as socket:
        await socket.receive_json(timeout=10)
        await socket.send_json({"type": "auth", "token": token, "schema_version": SCHEMA_VERSION})
        await socket.receive_json(timeout=10)
        await socket.send_json({"type": "subscribe", "last_sequence": sequence})
        answer: dict[str, Any] = await socket.receive_json(timeout=10)
        return answer


async def _until(database: Path, query: str, least: int) -> None:
    async with asyncio.timeout(120):
        while _one(database, query) < least:  # noqa: ASYNC110 - another process writes what is waited for
            await asyncio.sleep(0.1)


def _one(database: Path, query: str) -> int:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
        value: int = connection.execute(query).fetchone()[0]
    return value
