# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pictures that a request sends: as its body, as the files of a form, or in base64 within JSON."""

import asyncio
import binascii
import json
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from email.parser import BytesHeaderParser
from http import HTTPStatus

from aiohttp import hdrs, web

from inference_server.api.bodies import too_large, too_slow
from inference_server.api.problems import ProblemCode, ProblemError, invalid_request, too_busy
from inference_server.settings import DetectorServiceSettings

MEMORY = 512 << 20
"""Bytes that all requests together may hold."""
BODY_SECONDS = 60.0
PART_EXTRA = 4 << 10
"""Bytes around a picture: the header of its part of a form, or the quotes of JSON."""
MAX_BOUNDARY = 70
"""RFC 2046, section 5.1.1."""
_FORMS = "Send a picture as the body (image/jpeg), as the file of a form (multipart/form-data), or base64 in JSON."


class Bodies:
    """Reads what requests send, within bounds of size, time and memory."""

    def __init__(self, settings: DetectorServiceSettings) -> None:
        """Take the limits."""
        self._settings = settings
        self._held = 0

    @contextmanager
    def held(self, request: web.Request, pictures: int) -> Iterator[int]:
        """Give how many bytes the request's body may have, and keep room for them. Raises ProblemError.

        `pictures` is how many it may send.
        """
        limit = (self._settings.max_bytes * 4 // 3 + PART_EXTRA) * pictures
        limit = min(limit, max(MEMORY // 4, self._settings.max_bytes * 4 // 3 + PART_EXTRA))
        if request.content_length is not None and request.content_length > limit:
            raise too_large(limit)
        wanted = request.content_length if request.content_length is not None else limit
        if self._held and self._held + wanted > MEMORY:
            raise too_busy("Requests hold all the memory that they may have.", 1)
        self._held += wanted
        try:
            yield limit
        finally:
            self._held -= wanted

    async def pictures(self, request: web.Request, limit: int, pictures: int) -> list[bytes]:
        """Return the pictures of a request, at least one and at most so many. Raises ProblemError."""
        kind = request.content_type
        if kind == "multipart/form-data":
            found = _files(await _read(request, limit), _boundary(request), pictures)
        elif kind == "application/json":
            found = await asyncio.to_thread(_of_json, await _read(request, limit), pictures)
        elif pictures == 1 and (kind.startswith("image/") or kind == "application/octet-stream"):
            found = [await _read(request, min(limit, self._settings.max_bytes))]
        else:
            raise ProblemError(
                ProblemCode.INVALID_REQUEST,
                f"A body of the type {kind[:60]} is not understood here.",
                _FORMS,
                status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            )
        if not found:
            raise invalid_request("The request holds no picture.", _FORMS)
        return found


async def _read(request: web.Request, limit: int) -> bytes:
    """Return the body. What a request tells of its size may be a lie."""
    pieces, size = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while piece := await request.content.readany():
                size += len(piece)
                if size > limit:
                    raise too_large(limit)
                pieces.append(piece)
    except TimeoutError as error:
        raise too_slow() from error
    return b"".join(pieces)


def _of_json(content: bytes, pictures: int) -> list[bytes]:
    field = "picture" if pictures == 1 else "pictures"
    try:
        body = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise invalid_request(f"The body is no JSON: {str(error)[:200]}.", _FORMS) from error
    sent = body.get(field) if isinstance(body, dict) and len(body) == 1 else None
    texts = [sent] if pictures == 1 else sent
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        shape = "in base64" if pictures == 1 else "a list of pictures in base64"
        raise invalid_request(f'The body is no object with the one field "{field}": {shape}.', _FORMS)
    _check_count(len(texts), pictures)
    try:
        return [b64decode(text, validate=True) for text in texts]
    except (binascii.Error, ValueError) as error:
        raise invalid_request(f"A picture is not in base64: {error}.", _FORMS) from error


def _boundary(request: web.Request) -> bytes:
    message = Message()
    message[hdrs.CONTENT_TYPE] = request.headers.get(hdrs.CONTENT_TYPE, "")
    boundary = message.get_boundary("")
    if not 0 < len(boundary) <= MAX_BOUNDARY or not boundary.isascii():
        raise _malformed()
    return boundary.encode("ascii")


def _files(content: bytes, boundary: bytes, pictures: int) -> list[bytes]:
    """Return the files of a form (RFC 7578): every part is one. Raises ProblemError."""
    delimiter = b"\r\n--" + boundary
    if not content.startswith(delimiter[2:]):
        raise _malformed()
    files: list[bytes] = []
    start = len(delimiter) - 2
    while content[start : start + 2] != b"--":
        head = content.find(b"\r\n\r\n", start, start + PART_EXTRA)
        end = content.find(delimiter, start)
        if content[start : start + 2] != b"\r\n" or not 0 <= head < end:
            raise _malformed()
        _check_file(BytesHeaderParser().parsebytes(content[start + 2 : head + 2]))
        files.append(content[head + 4 : end])
        _check_count(len(files), pictures)
        start = end + len(delimiter)
    return files


def _check_file(header: Message) -> None:
    if header.get_filename() is None:
        raise invalid_request("The form holds something else than files.", _FORMS)
    if str(header.get("Content-Transfer-Encoding", "binary")).lower() not in {"binary", "8bit", "7bit"}:
        raise invalid_request("A file of the form is encoded.", "Send the picture's own bytes.")


def _check_count(found: int, most: int) -> None:
    if found > most:
        raise invalid_request(
            f"The request holds more than {most} picture{'s' if most > 1 else ''}.",
            "Send several pictures to /detect/batch, and more of them in several requests.",
        )


def _malformed() -> ProblemError:
    return invalid_request("The form is not well-formed (multipart/form-data).", _FORMS)
