# SPDX-License-Identifier: AGPL-3.0-or-later
"""The plug is pulled while clips are decoded: each becomes one clip with all of its pictures, once."""

import asyncio
import os
import random
import signal
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest

from inference_server.ingest.clips.decoder import WORKER
from scripts.development.inference_server import InferenceServer
from tests.support.videos import moving, video

CLIPS = 4
SECONDS = 12
KILLS = 4
SETTINGS = {"HSI_INGEST__RESCAN_SECONDS": "2"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


async def test_a_clip_whose_server_dies_is_one_clip_in_the_end(real_server: InferenceServer) -> None:
    await real_server.start()
    await asyncio.to_thread(_record, real_server.watch_root)
    for _ in range(KILLS):
        decoder = await _decoder(real_server)
        await asyncio.sleep(random.uniform(0, 0.6))
        os.kill(real_server.process.pid, signal.SIGKILL)
        await real_server.process.wait()
        await _gone(decoder)
        await real_server.start()
    await _all_judged(real_server)
    await real_server.stop()
    _assert_nothing_is_missing_or_left(real_server)


def _record(root: Path) -> None:
    for number in range(CLIPS):
        folder = root / f"camera_{number}"
        folder.mkdir(parents=True)
        scene = moving((640, 360), seed=number)
        (folder / "clip.mp4").write_bytes(video(seconds=SECONDS, size=(640, 360), scene=scene))


async def _decoder(server: InferenceServer) -> psutil.Process | None:
    """Wait for the process that decodes a clip; None if all of them are decoded."""
    me = psutil.Process(server.process.pid)
    async with asyncio.timeout(60):
        while _one(server, "SELECT count(*) FROM clips") < CLIPS:
            for child in await asyncio.to_thread(me.children):
                if WORKER in child.cmdline():
                    return child
            await asyncio.sleep(0.02)
    return None


async def _gone(process: psutil.Process | None) -> None:
    """Wait until a process has ended; nobody may have asked for its exit code yet."""
    with suppress(psutil.NoSuchProcess):
        async with asyncio.timeout(1):
            while process and process.status() != psutil.STATUS_ZOMBIE:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.02)


async def _all_judged(server: InferenceServer) -> None:
    async with asyncio.timeout(120):
        while (  # noqa: ASYNC110 - another process writes what is waited for
            _one(server, "SELECT count(*) FROM clips") < CLIPS or _one(server, "SELECT count(*) FROM messages") > 0
        ):
            await asyncio.sleep(0.2)


def _assert_nothing_is_missing_or_left(server: InferenceServer) -> None:
    assert _one(server, "SELECT count(*) FROM clips") == CLIPS
    assert _one(server, "SELECT count(*) FROM arrivals WHERE clip_id IS NOT NULL") == CLIPS
    assert _one(server, "SELECT count(*) FROM dead_letters") == 0
    per_clip = "SELECT {}(pictures) FROM (SELECT count(*) AS pictures FROM frames GROUP BY clip_id)"
    assert SECONDS <= _one(server, per_clip.format("min")) == _one(server, per_clip.format("max"))
    stored = {path for path in (server.directory / "media").rglob("*") if path.is_file()}
    assert len(stored) == CLIPS + _one(server, "SELECT count(*) FROM frames")


def _one(server: InferenceServer, query: str) -> int:
    with closing(sqlite3.connect(f"file:{server.directory / 'hsi.db'}?mode=ro", uri=True, timeout=30)) as connection:
        value: int = connection.execute(query).fetchone()[0]
    return value
