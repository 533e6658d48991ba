# SPDX-License-Identifier: AGPL-3.0-or-later
"""The disk is full, or may not be written: pictures wait where they are, health says so, and it goes on by itself."""

import asyncio
import errno
import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.faults.house import House, house, tells
from tests.support.privileges import NOBODY, public_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SIZE = "12m"
UNPREPARED = {
    f"HSI_DISK__{name}_PERCENT": percent
    for name, percent in {
        "WARN": "99.6",
        "PRUNE_TO": "99.7",
        "PRUNE": "99.8",
        "RESUME": "99.8",
        "REFUSE": "99.9",
    }.items()
}
"""Lets the disk become full: as a rule no picture is let in before it is."""


@contextmanager
def _disk(folder: Path) -> Iterator[Path]:
    """Mount a small disk; skip the test where that is not allowed."""
    folder.mkdir(parents=True)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", folder], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip(f"only the superuser may mount a small disk ({made.stderr.decode().strip()})")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def _fill(folder: Path, left: int = 0) -> Path:
    """Fill a disk, but for so many bytes, and return the file to delete."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        file.truncate(max(0, file.tell() - left))
    return ballast


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give the folder of a home."""
    return tmp_path / "home"


@pytest.mark.parametrize("full", ["data", "data/media", "data/database"])
async def test_nothing_is_lost_while_there_is_no_room(folder: Path, full: str) -> None:
    with _disk(folder / full) as disk:
        database = disk / "hsi.db" if full == "data/database" else None
        async with house(folder, database=database, more=UNPREPARED) as home:
            home.start()
            async with home.pouring(pictures=100):
                await home.until_up()
                await home.until_judged()
                ballast = _fill(disk)
                told = await home.until_health(lambda told: tells(told.get("ingest")))
                assert "Free disk space" in told["ingest"]["remedy"]
                await home.until_health(lambda told: tells(told.get("disk")))
                assert home.servers[0].running
                ballast.unlink()
                await home.until_judged()
            await home.well_again()


async def test_nothing_is_lost_when_room_runs_out_at_any_point_of_a_write(folder: Path) -> None:
    """A little room lets some writes begin: of a picture, of the write-ahead log, of its transfer to the database."""
    with _disk(folder / "data") as disk:
        async with house(folder, more=UNPREPARED) as home:
            home.start()
            async with home.pouring(pictures=150, pause=0.03):
                await home.until_up()
                await home.until_judged()
                for _ in range(12):
                    ballast = _fill(disk, left=random.randrange(0, 200_000, 4096))
                    await asyncio.sleep(random.uniform(0.2, 0.8))
                    assert home.servers[0].running
                    await home.balanced()
                    ballast.unlink()
                    await asyncio.sleep(0.2)
            await home.well_again()


async def test_a_server_that_is_killed_on_a_full_disk_starts_there_and_goes_on(folder: Path) -> None:
    with _disk(folder / "data") as disk:
        async with house(folder) as home:
            home.start()
            async with home.pouring():
                await home.until_up()
                await home.until_judged()
                ballast = _fill(disk)
                await home.until_health(lambda told: tells(told.get("disk")))
                await home.servers[0].kill()
                home.start()
                await home.until_health(lambda told: tells(told.get("disk")))
                ballast.unlink()
            await home.well_again()


@contextmanager
def _others_folder() -> Iterator[Path]:
    """Give a folder for a server that is not the superuser, whom no permission holds back."""
    if os.geteuid() != 0:
        pytest.skip("only the superuser may run a server as another user")
    with public_folder() as folder, ExitStack() as stack:
        stack.callback(lambda: subprocess.run(["chmod", "-R", "u+w", folder], check=True))
        yield folder / "home"


def _own(home: House) -> None:
    (home.folder / "data").mkdir(exist_ok=True)
    for name in ("data", "cameras", ""):
        os.chown(home.folder / name, NOBODY, NOBODY)


async def test_nothing_is_lost_while_the_folder_may_not_be_written() -> None:
    with _others_folder() as folder:
        async with house(folder) as home:
            _own(home)
            home.start(user=NOBODY)
            async with home.pouring():
                await home.until_up()
                await home.until_judged()
                subprocess.run(["chmod", "-R", "a-w", home.media], check=True)  # noqa: ASYNC221 - takes no time
                told = await home.until_health(lambda told: tells(told.get("ingest")))
                assert "writable" in told["ingest"]["remedy"]
                subprocess.run(["chmod", "-R", "u+w", home.media], check=True)  # noqa: ASYNC221 - takes no time
            await home.well_again()


async def test_a_start_in_a_folder_that_may_not_be_written_says_what_to_do() -> None:
    with _others_folder() as folder:
        async with house(folder) as home:
            _own(home)
            home.start(user=NOBODY)
            home.cameras.send(20)
            await home.until_up()
            await home.stopped()
            subprocess.run(["chmod", "-R", "a-w", home.folder / "data"], check=True)  # noqa: ASYNC221 - takes no time
            home.start(user=NOBODY)
            assert await home.servers[0].ended() == 1
            assert "Check its owner and permissions" in home.last_words()
            assert "Traceback" not in home.servers[0].log.read_text()
            subprocess.run(["chmod", "-R", "u+w", home.folder / "data"], check=True)  # noqa: ASYNC221 - takes no time
            home.start(user=NOBODY)
            await home.well_again()


async def test_a_start_on_a_disk_that_is_mounted_read_only_says_what_to_do(folder: Path) -> None:
    with _disk(folder / "data") as disk:
        async with house(folder) as home:
            home.start()
            home.cameras.send(20)
            await home.until_up()
            await home.stopped()
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)  # noqa: ASYNC221 - takes no time
            home.start()
            assert await home.servers[0].ended() == 1
            assert "cannot be written" in home.last_words()
            assert "Traceback" not in home.servers[0].log.read_text()
            subprocess.run(["mount", "-o", "remount,rw", disk], check=True)  # noqa: ASYNC221 - takes no time
            home.start()
            await home.well_again()
