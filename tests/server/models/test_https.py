# SPDX-License-Identifier: AGPL-3.0-or-later
"""Downloads from a real web server."""

import io
import re
from collections.abc import Buffer
from pathlib import Path
from typing import override

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from inference_server.models.catalogue import HttpsSource
from inference_server.models.digest import silent
from inference_server.models.errors import BrokeOffError, SourceError
from inference_server.models.https import Expected, Patience, _redirected, _write, fetch_https
from inference_server.models.threads import Stop
from tests.server.models.file_server import FileServer

CONTENT = bytes(range(256)) * 2000
SIZE = len(CONTENT)


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "weights.part"


@pytest.mark.parametrize("path", ["/file", "/moved"])
async def test_whole_file_with_progress(part: Path, path: str) -> None:
    told: list[tuple[int, int | None]] = []
    async with FileServer(CONTENT) as server:
        await fetch_https(server.url(path), part, Expected(SIZE), lambda done, total: told.append((done, total)))
    assert part.read_bytes() == CONTENT
    assert told[-1] == (SIZE, SIZE)
    assert told == sorted(told)


async def test_goes_on_where_it_broke_off(part: Path) -> None:
    async with FileServer(CONTENT) as server:
        server.cut_at = 300_000
        with pytest.raises(SourceError, match=re.escape("127.0.0.1 broke off")):
            await fetch_https(server.url(), part, Expected(SIZE), silent)
        held = part.stat().st_size
        assert 0 < held <= 300_000
        await fetch_https(server.url(), part, Expected(SIZE), silent)
        assert server.ranges == [None, f"bytes={held}-"]
    assert part.read_bytes() == CONTENT


async def test_starts_again_where_ranges_are_ignored(part: Path) -> None:
    part.write_bytes(b"x" * 1000)
    async with FileServer(CONTENT) as server:
        server.ignores_ranges = True
        await fetch_https(server.url(), part, Expected(SIZE), silent)
    assert part.read_bytes() == CONTENT


async def test_a_longer_file_is_cut_off(part: Path) -> None:
    async with FileServer(CONTENT) as server:
        with pytest.raises(SourceError, match="sends more than the 1000 bytes expected"):
            await fetch_https(server.url(), part, Expected(1000), silent)
    assert part.stat().st_size <= 1000


async def test_a_shorter_file_is_told(part: Path) -> None:
    async with FileServer(CONTENT) as server:
        with pytest.raises(SourceError, match=f"sent {SIZE} bytes, expected were {SIZE + 1}"):
            await fetch_https(server.url(), part, Expected(SIZE + 1), silent)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/to-disk", "redirects from http to file, which is refused"),
        ("/round", "redirects more than 5 times"),
        ("/nothing", "answers 404 Not Found"),
        ("/busy", "answers 529 Site is overloaded"),
    ],
)
async def test_what_is_no_file_is_refused(part: Path, path: str, reason: str) -> None:
    async with FileServer(CONTENT) as server:
        with pytest.raises(SourceError, match=reason):
            await fetch_https(server.url(path), part, Expected(SIZE), silent)
    assert not part.exists()


def test_no_way_down_from_https() -> None:
    with pytest.raises(SourceError, match="from https to http, which is refused"):
        _redirected(URL("https://example.org/a"), "http://example.org/a")
    assert _redirected(URL("https://example.org/a"), "b") == URL("https://example.org/b")


async def test_a_server_that_hangs_times_out(part: Path) -> None:
    async with FileServer(CONTENT) as server:
        with pytest.raises(SourceError, match=re.escape("127.0.0.1 does not answer")):
            await fetch_https(server.url("/hangs"), part, Expected(SIZE), silent, Patience(read=0.2))
    assert part.read_bytes() == CONTENT[:10]


async def test_nobody_there(part: Path, nowhere: HttpsSource) -> None:
    with pytest.raises(SourceError, match=re.escape("no route to 127.0.0.1")):
        await fetch_https(nowhere.url, part, Expected(SIZE), silent)


UNPINNED = Expected(2 * SIZE, exact=False, pinned=False)


async def test_a_file_that_changed_meanwhile_is_begun_anew(part: Path) -> None:
    async with FileServer(CONTENT) as server:
        server.etag, server.cut_at = '"one"', 300_000
        with pytest.raises(BrokeOffError):
            await fetch_https(server.url(), part, UNPINNED, silent)
        server.content, server.etag = CONTENT[::-1], '"two"'
        await fetch_https(server.url(), part, UNPINNED, silent)
    assert part.read_bytes() == CONTENT[::-1]


async def test_a_part_of_a_changed_file_is_not_believed(part: Path) -> None:
    """This server gives the part though the client asked for it only if the file is still the same."""
    async with FileServer(CONTENT) as server:
        server.etag, server.cut_at, server.ignores_conditions = '"one"', 300_000, True
        with pytest.raises(BrokeOffError):
            await fetch_https(server.url(), part, UNPINNED, silent)
        server.content, server.etag = CONTENT[::-1], '"two"'
        await fetch_https(server.url(), part, UNPINNED, silent)
        assert server.ranges[-1] is None
    assert part.read_bytes() == CONTENT[::-1]


async def test_the_same_file_goes_on_though_nothing_is_known_of_it(part: Path) -> None:
    async with FileServer(CONTENT) as server:
        server.etag, server.cut_at = '"one"', 300_000
        with pytest.raises(BrokeOffError):
            await fetch_https(server.url(), part, UNPINNED, silent)
        held = part.stat().st_size
        await fetch_https(server.url(), part, UNPINNED, silent)
        assert server.ranges == [None, f"bytes={held}-"]
    assert part.read_bytes() == CONTENT


async def test_without_digest_and_tag_nothing_is_built_upon(part: Path) -> None:
    part.write_bytes(b"x" * 1000)
    async with FileServer(CONTENT) as server:
        await fetch_https(server.url(), part, UNPINNED, silent)
        assert server.ranges == [None]
    assert part.read_bytes() == CONTENT


async def test_a_part_from_elsewhere_in_the_file_is_not_believed(part: Path) -> None:
    part.write_bytes(CONTENT[:1000])
    async with FileServer(CONTENT) as server:
        server.shifts = 5
        await fetch_https(server.url(), part, Expected(SIZE), silent)
        assert server.ranges == ["bytes=1000-", None]
    assert part.read_bytes() == CONTENT


async def test_more_than_the_server_has_is_begun_anew(part: Path) -> None:
    part.write_bytes(b"x" * (SIZE + 10))
    async with FileServer(CONTENT) as server:
        await fetch_https(server.url(), part, Expected(2 * SIZE, exact=False), silent)
        assert server.ranges == [f"bytes={SIZE + 10}-", None]
    assert part.read_bytes() == CONTENT


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_file_of_about_this_size_may_not_be_endless(part: Path, chunked: bool) -> None:
    async with FileServer(CONTENT) as server:
        server.chunked = chunked
        with pytest.raises(SourceError, match=rf"(sends more than|expected were at most).* {SIZE - 1}"):
            await fetch_https(server.url(), part, Expected(SIZE - 1, exact=False), silent)
        await fetch_https(server.url(), part, Expected(SIZE, exact=False), silent)
    assert part.read_bytes() == CONTENT


async def test_a_proxy_of_the_environment_is_asked(part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.raw_path if "://" in request.raw_path else str(request.url))
        return web.Response(body=CONTENT)

    proxy = web.Application()
    proxy.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(proxy) as server:
        monkeypatch.setenv("http_proxy", str(server.make_url("")))
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        await fetch_https("http://models.invalid/file", part, Expected(SIZE), silent)
    assert asked == ["http://models.invalid/file"]
    assert part.read_bytes() == CONTENT


class Sluggish(io.BytesIO):
    """Takes a few bytes at a time, as an unbuffered file may."""

    @override
    def write(self, chunk: Buffer, /) -> int:
        return super().write(memoryview(chunk)[:7])


def test_a_file_that_takes_little_at_a_time_gets_everything() -> None:
    file = Sluggish()
    _write(Stop(), file, CONTENT[:1000])
    assert file.getvalue() == CONTENT[:1000]
