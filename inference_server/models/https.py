# SPDX-License-Identifier: AGPL-3.0-or-later
"""Downloads over HTTPS that resume, keep to a size and fail fast where nothing answers."""

import re
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO

import aiohttp
from yarl import URL

from inference_server.models.digest import Progress
from inference_server.models.errors import BrokeOffError, NotThereError, SourceError
from inference_server.models.threads import Stop, in_thread

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0

_CHUNK = 1 << 16
_MAX_REDIRECTS = 5
_REDIRECTIONS = frozenset({301, 302, 303, 307, 308})
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds, for a connection and for the next bytes."""

    connect: float = CONNECT_SECONDS
    read: float = READ_SECONDS


@dataclass(frozen=True, slots=True)
class Expected:
    """How many bytes a file has, or at most has.

    `pinned` says that its digest is known: then the bytes that are there already count even when the server cannot say
    whether they are still of the same file.
    """

    size: int
    exact: bool = True
    pinned: bool = True


async def fetch_https(
    url: str, part: Path, expected: Expected, progress: Progress, patience: Patience | None = None
) -> None:
    """Download a file to `part`, going on after the bytes that are already there.

    Redirects are followed within HTTP, never from https to http. A proxy is taken from the environment. Whether the
    bytes are the right ones is for the caller to decide by their digest. What was received stays in `part`, for the
    next attempt; a file that changed on the server meanwhile is begun anew. Raises SourceError with a plain reason,
    BrokeOffError where it is worth going on at once; OSError where the disk refuses.
    """
    patience = patience or Patience()
    timeout = aiohttp.ClientTimeout(total=None, connect=patience.connect, sock_read=patience.read)
    host = URL(url).host
    try:
        # The stored bytes are wanted as they are, so no content coding may change their count.
        headers = {"Accept-Encoding": "identity"}
        async with aiohttp.ClientSession(timeout=timeout, trust_env=True, headers=headers) as session:
            await _Download(session, URL(url), part, expected, progress).run()
    except TimeoutError as error:
        raise SourceError(f"{host} does not answer") from error
    except aiohttp.ClientConnectorCertificateError as error:
        raise SourceError(f"the certificate of {host} is not trusted") from error
    except aiohttp.ClientConnectorError as error:
        raise SourceError(f"no route to {host}") from error
    except aiohttp.ClientError as error:
        raise BrokeOffError(f"{host} broke off: {error}") from error


def forget_part(part: Path) -> None:
    """Delete a half download and what is noted about it."""
    part.unlink(missing_ok=True)
    _origin_of(part).unlink(missing_ok=True)


class _Download:
    def __init__(
        self, session: aiohttp.ClientSession, url: URL, part: Path, expected: Expected, progress: Progress
    ) -> None:
        self._session = session
        self._url = url
        self._part = part
        self._expected = expected
        self._progress = progress

    async def run(self) -> None:
        held = self._held()
        if not (self._expected.exact and held == self._expected.size):
            async with await self._open(held) as response:
                begun = self._usable(response, held)
                if begun is not None:
                    await self._receive(response, begun)
            if begun is None:  # what is held belongs to another file
                forget_part(self._part)
                async with await self._open(0) as response:
                    begun = self._usable(response, 0)
                    if begun is None:
                        raise SourceError(f"{self._url.host} answers {response.status} {response.reason}")
                    await self._receive(response, begun)
        found = self._part.stat().st_size
        if found == 0 or (self._expected.exact and found != self._expected.size):
            raise SourceError(f"{self._url.host} sent {found} bytes, expected were {self._expected.size}")

    def _held(self) -> int:
        """Return how many bytes of an earlier attempt count."""
        held = self._part.stat().st_size if self._part.exists() else 0
        known = self._expected.pinned or self._validator() is not None
        if held > self._expected.size or not known:
            forget_part(self._part)
            return 0
        return held

    def _validator(self) -> str | None:
        """Return what the server said by which to recognise the file whose part is held."""
        try:
            url, _, validator = _origin_of(self._part).read_text(encoding="utf-8").partition("\n")
        except (OSError, UnicodeDecodeError):
            return None
        return validator.strip() or None if url == str(self._url) else None

    async def _open(self, held: int) -> aiohttp.ClientResponse:
        headers = {"Range": f"bytes={held}-"} if held else {}
        if held and (validator := self._validator()):
            headers["If-Range"] = validator
        url = self._url
        for _ in range(_MAX_REDIRECTS):
            response = await self._session.get(url, headers=headers, allow_redirects=False)
            location = response.headers.get("Location")
            if response.status not in _REDIRECTIONS or location is None:
                return response
            response.release()
            url = _redirected(url, location)
        raise SourceError(f"{url.host} redirects more than {_MAX_REDIRECTS} times")

    def _usable(self, response: aiohttp.ClientResponse, held: int) -> int | None:
        """Return from which byte the answer counts; None when what is held is of no use to this server.

        Raises SourceError for an answer that is no file.
        """
        if response.status == HTTPStatus.OK:
            return 0
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            return held if self._continues(response, held) else None
        if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and held:
            return None
        message = f"{response.url.host} answers {response.status} {response.reason}"
        if response.status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
            raise NotThereError(message)
        raise SourceError(message)

    def _continues(self, response: aiohttp.ClientResponse, held: int) -> bool:
        """Say whether a part of a file begins where what is held ends, and is of the same file."""
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != held:
            return False
        if self._expected.exact and found[3] not in {"*", str(self._expected.size)}:
            return False
        before, now = self._validator(), _validator_of(response)
        return before is None or now is None or before == now

    async def _receive(self, response: aiohttp.ClientResponse, done: int) -> None:
        self._note_origin(response)
        most = self._expected.size
        said = None if response.content_length is None else done + response.content_length
        total = most if self._expected.exact else said
        if said is not None and said > most and not self._expected.exact:
            raise SourceError(f"{response.url.host} has {said} bytes, expected were at most {most}")
        with self._part.open("r+b" if done else "wb", buffering=0) as file:
            file.seek(done)
            async for chunk in response.content.iter_chunked(_CHUNK):
                done += len(chunk)
                if done > most:
                    raise SourceError(f"{response.url.host} sends more than the {most} bytes expected")
                await in_thread(_write, file, chunk)
                self._progress(done, total)
            file.truncate(done)

    def _note_origin(self, response: aiohttp.ClientResponse) -> None:
        """Keep by what to recognise the file whose part is about to be held."""
        if validator := _validator_of(response):
            _origin_of(self._part).write_text(f"{self._url}\n{validator}\n", encoding="utf-8")
        else:
            _origin_of(self._part).unlink(missing_ok=True)


def _write(_stop: Stop, file: IO[bytes], chunk: bytes) -> None:
    """Write all of a chunk: an unbuffered file may take less at a time. Raises OSError."""
    left = memoryview(chunk)
    while left:
        left = left[file.write(left) :]


def _validator_of(response: aiohttp.ClientResponse) -> str | None:
    """Return what If-Range takes: a strong entity tag, else the time of the last change (RFC 9110, 13.1.5)."""
    tag = response.headers.get("ETag", "")
    if tag.startswith('"'):
        return tag
    return response.headers.get("Last-Modified") if not tag else None


def _origin_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.origin")


def _redirected(url: URL, location: str) -> URL:
    try:
        target = url.join(URL(location))
    except ValueError as error:
        raise SourceError(f"{url.host} redirects to something that is no address") from error
    if target.scheme not in {"https", url.scheme}:
        raise SourceError(f"{url.host} redirects from {url.scheme} to {target.scheme}, which is refused")
    return target
