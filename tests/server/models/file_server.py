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
        self.ignores_ranges = False
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
        self.ranges.append(request.headers.get("Range"))
        wanted = request.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and not self.ignores_ranges else 0
        body = self.content[start:]
        response = web.StreamResponse(status=206 if start else 200, headers={"Content-Length": str(len(body))})
        if start:
            response.headers["Content-Range"] = f"bytes {start}-{len(self.content) - 1}/{len(self.content)}"
        await response.prepare(request)
        cut, self.cut_at = self.cut_at, None
        await response.write(body[:cut])
        if cut is not None and request.transport is not None:
            request.transport.close()
        return response

    async def _hangs(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(self.content))})
        await response.prepare(request)
        await response.write(self.content[:10])
        await asyncio.Event().wait()
        return response
