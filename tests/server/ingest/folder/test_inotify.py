# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where the system tells about new files, and what happens where it stops telling."""

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from watchdog.observers.inotify_c import InotifyFD

from inference_server.ingest.folder.inotify import Inotify
from inference_server.observability.health import HealthState
from inference_server.settings import WatchMode
from tests.support.pictures import jpeg
from tests.support.watched import Watched, until_healthy

MAX_QUEUED = Path("/proc/sys/fs/inotify/max_queued_events")


async def test_without_an_instance_folders_are_polled_at_once(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, settle: Callable[[float], None]
) -> None:
    settle(0.05)

    def exhausted() -> int:
        raise OSError(errno.EMFILE, "inotify instance limit reached")

    monkeypatch.setattr(InotifyFD, "_create_inotify_fd", staticmethod(exhausted))
    async with watched.running():
        watched.write("front/2026/1.jpg", jpeg(1))
        await watched.intake.until_content("front/2026/1.jpg", jpeg(1))
        ingest = watched.ingest()
    assert ingest.state is HealthState.DEGRADED
    assert "fs.inotify.max_user_instances" in (ingest.last_error or "")
    assert ingest.details["watched_by"] == "polling every 0.1 s"


async def test_folders_for_which_no_watch_is_left_are_polled_and_the_others_are_not(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, settle: Callable[[float], None]
) -> None:
    settle(0.05)
    add, left = InotifyFD.add_callback, True

    def limited(self: InotifyFD, path: bytes, *more: Any) -> Any:
        if b"/late" in path and not left:
            raise OSError(errno.ENOSPC, "inotify watch limit reached")
        return add(self, path, *more)

    monkeypatch.setattr(InotifyFD, "add_callback", limited)
    watched.rescan_seconds = 1.0
    async with watched.running():
        assert watched.ingest().state is HealthState.OK
        left = False
        watched.write("front/late/1.jpg", jpeg(1))
        await watched.intake.until_content("front/late/1.jpg", jpeg(1))
        ingest = await until_healthy(watched, "max_user_watches")
        assert ingest.state is HealthState.DEGRADED
        watched.write("front/late/later/2.jpg", jpeg(2))
        watched.write("front/3.jpg", jpeg(3))
        await watched.intake.until_taken("front/late/later/2.jpg", "front/3.jpg")
        left = True
        assert (await until_healthy(watched, "ok")).last_error is None


async def test_when_events_are_lost_everything_is_looked_at_at_once(
    watched: Watched, settle: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(0.05)
    made: list[Inotify] = []
    begin = Inotify.__init__

    def remembered(self: Inotify, loop: asyncio.AbstractEventLoop) -> None:
        begin(self, loop)
        made.append(self)

    monkeypatch.setattr(Inotify, "__init__", remembered)
    async with watched.running():
        with made[0]._lock:  # the reader waits with the first event, and the system's queue fills
            for number in range(int(MAX_QUEUED.read_text()) + 2000):
                os.close(os.open(watched.root / "front" / f"{number % 2}.txt", os.O_CREAT | os.O_WRONLY))
            watched.write("back/2026/11/1.jpg", jpeg(1))
        await watched.intake.until_content("back/2026/11/1.jpg", jpeg(1))
        watched.write("back/2026/11/2.jpg", jpeg(2))
        await watched.intake.until_content("back/2026/11/2.jpg", jpeg(2))


async def test_folders_are_followed_when_they_are_renamed(watched: Watched, settle: Callable[[float], None]) -> None:
    settle(0.05)
    watched.write("front/2026/11/1.jpg", jpeg(1), old=True)
    async with watched.running():
        (watched.root / "front").rename(watched.root / "entry")
        await watched.intake.until_taken("entry/2026/11/1.jpg")
        watched.write("entry/2026/11/2.jpg", jpeg(2))
        await watched.intake.until_content("entry/2026/11/2.jpg", jpeg(2))
        watched.write("front/2026/11/3.jpg", jpeg(3))
        await watched.intake.until_content("front/2026/11/3.jpg", jpeg(3))
    assert "front/2026/11/2.jpg" not in watched.intake.paths


async def test_a_folder_that_is_deleted_and_made_again_is_watched_again(
    watched: Watched, settle: Callable[[float], None]
) -> None:
    settle(0.05)
    async with watched.running():
        for number in range(5):
            name = f"front/today/{number}.jpg"
            watched.write(name, jpeg(number))
            await watched.intake.until_content(name, jpeg(number))
            (watched.root / name).unlink()
            (watched.root / "front" / "today").rmdir()


async def test_hidden_and_ignored_folders_take_no_watch(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    add, asked = InotifyFD.add_callback, []

    def noted(self: InotifyFD, path: bytes, *more: Any) -> Any:
        asked.append(os.fsdecode(path))
        return add(self, path, *more)

    monkeypatch.setattr(InotifyFD, "add_callback", noted)
    watched.ignore = ("*thumb*",)
    for folder in (".hidden", "thumbs", "@eaDir", "2026"):
        (watched.root / "front" / folder).mkdir()
    watched.mode = WatchMode.INOTIFY
    async with watched.running():
        pass
    below_front = {path for path in asked if path.startswith(str(watched.root / "front") + "/")}
    assert below_front == {str(watched.root / "front" / "2026")}
