# SPDX-License-Identifier: AGPL-3.0-or-later
"""Connections: how many there may be, how long one may be silent, and what is told when it sends no HTTP."""

import asyncio
import logging
from http import HTTPStatus
from typing import Any, override

from aiohttp import web

from inference_server.api.context import ApiLimits
from inference_server.api.middlewares import make_safe
from inference_server.api.problems import ProblemCode, ProblemError

_LOGGER = logging.getLogger(__name__)


class LimitedRunner(web.AppRunner):
    """Runs an application on connections that are limited."""

    def __init__(self, application: web.Application, limits: ApiLimits, **arguments: Any) -> None:
        """Take the application and the limits; the rest is for aiohttp."""
        super().__init__(application, **arguments)
        self._limits = limits

    @override
    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        limits = self._limits
        return _LimitedServer(
            made.request_handler,
            limits,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            access_log=None,
            keepalive_timeout=limits.keepalive_seconds,
        )


class _LimitedServer(web.Server):
    def __init__(self, handler: Any, limits: ApiLimits, **arguments: Any) -> None:
        super().__init__(handler, **arguments)
        self.limits = limits

    @override
    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(web.RequestHandler):
    """aiohttp's own words about a bad request would quote it, and with it perhaps a token."""

    def __init__(self, server: _LimitedServer, **arguments: Any) -> None:
        super().__init__(server, **arguments)
        self._server = server
        self._silence: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        limits = self._server.limits
        if len(self._server.connections) >= limits.connections and isinstance(transport, asyncio.Transport):
            transport.abort()
            return
        super().connection_made(transport)
        self._silence = self._loop.call_later(limits.first_request_seconds, self._close_if_silent)

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        if self._silence:
            self._silence.cancel()
        super().connection_lost(exc)

    @override
    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        level = logging.DEBUG if status == HTTPStatus.BAD_REQUEST else logging.ERROR
        _LOGGER.log(level, "A request of %s ended with %d (%s)", request.remote, status, type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError("A part of another answer is sent already.")
        response = _problem(status).response()
        make_safe(response)
        response.force_close()
        return response

    @override
    def log_exception(self, *args: Any, **kw: Any) -> None:
        _LOGGER.warning("A connection was given up (%s)", type(kw.get("exc_info")).__name__)

    def _close_if_silent(self) -> None:
        if self._request_count == 0:
            self.force_close()


def _problem(status: int) -> ProblemError:
    if status == HTTPStatus.BAD_REQUEST:
        return ProblemError(
            ProblemCode.INVALID_REQUEST,
            "The request is not well-formed HTTP.",
            "Check the request line and the headers for characters that do not belong there.",
            status=status,
        )
    return ProblemError(
        ProblemCode.INTERNAL,
        "The server failed at this request.",
        "Ask again; GET /api/system/health/full shows which part is unwell.",
        status=status,
    )
