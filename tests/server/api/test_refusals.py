# SPDX-License-Identifier: AGPL-3.0-or-later
"""Refused files over REST."""

from inference_server.storage.tokens import Scope
from tests.server.api.conftest import Connect, all_items
from tests.support.home import Home


async def test_refusals_tell_their_reason_page_by_page(a_home: Home, connect: Connect) -> None:
    for number in range(5):
        await a_home.refuse(f"front_door/{number}.jpg")
    await a_home.refuse("stray.jpg", camera_id=None)
    client = await connect(Scope.READ)
    page = await (await client.get("/api/refusals")).json()
    assert page["items"][0] == {
        "path": "stray.jpg",
        "camera_id": None,
        "reason": "corrupt",
        "detail": "It ends too early.",
        "refused_at": "2026-11-23T08:00:00Z",
    }
    assert page["next_cursor"] is None
    paths = [item["path"] for item in page["items"]]
    assert [item["path"] for item in await all_items(client, "/api/refusals", limit=2)] == paths
    assert len(paths) == 6


async def test_a_file_that_is_refused_again_is_the_newest(a_home: Home, connect: Connect) -> None:
    for number in (0, 1, 2, 0):
        await a_home.refuse(f"front_door/{number}.jpg")
        a_home.clock.move(minutes=1)
    client = await connect(Scope.READ)
    seen = [item["path"] for item in await all_items(client, "/api/refusals", limit=1)]
    assert seen == ["front_door/0.jpg", "front_door/2.jpg", "front_door/1.jpg"]
