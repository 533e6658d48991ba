# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real web server on this host, with one file and some bad habits."""

import asyncio
from types import TracebackType
from typing import Self

from aiohttp import web
from aiohttp.test_utils import TestServer

_REDIRECTS = {"/moved": "/file", "/to-disk": "file:///etc/passwd", "/round": "/round"}


async def _redirects(request: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": _REDIRECTS[request.path]})


async def _is_busy(_request: web.Request) -> web.Response:
    return web.Response(status=529, reason="Site is overloaded")


class FileServer:
    """Gives `content` at /file, with ranges; other paths misbehave as their names say."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.ranges: list[str | None] = []
        self.cut_at: int | None = None
        """After how many bytes of the next answer the connection breaks."""
        self.cuts_each: int | None = None
        """After how many bytes each answer breaks off that has more."""
        self.ignores_ranges = False
        self.etag: str | None = None
        self.ignores_conditions = False
        """Whether a part is given even of a file that is not the one the client began with."""
        self.shifts = 0
        """By how many bytes the parts lie elsewhere than was asked for."""
        self.chunked = False
        """Whether the length is left unsaid."""
        self.gate: asyncio.Event | None = None
        """Opened by the test when the rest of an answer, after its first 10 bytes, may come."""
        self.reached = asyncio.Event()
        """Set when an answer waits at the gate."""
        app = web.Application()
        app.router.add_get("/file", self._file)
        for path in _REDIRECTS:
            app.router.add_get(path, _redirects)
        app.router.add_get("/busy", _is_busy)
        app.router.add_get("/hangs", self._hangs)
        self._server = TestServer(app)

    async def __aenter__(self) -> Self:
        await self._server.start_server()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.close()

    def url(self, path: str = "/file") -> str:
        return str(self._server.make_url(path))

    async def _file(self, request: web.Request) -> web.StreamResponse:
        wanted = request.headers.get("Range")
        self.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and not self.ignores_ranges else 0
        if request.headers.get("If-Range", self.etag) != self.etag and not self.ignores_conditions:
            start = 0
        if start > len(self.content):
            return web.Response(status=416, headers={"Content-Range": f"bytes */{len(self.content)}"})
        response = self._begun(start)
        await response.prepare(request)
        await self._send(request, response, self.content[start + self.shifts if start else 0 :])
        return response

    def _begun(self, start: int) -> web.StreamResponse:
        first = start + self.shifts if start else 0
        response = web.StreamResponse(status=206 if start else 200)
        if not self.chunked:
            response.headers["Content-Length"] = str(len(self.content) - first)
        if self.etag is not None:
            response.headers["ETag"] = self.etag
        if start:
            response.headers["Content-Range"] = f"bytes {first}-{len(self.content) - 1}/{len(self.content)}"
        return response

    async def _send(self, request: web.Request, response: web.StreamResponse, body: bytes) -> None:
        cut, self.cut_at = self.cut_at, None
        if cut is None and self.cuts_each is not None and len(body) > self.cuts_each:
            cut = self.cuts_each
        if self.gate is not None:
            await response.write(body[:10])
            self.reached.set()
            await self.gate.wait()
            body = body[10:]
        await response.write(body[:cut])
        if cut is not None and request.transport is not None:
            request.transport.close()

    async def _hangs(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(self.content))})
        await response.prepare(request)
        await response.write(self.content[:10])
        await asyncio.Event().wait()
        return response
