# SPDX-License-Identifier: AGPL-3.0-or-later
"""Work in threads that somebody cancels."""

import asyncio
import threading
from pathlib import Path

import pytest

from inference_server.models.digest import sha256_of, sha256_told
from inference_server.models.threads import Stop, in_thread


async def test_the_thread_has_ended_when_its_caller_goes_on() -> None:
    begun, ended = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work(stop: Stop) -> None:
        loop.call_soon_threadsafe(begun.set)
        try:
            while True:
                stop.check()
        finally:
            ended.set()

    task = asyncio.create_task(in_thread(work))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_results_and_errors_come_back(tmp_path: Path) -> None:
    told: list[int] = []
    file = tmp_path / "file"
    file.write_bytes(bytes(3 << 20))
    assert await in_thread(sha256_told, file, lambda done, _total: told.append(done)) == sha256_of(file)
    assert told == [1 << 20, 2 << 20, 3 << 20]
    with pytest.raises(FileNotFoundError):
        await in_thread(sha256_told, tmp_path / "nothing")
