# SPDX-License-Identifier: AGPL-3.0-or-later
"""Listening and stopping."""

import asyncio

import aiohttp
import pytest

from inference_server.api.server import ApiServer, CannotListenError
from tests.support.home import Home
from tests.support.subscriber import Subscriber

HOST = "127.0.0.1"


async def test_a_free_port_is_found_and_told(a_home: Home) -> None:
    server = ApiServer(a_home.context(), HOST, 0)
    with pytest.raises(RuntimeError, match="not started"):
        _ = server.port
    await server.start()
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{HOST}:{server.port}/api/system/health") as response,
        ):
            assert response.status == 200
    finally:
        await server.stop()


async def test_a_taken_port_is_explained(a_home: Home) -> None:
    first = ApiServer(a_home.context(), HOST, 0)
    await first.start()
    second = ApiServer(a_home.context(), HOST, first.port)
    try:
        with pytest.raises(CannotListenError, match=rf"Port {first.port} .*in use.*HSI_API__PORT"):
            await second.start()
        await second.stop()
    finally:
        await first.stop()


async def test_an_address_of_another_machine_is_explained(a_home: Home) -> None:
    server = ApiServer(a_home.context(), "192.0.2.1", 0)
    with pytest.raises(CannotListenError, match="HSI_API__HOST"):
        await server.start()


@pytest.mark.parametrize("polite", [True, False])
async def test_stopping_says_goodbye_quickly(a_home: Home, polite: bool) -> None:
    server = ApiServer(a_home.context(), HOST, 0)
    await server.start()
    token = await a_home.token()
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession() as session:
        sockets = []
        for _ in range(3):
            socket = await session.ws_connect(f"http://{HOST}:{server.port}/api/ws", autoclose=polite)
            sockets.append(socket)
            await Subscriber(socket, token).subscribe(None)
        stranger = await session.ws_connect(f"http://{HOST}:{server.port}/api/ws")
        readers = [asyncio.create_task(socket.receive()) for socket in sockets]
        began = loop.time()
        await server.stop()
        assert loop.time() - began < 2
        for received in await asyncio.gather(*readers):
            assert (received.type, received.data) == (aiohttp.WSMsgType.CLOSE, 1001)
        assert (await stranger.receive()).type is aiohttp.WSMsgType.TEXT
        assert (await stranger.receive()).data == 1001
