# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the event loop has to say."""

import asyncio
import errno
import os
import socket

import pytest

from inference_server.observability import logs
from inference_server.observability.logs import LoopErrors


def _out_of_room(code: int = errno.EMFILE) -> dict[str, object]:
    return {"message": "socket.accept() failed", "exception": OSError(code, os.strerror(code)), "socket": socket.socket}


async def test_a_lack_of_room_is_told_in_one_line_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors, loop = LoopErrors(), asyncio.get_running_loop()
    for _ in range(100):
        errors(loop, _out_of_room())
    (line,) = caplog.records
    assert "Too many open files" in line.getMessage()
    assert not line.exc_info
    later = loop.time() + logs.ACCEPT_SECONDS
    monkeypatch.setattr(loop, "time", lambda: later)
    errors(loop, _out_of_room(errno.ENFILE))
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    "context",
    [{"message": "Task exception was never retrieved", "exception": ValueError("odd")}, _out_of_room(errno.EPERM)],
)
async def test_any_other_error_is_told_as_usual(caplog: pytest.LogCaptureFixture, context: dict[str, object]) -> None:
    errors, loop = LoopErrors(), asyncio.get_running_loop()
    for _ in range(2):
        errors(loop, context)
    assert [record.name for record in caplog.records] == ["asyncio", "asyncio"]
    assert all(record.exc_info for record in caplog.records)
