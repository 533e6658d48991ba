# SPDX-License-Identifier: AGPL-3.0-or-later
"""What requests send: JSON, or one file, which is read piece by piece within limits of size and time."""

import asyncio
import json
from collections.abc import AsyncIterator, MutableMapping
from typing import Any, Self, override

from aiohttp import BodyPartReader, MultipartReader, StreamReader, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from inference_server.api.context import CONTEXT
from inference_server.api.problems import ProblemCode, ProblemError, invalid_request

MAX_BODY = 64 << 10
"""Bytes; what is larger is a file."""
MULTIPART_EXTRA = 64 << 10
"""Bytes that a form may have around its file."""
PIECE = 256 << 10
BODY_LIMITS = web.AppKey("body_limits", MutableMapping[web.AbstractRoute, int])


async def read_json(request: web.Request) -> Any:
    """Return the JSON that a request sends. Raises ProblemError."""
    try:
        async with asyncio.timeout(request.app[CONTEXT].limits.body_silence_seconds):
            content = await request.read()
        return json.loads(content)
    except TimeoutError as error:
        raise too_slow() from error
    except (ValueError, RecursionError) as error:
        raise invalid_request(f"The body is no JSON: {str(error)[:200]}.") from error


class Sent:
    """A file on its way: the whole body of a request, or the one file of a form (multipart/form-data)."""

    def __init__(self, request: web.Request, max_body: int) -> None:
        """Take the request, of which nothing is read yet, and how many bytes its file may have."""
        self._request = request
        self._max_body = max_body
        self.content_type = request.content_type
        """Of the file, as far as the client says."""
        self.name = ""
        """What the client calls the file, as far as it does."""

    @property
    def size(self) -> int | None:
        """How many bytes are to come, as far as the client says; with those around the file of a form."""
        return self._request.content_length

    async def pieces(self, seconds: float | None = None) -> AsyncIterator[bytes]:
        """Yield the file's bytes, within so many seconds where another limit than the usual one is given.

        Raises ProblemError for what is too large, too slow, or no well-formed form.
        """
        limits = self._request.app[CONTEXT].limits
        source = _Limited(self._request.content, self._max_body, limits.body_silence_seconds)
        try:
            async with asyncio.timeout(limits.body_seconds if seconds is None else seconds):
                if self._request.content_type.startswith("multipart/"):
                    source.limit += MULTIPART_EXTRA
                    async for piece in self._of_form(source):
                        yield piece
                else:
                    while piece := await source.read(PIECE):
                        yield piece
        except TimeoutError as error:
            raise too_slow() from error

    async def _of_form(self, source: "_Limited") -> AsyncIterator[bytes]:
        try:
            reader = MultipartReader(self._request.headers, source)
            found = False
            while (part := await reader.next()) is not None:
                if not isinstance(part, BodyPartReader) or part.filename is None or found:
                    raise invalid_request("The form holds something else than one file.", "Send one file per request.")
                found = True
                self.name, self.content_type = part.filename, part.headers.get(hdrs.CONTENT_TYPE, "")
                while piece := await part.read_chunk(PIECE):
                    yield piece
        except (ValueError, AssertionError, LookupError, RuntimeError, HttpProcessingError) as error:
            raise invalid_request("The form is not well-formed (multipart/form-data).") from error
        if not found:
            raise invalid_request("The form holds no file.", "Send one file per request.")

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: type[Self], _handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let pydantic take it as it is."""
        return core_schema.is_instance_schema(cls)

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe it to clients."""
        return {"type": "string", "format": "binary"}


class _Limited(StreamReader):
    """Reads another stream: no further than its limit, and never waiting longer for the next bytes than allowed."""

    def __init__(self, source: StreamReader, limit: int, silence_seconds: float) -> None:
        self.limit = limit
        self._source = source
        self._silence_seconds = silence_seconds
        self._read = 0

    @override
    async def read(self, n: int = -1) -> bytes:
        async with asyncio.timeout(self._silence_seconds):
            return self._counted(await self._source.read(n))

    @override
    async def readline(self, *, max_line_length: int | None = None) -> bytes:
        async with asyncio.timeout(self._silence_seconds):
            return self._counted(await self._source.readline(max_line_length=max_line_length))

    @override
    def at_eof(self) -> bool:
        return self._source.at_eof()

    @override
    def unread_data(self, data: bytes) -> None:
        self._read -= len(data)
        self._source.unread_data(data)

    def _counted(self, piece: bytes) -> bytes:
        self._read += len(piece)
        if self._read > self.limit:
            raise too_large(self.limit)
        return piece


def too_large(limit: int) -> ProblemError:
    """Return the problem of a body with more bytes than that."""
    return ProblemError(
        ProblemCode.TOO_LARGE,
        f"The request's body is larger than {limit} bytes.",
        "Send less; larger pictures go into the camera's folder, larger models through `hsi models import`.",
        headers={hdrs.CONNECTION: "close"},
    )


def too_slow() -> ProblemError:
    """Return the problem of a body that does not come."""
    return ProblemError(
        ProblemCode.TOO_SLOW,
        "The request's body did not come in time.",
        "Check the connection, and send it again.",
        headers={hdrs.CONNECTION: "close"},
    )
