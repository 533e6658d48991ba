# SPDX-License-Identifier: AGPL-3.0-or-later
"""The WebSocket: greeting, authentication, subscription, then the live feed."""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from enum import IntEnum

from aiohttp import WSCloseCode, WSMsgType, web
from pydantic import ValidationError

from inference_server.api.authentication import (
    AUTHENTICATOR,
    SCOPE_REMEDY,
    TOKEN_REMEDY,
    Authenticator,
    TokenRefusedError,
    peer,
)
from inference_server.api.context import CONTEXT, ApiContext
from inference_server.api.feed import FEED, Feed, Subscription
from inference_server.api.messages import (
    Auth,
    AuthFailed,
    AuthFailure,
    AuthOk,
    ClientMessage,
    ErrorMessage,
    Hello,
    Subscribe,
)
from inference_server.api.schema import MIN_SCHEMA_VERSION, SCHEMA_VERSION, WireObject
from inference_server.api.snapshot import greeting
from inference_server.storage.tokens import Scope

PATH = "/api/ws"
MAX_MESSAGE = 16 << 10
"""Characters; a client sends a token and a number."""
_MAX_FRAME = 1 << 20
"""Bytes that are read at all, so that a message that is too long can still be answered."""

_LOGGER = logging.getLogger(__name__)

OPEN_SOCKETS: web.AppKey[set[web.WebSocketResponse]] = web.AppKey("open_sockets")


class CloseCode(IntEnum):
    """Why the server closes, beyond the codes of RFC 6455."""

    INVALID_REQUEST = 4400
    UNAUTHORIZED = 4401
    TOO_SLOW = 4429


class _ClientGoneError(Exception):
    """The other end has closed."""


class _HangUpError(Exception):
    """The server closes, after a last message if there is one."""

    def __init__(self, code: int, farewell: WireObject | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.farewell = farewell


async def handle(request: web.Request) -> web.WebSocketResponse:
    """Serve one WebSocket to its end."""
    context = request.app[CONTEXT]
    socket = web.WebSocketResponse(
        timeout=context.limits.close_seconds,
        heartbeat=context.limits.heartbeat_seconds,
        max_msg_size=_MAX_FRAME,
        compress=False,
    )
    await socket.prepare(request)
    sockets = request.app[OPEN_SOCKETS]
    sockets.add(socket)
    try:
        await _Session(socket, context, request.app[FEED], request.app[AUTHENTICATOR], peer(request)).run()
    finally:
        sockets.discard(socket)
    return socket


async def close_all(application: web.Application) -> None:
    """Tell every client that the server goes away."""
    limit = application[CONTEXT].limits.close_seconds
    sockets = application[OPEN_SOCKETS]
    await asyncio.gather(*[_close(socket, WSCloseCode.GOING_AWAY, limit) for socket in sockets])


class _Session:
    def __init__(
        self,
        socket: web.WebSocketResponse,
        context: ApiContext,
        feed: Feed,
        authenticator: Authenticator,
        address: str,
    ) -> None:
        self._socket = socket
        self._context = context
        self._feed = feed
        self._authenticator = authenticator
        self._address = address

    async def run(self) -> None:
        try:
            await self._converse()
        except (_ClientGoneError, ConnectionError):
            await self._hang_up(_HangUpError(WSCloseCode.OK))
        except _HangUpError as end:
            await self._hang_up(end)
        except Exception:
            _LOGGER.exception("The WebSocket of %s failed", self._address)
            await self._hang_up(_HangUpError(WSCloseCode.INTERNAL_ERROR))

    async def _converse(self) -> None:
        await self._send(Hello(server_id=self._context.server_id))
        secret, scope = await self._authenticate()
        subscribe = await self._receive(Subscribe)
        with self._feed.subscribed(scope) as subscription:
            await _first_end(
                self._send_everything(subscription, subscribe.last_sequence),
                self._expect_silence(),
                self._watch_token(secret),
                self._watch_queue(subscription),
            )

    async def _authenticate(self) -> tuple[str, Scope]:
        auth = await self._receive(Auth)
        if auth.schema_version < MIN_SCHEMA_VERSION:
            raise _refused(
                "client_too_old",
                f"The client speaks version {auth.schema_version}; this server needs {MIN_SCHEMA_VERSION} or newer.",
                "Update the integration in Home Assistant.",
            )
        if auth.schema_version > SCHEMA_VERSION:
            raise _refused(
                "client_too_new",
                f"The client speaks version {auth.schema_version}; this server speaks {SCHEMA_VERSION}.",
                "Update the server.",
            )
        try:
            token = await self._authenticator.identify(auth.token, self._address)
        except TokenRefusedError as refused:
            if refused.wait:
                await asyncio.sleep(self._context.limits.refusal_delay_seconds)
            raise _refused("unauthorized", str(refused), TOKEN_REMEDY) from refused
        if not token.scope.allows(Scope.READ):
            raise _refused("forbidden", f'The token has the scope "{token.scope}"; this needs "read".', SCOPE_REMEDY)
        await self._send(AuthOk(scopes=(token.scope,)))
        return auth.token, token.scope

    async def _send_everything(self, subscription: Subscription, last_sequence: int | None) -> None:
        state = await greeting(self._context, last_sequence)
        await self._send(state)
        while True:
            await self._socket.send_str(await subscription.next_after(state.sequence))

    async def _expect_silence(self) -> None:
        await self._next_text(None)
        raise _misunderstood("After `subscribe` a client has nothing to say.")

    async def _watch_token(self, secret: str) -> None:
        while await self._authenticator.find(secret):  # noqa: ASYNC110 - `hsi tokens` revokes in another process
            await asyncio.sleep(self._context.limits.token_check_seconds)
        raise _refused("unauthorized", "The token was revoked.", TOKEN_REMEDY)

    async def _watch_queue(self, subscription: Subscription) -> None:
        await subscription.lost.wait()
        raise _HangUpError(CloseCode.TOO_SLOW)

    async def _receive[Received: ClientMessage](self, kind: type[Received]) -> Received:
        wanted = kind.__name__.lower()
        seconds = self._context.limits.handshake_seconds
        try:
            text = await self._next_text(seconds)
        except TimeoutError as error:
            raise _misunderstood(f"No `{wanted}` message came within {seconds:g} seconds.") from error
        try:
            return kind.model_validate_json(text)
        except ValidationError as error:
            problem = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(map(str, problem["loc"]))
            raise _misunderstood(
                f"A `{wanted}` message was expected. {f'{where}: ' if where else ''}{problem['msg']}."
            ) from error

    async def _next_text(self, seconds: float | None) -> str:
        received = await self._socket.receive(seconds)
        if received.type is WSMsgType.BINARY:
            raise _misunderstood("A text message was expected, not a binary one.")
        if received.type is not WSMsgType.TEXT:
            raise _ClientGoneError
        text = str(received.data)
        if len(text) > MAX_MESSAGE:
            raise _misunderstood(f"The message is longer than {MAX_MESSAGE} characters.")
        return text

    async def _send(self, message: WireObject) -> None:
        await self._socket.send_str(message.model_dump_json())

    async def _hang_up(self, end: _HangUpError) -> None:
        await _close(self._socket, end.code, self._context.limits.close_seconds, end.farewell)


async def _first_end(*parts: Coroutine[None, None, None]) -> None:
    """Run parts that end by an exception only; raise the first one and cancel the others."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _close(socket: web.WebSocketResponse, code: int, limit: float, farewell: WireObject | None = None) -> None:
    # a client that does not read holds up the farewell; one that does not answer, the close
    with contextlib.suppress(TimeoutError, ConnectionError):
        if farewell is not None:
            async with asyncio.timeout(limit):
                await socket.send_str(farewell.model_dump_json())
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(limit):
            await socket.close(code=code)


def _refused(code: AuthFailure, detail: str, remedy: str) -> _HangUpError:
    return _HangUpError(CloseCode.UNAUTHORIZED, AuthFailed(code=code, detail=detail, remedy=remedy))


def _misunderstood(detail: str) -> _HangUpError:
    farewell = ErrorMessage(detail=detail, remedy="docs/protocol.md describes the order and form of the messages.")
    return _HangUpError(CloseCode.INVALID_REQUEST, farewell)
