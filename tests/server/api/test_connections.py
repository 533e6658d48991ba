# SPDX-License-Identifier: AGPL-3.0-or-later
"""Connections that send no HTTP, nothing at all, or are too many."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from inference_server.api.context import ApiLimits
from inference_server.api.server import ApiServer
from tests.support.home import Home

HOST = "127.0.0.1"
HEALTH = b"GET /api/system/health HTTP/1.1\r\nHost: hsi\r\n"
SOON = 5.0

type Listening = Callable[..., AbstractAsyncContextManager[int]]


@pytest.fixture
def listening(a_home: Home) -> Listening:
    """Give a function that serves with limits and gives the port."""

    @asynccontextmanager
    async def serve(**limits: float) -> AsyncIterator[int]:
        server = ApiServer(a_home.context(ApiLimits(**limits)), HOST, 0)  # type: ignore[arg-type]
        await server.start()
        try:
            yield server.port
        finally:
            await server.stop()

    return serve


async def _ask(port: int, request: bytes) -> bytes:
    """Return everything that is sent until the server closes; nothing when it refuses."""
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(request)
    try:
        async with asyncio.timeout(SOON):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    "header", ["Authorization : Bearer {token}", "Authorization: Bearer {token}\x01", "Bearer {token}"]
)
async def test_a_malformed_request_is_answered_and_logged_without_its_content(
    a_home: Home, listening: Listening, caplog: pytest.LogCaptureFixture, header: str
) -> None:
    caplog.set_level(logging.DEBUG, "inference_server")
    token = await a_home.token()
    async with listening() as port:
        answer = await _ask(port, HEALTH + header.format(token=token).encode() + b"\r\n\r\n")
    head, _, body = answer.decode().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.0 400 ")
    assert "application/problem+json" in head
    assert "aiohttp" not in head
    assert "Python" not in head
    problem = json.loads(body)
    assert (problem["status"], problem["code"]) == (400, "invalid_request")
    assert problem["remedy"]
    assert token not in answer.decode()
    assert token not in caplog.text
    lines = [record for record in caplog.records if record.name.startswith(("aiohttp", "inference_server.api"))]
    assert len(lines) == 1
    assert not lines[0].exc_info
    assert lines[0].levelno == logging.DEBUG


async def test_a_malformed_body_is_logged_without_its_content(
    listening: Listening, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening() as port:
        await _ask(port, HEALTH + b"Transfer-Encoding: chunked\r\n\r\nsecret\r\n\r\n")
    assert "secret" not in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("beginning", [b"", HEALTH], ids=["nothing", "half a request"])
async def test_a_connection_without_a_request_is_closed(listening: Listening, beginning: bytes) -> None:
    async with listening(first_request_seconds=0.2) as port:
        assert await _ask(port, beginning) == b""


async def test_a_connection_with_a_request_stays_for_the_next_one(listening: Listening) -> None:
    async with listening(first_request_seconds=0.2) as port:
        reader, writer = await asyncio.open_connection(HOST, port)
        for pause in (0.4, 0):
            writer.write(HEALTH + b"\r\n")
            assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(pause)
        writer.close()


async def test_a_connection_that_falls_silent_is_closed(listening: Listening) -> None:
    async with listening(keepalive_seconds=0.2) as port:
        assert (await _ask(port, HEALTH + b"\r\n")).startswith(b"HTTP/1.1 200")


async def test_one_connection_too_many_is_closed_until_another_ends(listening: Listening) -> None:
    async with listening(connections=2) as port:
        writers = [(await asyncio.open_connection(HOST, port))[1] for _ in range(2)]
        assert await _ask(port, HEALTH + b"\r\n") == b""
        writers[0].close()
        await writers[0].wait_closed()
        async with asyncio.timeout(10):
            while not (await _ask(port, HEALTH + b"Connection: close\r\n\r\n")).startswith(b"HTTP/1.1 200"):
                pass  # the server has yet to notice that the other one has ended
        writers[1].close()
