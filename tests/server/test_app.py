# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a process is given before it serves."""

import asyncio
import resource

import pytest

from inference_server.app import Server, serve
from inference_server.observability.logs import LoopErrors
from inference_server.settings import Settings


async def test_a_process_that_serves_may_open_many_files_and_logs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    async def run(_server: Server, _stop: asyncio.Event) -> None:
        seen.append(asyncio.get_running_loop().get_exception_handler())

    monkeypatch.setattr(Server, "run", run)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: seen.append(limits))
    await serve(Settings())
    limits, handler = seen
    assert limits == (4096, 4096)
    assert isinstance(handler, LoopErrors)
