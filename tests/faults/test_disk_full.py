# SPDX-License-Identifier: AGPL-3.0-or-later
"""A small real disk fills up under a real server: it makes room, then refuses, then goes on, and nothing is lost."""

import asyncio
import os
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from inference_server.storage import disk
from scripts.development.inference_server import InferenceServer
from scripts.development.process import free_port
from tests.support import scenes
from tests.support.weights import models_folder

SIZE = 24 << 20
PADDING = b"p" * 60_000
"""Makes a picture of nobody as large as one of somebody."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a disk of its own, in memory."""
    yield from _mounted(tmp_path / "disk", f"size={SIZE}")


def _mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], capture_output=True, text=True, check=False
    )
    if mount.returncode:
        pytest.skip(f"a disk cannot be mounted here: {mount.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


class House:
    """A server whose data lie on the small disk, and whose cameras' folders lie elsewhere."""

    def __init__(self, server: InferenceServer, small_disk: Path) -> None:
        """Take the server, which does not run yet."""
        self.server = server
        self._disk = small_disk
        self._ballast = small_disk / "ballast"

    async def upload(self, count: int) -> list[Path]:
        """Let a camera upload pictures of nobody."""
        folder = self.server.watch_root / "front_door"
        return [scenes.drop(folder, scenes.encode(scenes.nobody(), comment=PADDING)) for _ in range(count)]

    def fill(self, percent: float) -> None:
        """Let other things take so much that the disk is this full."""
        taken = self._ballast.stat().st_size if self._ballast.exists() else 0
        (use,), _ = disk.look([("media", self._disk)])
        wanted = taken + int(SIZE * (percent - use.used_percent) / 100)
        with self._ballast.open("r+b" if taken else "wb") as file:
            file.truncate(min(taken, max(0, wanted)))
            file.seek(0, os.SEEK_END)
            file.write(bytes(max(0, wanted - taken)))

    def age(self, days: float) -> None:
        """Make what is stored older, while the server does not run."""
        by = timedelta(days=days)
        for path in (self.server.directory / "media").rglob("*.jpg"):
            status = path.stat()
            os.utime(path, (status.st_atime - by.total_seconds(), status.st_mtime - by.total_seconds()))
        with closing(sqlite3.connect(self._database)) as connection, connection:
            for id_, arrived_at in connection.execute("SELECT id, arrived_at FROM frames").fetchall():
                earlier = datetime.fromisoformat(arrived_at) - by
                values = (earlier.strftime("%Y-%m-%d %H:%M:%S.%f"), id_)
                connection.execute("UPDATE frames SET arrived_at = ? WHERE id = ?", values)

    def count(self, query: str) -> int:
        """Return a number from the database."""
        with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True, timeout=30)) as connection:
            value: int = connection.execute(query).fetchone()[0]
        return value

    def judged(self) -> int:
        """Return how many pictures were judged; those that wait are none of them."""
        return self.count("SELECT (SELECT count(*) FROM frames) - (SELECT count(*) FROM messages)")

    async def health(self, name: str) -> dict[str, Any]:
        """Return a component's report."""
        headers = {"Authorization": f"Bearer {self.server.token}"}
        async with (
            aiohttp.ClientSession(self.server.url, headers=headers) as http,
            http.get("/api/system/health/full") as answer,
        ):
            components = (await answer.json())["components"]
        return next((component for component in components if component["name"] == name), {})

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds that another process brings about."""
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110 - another process writes what is waited for
                await asyncio.sleep(0.1)

    async def until_reported(self, name: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until a component's report is such, and return it."""
        async with asyncio.timeout(60):
            while not ((report := await self.health(name)) and condition(report)):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.2)
        return report

    @property
    def _database(self) -> Path:
        return self.server.directory / "hsi.db"


@pytest.fixture
async def house(tmp_path: Path, small_disk: Path) -> AsyncIterator[House]:
    """Give a house with a small disk."""
    settings = {
        "HSI_MODELS_DIR": str(models_folder()),
        "HSI_DETECTOR__MODEL": "yolov3-tiny",
        "HSI_MDNS": "false",
        "HSI_INGEST__RESCAN_SECONDS": "1",
    }
    cameras = tmp_path / "cameras"
    server = InferenceServer(small_disk / "data", port=free_port(), watch_root=cameras, settings=settings)
    yield House(server, small_disk)
    await server.stop()


async def test_a_disk_fills_up_and_is_emptied_again(house: House) -> None:
    await house.server.start()
    old = await house.upload(40)
    await house.until(lambda: house.judged() == len(old))
    await house.server.stop()
    house.age(days=3)
    await house.server.start()
    young = await house.upload(20)
    await house.until(lambda: house.judged() == len(old + young))
    assert (await house.until_reported("disk", lambda report: report["details"]["refusing"] is False))["state"] == "ok"

    house.fill(91.5)  # what is old has to go
    report = await house.until_reported("disk", lambda report: report["details"]["deleted_early"] > 0)
    assert report["details"]["used_percent"] < 90
    kept = house.count("SELECT count(*) FROM frames WHERE arrived_at > datetime('now', '-1 day')")
    assert kept == len(young)

    house.fill(96)  # whatever may go goes, and still no picture is let in
    report = await house.until_reported("disk", lambda report: report["details"]["refusing"] is True)
    assert report["state"] == "down"
    assert "Pictures are let in again below 93 %." in report["remedy"]
    arrived = house.count("SELECT count(*) FROM arrivals")
    waiting = await house.upload(5)
    await house.until_reported("ingest", lambda report: "96 % full" in str(report["last_error"]))
    assert house.count("SELECT count(*) FROM arrivals") == arrived
    assert all(file.exists() for file in (*old, *young, *waiting))

    house.fill(86)
    await house.until_reported("disk", lambda report: report["details"]["refusing"] is False)
    await house.until(lambda: house.count("SELECT count(*) FROM arrivals") == arrived + len(waiting))
    await house.until(lambda: house.judged() == len(young) + len(waiting))
    assert (await house.health("ingest"))["state"] == "ok"
    assert house.count("SELECT count(*) FROM dead_letters") == 0
    assert house.count("SELECT count(*) FROM arrivals WHERE refusal_reason IS NOT NULL") == 0
    # what went is remembered: no scan admits it again
    assert house.count("SELECT count(*) FROM arrivals WHERE frame_id IS NULL") == len(old)
    await house.server.stop()
    _assert_files_and_rows_agree(house)


def _assert_files_and_rows_agree(house: House) -> None:
    media = house.server.directory / "media"
    with closing(sqlite3.connect(house.server.directory / "hsi.db")) as connection:
        rows = {media / row[0] for row in connection.execute("SELECT media_path FROM frames")}
    assert {path for path in media.rglob("*") if path.is_file()} == rows


def test_inodes_of_a_real_disk_run_out(tmp_path: Path) -> None:
    mounted = _mounted(tmp_path / "disk", "size=10m,nr_inodes=101")
    folder = next(mounted)
    for number in range(96):
        (folder / str(number)).touch()
    (use,), problems = disk.look([("media", folder)])
    assert problems == []
    assert use.used_percent < 5
    assert use.inodes_used_percent is not None
    assert 95 <= use.fullness == use.inodes_used_percent <= 97
    next(mounted, None)
