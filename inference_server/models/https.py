# SPDX-License-Identifier: AGPL-3.0-or-later
"""Downloads over HTTPS that resume, keep to a size and fail fast where nothing answers."""

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import aiohttp
from yarl import URL

from inference_server.models.digest import Progress
from inference_server.models.errors import SourceError

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0

_CHUNK = 1 << 16
_MAX_REDIRECTS = 5
_REDIRECTIONS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds, for a connection and for the next bytes."""

    connect: float = CONNECT_SECONDS
    read: float = READ_SECONDS


async def fetch_https(url: str, part: Path, size: int, progress: Progress, patience: Patience | None = None) -> None:
    """Download exactly `size` bytes to `part`, going on after the bytes that are already there.

    Redirects are followed within HTTP, never from https to http. A proxy is taken from the environment. Whether the
    bytes are the right ones is for the caller to decide by their digest. What was received stays in `part`, for the
    next attempt. Raises SourceError with a plain reason; OSError where the disk refuses.
    """
    patience = patience or Patience()
    timeout = aiohttp.ClientTimeout(total=None, connect=patience.connect, sock_read=patience.read)
    host = URL(url).host
    try:
        # The stored bytes are wanted as they are, so no content coding may change their count.
        headers = {"Accept-Encoding": "identity"}
        async with aiohttp.ClientSession(timeout=timeout, trust_env=True, headers=headers) as session:
            await _download(session, URL(url), part, size, progress)
    except TimeoutError as error:
        raise SourceError(f"{host} does not answer") from error
    except aiohttp.ClientConnectorError as error:
        raise SourceError(f"no route to {host}") from error
    except aiohttp.ClientError as error:
        raise SourceError(f"{host} broke off: {error}") from error


async def _download(session: aiohttp.ClientSession, url: URL, part: Path, size: int, progress: Progress) -> None:
    done = part.stat().st_size if part.exists() else 0
    if done > size:
        part.unlink()
        done = 0
    if done < size:
        async with await _open(session, url, done) as response:
            if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                part.unlink()
            done = _starting_point(response, done)
            await _receive(response, part, done, size, progress)
    found = part.stat().st_size
    if found != size:
        raise SourceError(f"{url.host} sent {found} bytes, expected were {size}")


async def _open(session: aiohttp.ClientSession, url: URL, done: int) -> aiohttp.ClientResponse:
    headers = {"Range": f"bytes={done}-"} if done else {}
    for _ in range(_MAX_REDIRECTS):
        response = await session.get(url, headers=headers, allow_redirects=False)
        location = response.headers.get("Location")
        if response.status not in _REDIRECTIONS or location is None:
            return response
        response.release()
        url = _redirected(url, location)
    raise SourceError(f"{url.host} redirects more than {_MAX_REDIRECTS} times")


def _redirected(url: URL, location: str) -> URL:
    try:
        target = url.join(URL(location))
    except ValueError as error:
        raise SourceError(f"{url.host} redirects to something that is no address") from error
    if target.scheme not in {"https", url.scheme}:
        raise SourceError(f"{url.host} redirects from {url.scheme} to {target.scheme}, which is refused")
    return target


def _starting_point(response: aiohttp.ClientResponse, done: int) -> int:
    """Return from which byte the answer counts; raise SourceError for an answer that is no file."""
    if response.status == HTTPStatus.OK:
        return 0
    if response.status == HTTPStatus.PARTIAL_CONTENT:
        return done
    raise SourceError(f"{response.url.host} answers {response.status} {response.reason}")


async def _receive(response: aiohttp.ClientResponse, part: Path, done: int, size: int, progress: Progress) -> None:
    with part.open("r+b" if done else "wb", buffering=0) as file:
        file.seek(done)
        async for chunk in response.content.iter_chunked(_CHUNK):
            done += len(chunk)
            if done > size:
                raise SourceError(f"{response.url.host} sends more than the {size} bytes expected")
            await asyncio.to_thread(file.write, chunk)
            progress(done, size)
