# SPDX-License-Identifier: AGPL-3.0-or-later
"""Videos as they are served: a stored file, whole or in part (RFC 9110, section 14), so that players can seek."""

import asyncio
from dataclasses import dataclass
from http import HTTPMethod, HTTPStatus
from pathlib import Path

from aiohttp import hdrs, web

from inference_server.api.problems import ProblemCode, ProblemError, no_video

CHUNK_BYTES = 256 << 10


@dataclass(frozen=True, slots=True)
class Video:
    """A stored video whose content never changes under its etag. The file may be gone."""

    file: Path
    etag: str
    content_type: str


async def video_response(request: web.Request, video: Video) -> web.StreamResponse:
    """Send all or the part that is asked for, or that the client has it already. Raises ProblemError."""
    response = web.StreamResponse()
    response.etag = video.etag
    response.headers[hdrs.CACHE_CONTROL] = "private, no-cache"
    response.headers[hdrs.ACCEPT_RANGES] = "bytes"
    if any(tag.value in {video.etag, "*"} for tag in request.if_none_match or ()):
        response.set_status(HTTPStatus.NOT_MODIFIED)
        return response
    try:
        size = (await asyncio.to_thread(video.file.stat)).st_size
        part = _wanted(request, video.etag, size)
        if part is not None:
            response.set_status(HTTPStatus.PARTIAL_CONTENT)
            response.headers[hdrs.CONTENT_RANGE] = f"bytes {part.start}-{part.stop - 1}/{size}"
        response.content_type = video.content_type
        await _send(request, response, video.file, part or range(size))
    except ConnectionResetError:
        pass  # players hang up whenever they seek
    except OSError as error:
        raise no_video("The clip's file is gone from the media folder or cannot be read.") from error
    return response


async def _send(request: web.Request, response: web.StreamResponse, path: Path, part: range) -> None:
    response.content_length = len(part)
    with await asyncio.to_thread(path.open, "rb") as file:
        await response.prepare(request)
        if request.method == HTTPMethod.HEAD:
            return
        await asyncio.to_thread(file.seek, part.start)
        left = len(part)
        while left and (chunk := await asyncio.to_thread(file.read, min(CHUNK_BYTES, left))):
            await response.write(chunk)
            left -= len(chunk)


def _wanted(request: web.Request, etag: str, size: int) -> range | None:
    """Return the bytes that a request asks for, or None for all of them.

    A range of a copy that is no longer the right one (If-Range), or one that is not understood, is passed over. Raises
    ProblemError for one that lies outside.
    """
    if request.headers.get(hdrs.IF_RANGE, f'"{etag}"') != f'"{etag}"':
        return None
    try:
        asked = request.http_range
    except ValueError:
        return None
    if asked.start is None:
        return None
    start, stop, _ = asked.indices(size)
    if start >= stop:
        raise ProblemError(
            ProblemCode.INVALID_REQUEST,
            f"The range lies outside of the {size} bytes.",
            "Ask for a range within them.",
            status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            headers={hdrs.CONTENT_RANGE: f"bytes */{size}"},
        )
    return range(start, stop)
