# SPDX-License-Identifier: AGPL-3.0-or-later
"""Clips over REST: what a player asks for."""

from http import HTTPStatus

import pytest
from sqlalchemy import update

from inference_server.storage import tables
from inference_server.storage.tokens import Scope
from tests.server.api.conftest import Client, Connect
from tests.support.home import Home

CONTENT = bytes(range(256)) * 4096
"""A megabyte in which every place can be told from its neighbours."""


@pytest.fixture
async def client(a_home: Home, connect: Connect) -> Client:
    """Give a client of a home with a clip, whose id is 1."""
    await a_home.camera()
    await a_home.clip(CONTENT)
    return await connect(Scope.READ)


PATH = "/api/clips/1/video"


async def test_the_whole_clip(client: Client) -> None:
    response = await client.get(PATH)
    assert (response.status, response.content_type) == (200, "video/mp4")
    assert response.headers["Accept-Ranges"] == "bytes"
    assert response.headers["Cache-Control"] == "private, no-cache"
    assert response.headers["Content-Length"] == str(len(CONTENT))
    assert await response.read() == CONTENT


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-", 0, len(CONTENT)),
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=500000-", 500_000, len(CONTENT)),
        ("bytes=-10", len(CONTENT) - 10, len(CONTENT)),
        ("bytes=1000000-99999999", 1_000_000, len(CONTENT)),
        ("bytes=-99999999", 0, len(CONTENT)),
    ],
)
async def test_a_part_of_it(client: Client, asked: str, start: int, stop: int) -> None:
    response = await client.get(PATH, headers={"Range": asked})
    assert response.status == HTTPStatus.PARTIAL_CONTENT
    assert response.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(CONTENT)}"
    assert response.headers["Content-Length"] == str(stop - start)
    assert await response.read() == CONTENT[start:stop]


@pytest.mark.parametrize("asked", [f"bytes={len(CONTENT)}-", "bytes=99999999-100000000", "bytes=abc", "bytes=5-1"])
async def test_a_range_outside_or_not_understood(client: Client, asked: str) -> None:
    response = await client.get(PATH, headers={"Range": asked})
    assert response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
    assert response.headers["Content-Range"] == f"bytes */{len(CONTENT)}"


async def test_a_copy_that_is_still_right(client: Client) -> None:
    etag = (await client.head(PATH)).headers["ETag"]
    for tags in (etag, f'"other", {etag}', "*"):
        response = await client.get(PATH, headers={"If-None-Match": tags})
        assert (response.status, await response.read(), response.headers["ETag"]) == (304, b"", etag)


async def test_its_head(client: Client) -> None:
    response = await client.head(PATH)
    assert (response.status, await response.read()) == (200, b"")
    assert response.headers["Content-Length"] == str(len(CONTENT))
    part = await client.head(PATH, headers={"Range": "bytes=0-9"})
    assert (part.status, part.headers["Content-Length"]) == (206, "10")


@pytest.mark.parametrize(
    ("kind", "content_type"),
    [
        ("mp4", "video/mp4"),
        ("mov", "video/quicktime"),
        ("mkv", "video/x-matroska"),
        ("webm", "video/webm"),
        ("avi", "video/x-msvideo"),
    ],
)
async def test_its_type(a_home: Home, client: Client, kind: str, content_type: str) -> None:
    clip_id = await a_home.clip(kind.encode(), kind)
    assert (await client.get(f"/api/clips/{clip_id}/video")).content_type == content_type


async def test_an_unknown_clip(client: Client) -> None:
    response = await client.get("/api/clips/77/video")
    assert (response.status, (await response.json())["code"]) == (404, "clip_not_found")


async def test_a_clip_whose_file_is_gone(a_home: Home, client: Client) -> None:
    for file in a_home.media.root.rglob("*.mp4"):
        file.unlink()
    response = await client.get(PATH)
    assert (response.status, (await response.json())["code"]) == (404, "no_video")
    async with a_home.database.writing() as connection:
        await connection.execute(update(tables.clips).values(pruned_at=a_home.clock.now(), media_path=""))
    response = await client.get(PATH)
    assert (response.status, (await response.json())["code"]) == (404, "no_video")


async def test_a_path_that_leads_outside_is_not_followed(a_home: Home, client: Client) -> None:
    (a_home.media.root.parent / "secret.mp4").write_bytes(b"secret")
    async with a_home.database.writing() as connection:
        await connection.execute(update(tables.clips).values(media_path="../secret.mp4"))
    response = await client.get(PATH)
    assert response.status == HTTPStatus.INTERNAL_SERVER_ERROR
    assert b"secret" not in await response.read()


async def test_a_player_that_hangs_up_troubles_nobody(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        response = await client.get(PATH)
        await response.content.readexactly(10)
        response.close()
    assert (await client.head(PATH)).status == HTTPStatus.OK
    assert "failed" not in caplog.text


async def test_an_event_names_the_clips_that_show_it(a_home: Home, client: Client) -> None:
    event = await a_home.event()
    assert (await (await client.get(f"/api/events/{event.id}")).json())["clips"] == []
    clip_id = await a_home.clip(b"of the event", "mp4", event.best_frame_id)
    shown = [{"clip_id": clip_id, "start_seconds": 1.0}]
    assert (await (await client.get(f"/api/events/{event.id}")).json())["clips"] == shown
    assert (await (await client.get("/api/events")).json())["items"][0]["clips"] == shown
    async with a_home.database.writing() as connection:
        await connection.execute(update(tables.clips).values(pruned_at=a_home.clock.now()))
    assert (await (await client.get(f"/api/events/{event.id}")).json())["clips"] == []
