# SPDX-License-Identifier: AGPL-3.0-or-later
"""Downloads from a real web server."""

import re
from pathlib import Path

import pytest
from yarl import URL

from inference_server.models.catalogue import HttpsSource
from inference_server.models.digest import silent
from inference_server.models.errors import SourceError
from inference_server.models.https import Expected, Patience, _redirected, fetch_https
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
