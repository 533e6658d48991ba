# SPDX-License-Identifier: Apache-2.0
"""One authenticated WebSocket connection."""

from asyncio import timeout
from json import JSONDecodeError
from typing import Final, Self

from aiohttp import (
    ClientError,
    ClientSession,
    ClientWebSocketResponse,
    ClientWSTimeout,
    WSMsgType,
    WSServerHandshakeError,
)
from yarl import URL

from .errors import (
    CannotConnect,
    InvalidAuth,
    MissingScope,
    NotHsiServer,
    ProtocolError,
    ServerTooNew,
    ServerTooOld,
    WrongServer,
)
from .fields import Fields
from .messages import Message, Replay, ServerChanged, Snapshot, parse_resumption, parse_update
from .models import SCHEMA_VERSION, Identity

SILENCE: Final = 45.0
"""Seconds without a word after which the server counts as gone; it pings every 20 seconds."""

OPEN_TIMEOUT: Final = 10.0
CLOSE_TIMEOUT: Final = 2.0
MAX_MESSAGE_SIZE: Final = 16 * 1024 * 1024

CLOSED_UNAUTHORIZED: Final = 4401
SUFFICIENT_SCOPES: Final = frozenset({"read", "integration", "admin"})


class HsiSession:
    """A connection on which both sides have introduced themselves."""

    def __init__(self, socket: ClientWebSocketResponse, identity: Identity) -> None:
        """Take over a socket that has said hello; use open() to get one."""
        self._socket = socket
        self.identity = identity

    @classmethod
    async def open(cls, http: ClientSession, url: URL, token: str, server_id: str | None) -> Self:
        """Connect, learn who the server is and authenticate; no other server than the expected one sees the token."""
        try:
            async with timeout(OPEN_TIMEOUT):
                socket = await http.ws_connect(
                    url,
                    max_msg_size=MAX_MESSAGE_SIZE,
                    timeout=ClientWSTimeout(ws_receive=SILENCE, ws_close=CLOSE_TIMEOUT),
                )
                try:
                    return await cls._introduce(socket, token, server_id)
                except BaseException:
                    await socket.close()
                    raise
        except WSServerHandshakeError as err:
            raise (CannotConnect if err.status >= 500 else NotHsiServer)(f"{url} answered {err.status}") from err
        except (ClientError, OSError) as err:
            raise CannotConnect(str(err) or type(err).__name__) from err

    @classmethod
    async def _introduce(cls, socket: ClientWebSocketResponse, token: str, server_id: str | None) -> Self:
        try:
            hello = await _receive(socket)
            if hello.text("type") != "hello":
                raise NotHsiServer("the service did not say hello")
        except ProtocolError as err:
            raise NotHsiServer(str(err)) from err
        session = cls(socket, Identity.parse(hello))
        if server_id is not None and session.identity.server_id != server_id:
            raise WrongServer(session.identity.server_id)
        await socket.send_json({"type": "auth", "token": token, "schema_version": SCHEMA_VERSION})
        _check_authentication(await _receive(socket))
        return session

    async def subscribe(self, last_sequence: int | None) -> Snapshot | Replay:
        """Ask for everything that came after last_sequence, or for a snapshot."""
        try:
            async with timeout(OPEN_TIMEOUT):
                await self._socket.send_json({"type": "subscribe", "last_sequence": last_sequence})
                return parse_resumption(await _receive(self._socket))
        except (ClientError, OSError) as err:
            raise CannotConnect(str(err) or type(err).__name__) from err

    async def receive(self) -> Message | ServerChanged:
        """Wait for the next thing the server says; what a newer server invented is passed over."""
        while True:
            if (update := parse_update(await _receive(self._socket))) is not None:
                return update

    async def close(self) -> None:
        """Say good-bye."""
        await self._socket.close()


def _check_authentication(answer: Fields) -> None:
    match answer.text("type"):
        case "auth_ok":
            if SUFFICIENT_SCOPES.isdisjoint(answer.texts("scopes")):
                raise MissingScope
        case "auth_failed":
            match answer.text("code"):
                case "client_too_old":
                    raise ServerTooNew(answer.text("detail"))
                case "client_too_new":
                    raise ServerTooOld(answer.text("detail"))
                case "forbidden":
                    raise MissingScope(answer.text("detail"))
                case _:
                    raise InvalidAuth(answer.text("detail"))
        case other:
            raise ProtocolError(f"the token was answered with {other}")


async def _receive(socket: ClientWebSocketResponse) -> Fields:
    try:
        frame = await socket.receive()
    except TimeoutError as err:
        raise CannotConnect(f"the server has been silent for {SILENCE:.0f} seconds") from err
    if frame.type is WSMsgType.TEXT:
        try:
            return Fields(frame.json(), "message")
        except JSONDecodeError as err:
            raise ProtocolError("the server sent something that is not JSON") from err
    if socket.close_code == CLOSED_UNAUTHORIZED:
        raise InvalidAuth
    if frame.type is WSMsgType.BINARY:
        raise ProtocolError("the server sent a binary frame")
    if frame.type is WSMsgType.ERROR:
        raise CannotConnect(f"the connection broke: {frame.data!r}")
    raise CannotConnect(f"the server closed the connection with code {socket.close_code}")
