# SPDX-License-Identifier: AGPL-3.0-or-later
"""A client of the WebSocket, as docs/protocol.md describes it."""

from typing import Any

from aiohttp import ClientWebSocketResponse, WSMsgType

from inference_server.api.schema import SCHEMA_VERSION

type Json = dict[str, Any]


class Subscriber:
    """Speaks the protocol's steps one by one."""

    def __init__(self, socket: ClientWebSocketResponse, token: str) -> None:
        """Take an open socket."""
        self.socket = socket
        self.token = token

    async def receive(self) -> Json:
        """Return the next message; anything else fails the test."""
        received = await self.socket.receive(timeout=10)
        assert received.type is WSMsgType.TEXT, (received, self.socket.close_code)
        message: Json = received.json()
        return message

    async def authenticate(self, schema_version: int = SCHEMA_VERSION) -> Json:
        """Take the hello, present the token and return the answer."""
        hello = await self.receive()
        assert hello["type"] == "hello"
        await self.socket.send_json({"type": "auth", "token": self.token, "schema_version": schema_version})
        return await self.receive()

    async def subscribe(self, last_sequence: int | None) -> Json:
        """Go through all steps and return the snapshot or replay."""
        answer = await self.authenticate()
        assert answer["type"] == "auth_ok", answer
        await self.socket.send_json({"type": "subscribe", "last_sequence": last_sequence})
        return await self.receive()

    async def farewell(self) -> int | None:
        """Read to the end and return the close code."""
        async for _ in self.socket:
            pass
        return self.socket.close_code
