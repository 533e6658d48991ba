# SPDX-License-Identifier: AGPL-3.0-or-later
"""The plug is pulled at random moments while pictures pour in: nothing is lost, nothing happens twice."""

import asyncio
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest
from PIL import Image

from scripts.development.inference_server import InferenceServer
from scripts.development.samples import BUS, TWO_PEOPLE, sample_path
from tests.support.pictures import numbered_jpeg

PICTURES = 200
KILLS = 10
CAMERAS = ("front_door", "driveway", "garden")
SETTINGS = {"HSI_BATCH__IDLE_SECONDS": "3", "HSI_BATCH__WINDOW_SECONDS": "9"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


async def test_ten_kills_during_a_burst_lose_nothing_and_repeat_nothing(real_server: InferenceServer) -> None:
    await real_server.start()
    writing = asyncio.create_task(_write_burst(real_server.watch_root))
    for _ in range(KILLS):
        await asyncio.sleep(random.uniform(0.1, 1.5))
        await real_server.process.kill()
        await real_server.start()
    await writing
    await _drained(real_server)
    await real_server.stop()
    _assert_ledger_balances(real_server.directory / "hsi.db", real_server.watch_root)


async def _write_burst(root: Path) -> None:
    originals = [Image.open(sample_path(sample)).convert("RGB").resize((960, 720)) for sample in (BUS, TWO_PEOPLE)]
    for number in range(PICTURES):
        folder = root / CAMERAS[number % len(CAMERAS)]
        folder.mkdir(parents=True, exist_ok=True)
        content = await asyncio.to_thread(numbered_jpeg, originals[number % 2], number)
        target = folder / f"{number:04}.jpg"
        if number % 3:
            target.write_bytes(content)
        else:
            partial = target.with_suffix(".part")
            partial.write_bytes(content)
            partial.rename(target)
        await asyncio.sleep(0.03)


async def _drained(server: InferenceServer) -> None:
    """Wait until every file was looked at, nothing waits, and every event has ended."""
    database = server.directory / "hsi.db"
    async with asyncio.timeout(240):
        while (  # noqa: ASYNC110 - another process writes what is waited for
            _one(database, "SELECT count(*) FROM arrivals") < PICTURES
            or _one(database, "SELECT count(*) FROM messages") > 0
        ):
            await asyncio.sleep(0.2)
    headers = {"Authorization": f"Bearer {server.token}"}
    async with (
        aiohttp.ClientSession(server.url, headers=headers) as session,
        session.get("/api/system/info") as answer,
    ):
        info = await answer.json()
    assert (info["queue_depth"], info["dead_letters"]) == (0, 0)


def _assert_ledger_balances(database: Path, root: Path) -> None:
    files = len(list(root.rglob("*.jpg")))
    assert files == PICTURES
    assert _one(database, "SELECT count(*) FROM frames") == files
    assert _one(database, "SELECT count(DISTINCT camera_id || content_hash) FROM frames") == files
    assert _one(database, "SELECT count(*) FROM arrivals WHERE frame_id IS NULL") == 0
    assert _one(database, "SELECT count(DISTINCT frame_id) FROM arrivals") == files
    # every detection belongs to one event, of its own camera, and every frame was looked at once
    assert _one(database, "SELECT count(*) FROM detections") >= files
    assert _one(database, "SELECT count(*) FROM detections WHERE event_id IS NULL") == 0
    assert (
        _one(
            database,
            "SELECT count(*) FROM detections d JOIN frames f ON f.id = d.frame_id JOIN events e ON e.id = d.event_id "
            "WHERE e.camera_id <> f.camera_id",
        )
        == 0
    )
    seen = _one(database, "SELECT count(DISTINCT frame_id) FROM detections")
    assert _one(database, "SELECT sum(frame_count) FROM events") == seen
    assert _one(database, "SELECT count(*) FROM events WHERE ended_at IS NULL") == 0
    # what was announced is as it is stored: one opening and one end of each event, in an unbroken sequence
    for kind in ("event_detected", "event_ended"):
        announced = "SELECT count(*) FROM announcements WHERE json_extract(body, '$.kind') = ?"
        assert _one(database, announced, kind) == _one(database, "SELECT count(*) FROM events")
    assert _one(database, "SELECT count(*) - max(sequence) FROM announcements") == 0
    assert _one(database, "SELECT count(*) FROM messages") == 0
    assert _one(database, "SELECT count(*) FROM dead_letters") == 0


def _one(database: Path, query: str, *parameters: str) -> int:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
        value: int = connection.execute(query, parameters).fetchone()[0]
    return value
