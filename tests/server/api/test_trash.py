# SPDX-License-Identifier: AGPL-3.0-or-later
"""Events in the trash: gone from everywhere, back again, and gone for good."""

import pytest

from inference_server.core.announcement import AnnouncementKind
from inference_server.storage import announcements, chores
from inference_server.storage.tokens import Scope
from tests.server.api.conftest import Client, Connect, all_items
from tests.support.home import START, Home


async def _told(home: Home) -> list[tuple[AnnouncementKind, int | None, int | None]]:
    async with home.database.reading() as connection:
        found = await announcements.after(connection, 0, limit=100)
    assert found is not None
    return [
        (told.kind, told.removed_event_id, told.event.id if told.event else None)
        for told in (item.announcement for item in found)
    ]


async def _camera(client: Client) -> dict[str, object]:
    camera: dict[str, object] = await (await client.get("/api/cameras/front_door")).json()
    return camera


async def test_a_deleted_event_leaves_everything_but_the_trash_and_comes_back(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    first, second = await a_home.ended_event(), await a_home.ended_event()
    await a_home.clip(b"a video", "mp4", second.best_frame_id)
    client = await connect()
    before = await (await client.get(f"/api/events/{second.id}")).json()
    deleted_at = a_home.clock.move(hours=1)

    assert (await client.delete(f"/api/events/{second.id}")).status == 204
    assert [item["id"] for item in await all_items(client, "/api/events", 10)] == [first.id]
    for path in ("", "/snapshot.jpg", "/detections"):
        response = await client.get(f"/api/events/{second.id}{path}")
        assert (response.status, (await response.json())["code"]) == (404, "event_not_found")
    assert (await client.delete(f"/api/events/{second.id}")).status == 404
    assert (await _camera(client))["last_event_id"] == first.id
    assert await _told(a_home) == [(AnnouncementKind.EVENT_REMOVED, second.id, first.id)]
    (item,) = await all_items(client, "/api/trash", 10)
    assert item["event"] == before
    assert len(before["clips"]) == 1
    assert item["deleted_at"] == deleted_at.isoformat().replace("+00:00", "Z")
    assert item["purged_after"] == "2026-11-30T09:00:00Z"
    # its pictures stay, for a look into the trash
    assert (await client.get(f"/api/frames/{second.best_frame_id}/picture.jpg")).status == 200

    restored = await client.post(f"/api/events/{second.id}/restore")
    assert (restored.status, await restored.json()) == (200, before)
    assert [item["id"] for item in await all_items(client, "/api/events", 10)] == [second.id, first.id]
    assert await all_items(client, "/api/trash", 10) == []
    assert (await _camera(client))["last_event_id"] == second.id
    assert (await _told(a_home))[1:] == [(AnnouncementKind.EVENT_RESTORED, None, second.id)]


async def test_the_last_event_of_all_leaves_none(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    event = await a_home.ended_event()
    client = await connect()
    await client.delete(f"/api/events/{event.id}")
    assert (await _camera(client))["last_event_id"] is None
    assert await _told(a_home) == [(AnnouncementKind.EVENT_REMOVED, event.id, None)]


async def test_the_last_event_is_the_one_that_began_last(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    younger = await a_home.ended_event()
    a_home.clock.move(days=-3)
    imported = await a_home.ended_event()  # of a time before, but with a higher number
    a_home.clock.move(days=3, minutes=5)
    youngest = await a_home.ended_event()
    client = await connect()
    await client.delete(f"/api/events/{youngest.id}")
    assert (await _camera(client))["last_event_id"] == younger.id
    await client.delete(f"/api/events/{younger.id}")
    assert (await _camera(client))["last_event_id"] == imported.id
    await client.post(f"/api/events/{younger.id}/restore")
    assert (await _camera(client))["last_event_id"] == younger.id
    await client.delete(f"/api/events/{imported.id}")
    await client.post(f"/api/events/{imported.id}/restore")
    assert (await _camera(client))["last_event_id"] == younger.id


async def test_an_event_that_goes_on_is_refused_with_a_remedy(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    event = await a_home.event()
    client = await connect()
    response = await client.delete(f"/api/events/{event.id}")
    problem = await response.json()
    assert (response.status, problem["code"]) == (409, "event_open")
    assert "when it has ended" in problem["remedy"]
    assert (await client.get(f"/api/events/{event.id}")).status == 200
    assert await _told(a_home) == []


async def test_what_is_not_in_the_trash_cannot_be_restored(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    event = await a_home.ended_event()
    client = await connect()
    for event_id in (event.id, 99):
        response = await client.post(f"/api/events/{event_id}/restore")
        problem = await response.json()
        assert (response.status, problem["code"]) == (404, "event_not_found")
        assert "/api/trash" in problem["remedy"]


async def test_the_trash_has_pages_what_was_deleted_last_first(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    made = [await a_home.ended_event() for _ in range(5)]
    client = await connect()
    for event in (made[3], made[0], made[4]):
        a_home.clock.move(seconds=1)
        await client.delete(f"/api/events/{event.id}")
    for event in (made[1], made[2]):  # at the same moment
        await client.delete(f"/api/events/{event.id}")
    wanted = [made[number].id for number in (4, 2, 1, 0, 3)]
    assert [item["event"]["id"] for item in await all_items(client, "/api/trash", 2)] == wanted
    assert (await client.get("/api/trash", params={"cursor": "x"})).status == 422


async def test_emptying_deletes_for_good(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    kept, gone = await a_home.ended_event(), await a_home.ended_event()
    await a_home.frame()
    client = await connect(Scope.ADMIN)
    await client.delete(f"/api/events/{gone.id}")
    a_home.later(hours=1)
    files = len(list(a_home.media.root.rglob("*.jpg")))
    response = await client.delete("/api/trash")
    answer = await response.json()
    assert (response.status, answer["count"]) == (200, 1)
    assert answer["bytes"] > 0
    assert await all_items(client, "/api/trash", 10) == []
    assert (await client.post(f"/api/events/{gone.id}/restore")).status == 404
    assert (await client.get(f"/api/frames/{gone.best_frame_id}/picture.jpg")).status == 404
    assert len(list(a_home.media.root.rglob("*.jpg"))) == files - 1
    assert (await client.get(f"/api/events/{kept.id}/snapshot.jpg")).status == 200


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/api/trash"), ("POST", "/api/system/cleanup")])
async def test_two_cleanups_at_once_are_refused(a_home: Home, connect: Connect, method: str, path: str) -> None:
    client = await connect(Scope.ADMIN)
    async with a_home.database.writing() as connection:
        await chores.take(connection, "cleanup", "another process", START)
    response = await client.request(method, path)
    assert (response.status, (await response.json())["code"]) == (409, "cleanup_running")
    assert (await client.post("/api/system/cleanup", params={"dry_run": "true"})).status == 200
