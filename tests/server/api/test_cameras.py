# SPDX-License-Identifier: AGPL-3.0-or-later
"""Cameras over REST."""

from inference_server.core.announcement import AnnouncementKind
from inference_server.core.status import DetectorState, DetectorStatus
from inference_server.storage import announcements
from inference_server.storage.tokens import Scope
from tests.server.api.conftest import Connect
from tests.support.home import Home


async def test_a_camera_tells_its_state(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    event = await a_home.event(score=60)
    client = await connect(Scope.READ)
    camera = await (await client.get("/api/cameras/front_door")).json()
    assert camera == {
        "id": "front_door",
        "name": "Front door",
        "created_at": "2026-11-23T08:00:00Z",
        "last_frame_at": "2026-11-23T08:00:00Z",
        "last_frame_id": event.best_frame_id,
        "judged": True,
        "risk": {"score": 60, "level": "high"},
        "occupancy": {"person": True, "vehicle": True, "animal": False},
        "open_event_id": event.id,
        "last_event_id": event.id,
        "view_problems": [],
    }


async def test_a_quiet_camera_is_at_zero(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    event = await a_home.ended_event(score=60)
    client = await connect(Scope.READ)
    camera = await (await client.get("/api/cameras/front_door")).json()
    assert camera["risk"] == {"score": 0, "level": "low"}
    assert camera["occupancy"] == {"person": False, "vehicle": False, "animal": False}
    assert (camera["open_event_id"], camera["last_event_id"]) == (None, event.id)


async def test_a_camera_that_cannot_be_judged_is_unknown_not_safe(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    await a_home.event(score=60)
    client = await connect(Scope.READ)
    for state in (DetectorState.DOWN, DetectorState.STARTING):
        a_home.detector = DetectorStatus(state)
        (camera,) = (await (await client.get("/api/cameras")).json())["items"]
        assert (camera["judged"], camera["risk"], camera["occupancy"]) == (False, None, None)


async def test_cameras_are_listed_by_name(a_home: Home, connect: Connect) -> None:
    client = await connect(Scope.READ)
    assert await (await client.get("/api/cameras")).json() == {"items": []}
    for camera_id in ("yard", "attic"):
        await a_home.camera(camera_id)
    assert [camera["id"] for camera in (await (await client.get("/api/cameras")).json())["items"]] == ["attic", "yard"]


async def test_an_unknown_camera_is_a_problem_with_a_remedy(connect: Connect) -> None:
    client = await connect(Scope.INTEGRATION)
    for response in (await client.get("/api/cameras/garage"), await client.delete("/api/cameras/garage")):
        assert await response.json() == {
            "type": "about:blank",
            "title": "Not found",
            "status": 404,
            "code": "camera_not_found",
            "detail": 'There is no camera "garage".',
            "remedy": "GET /api/cameras lists the cameras.",
        }


async def test_removing_a_camera_hides_and_announces_it(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    event = await a_home.event()
    client = await connect(Scope.INTEGRATION)
    notified = a_home.announced.count
    response = await client.delete("/api/cameras/front_door")
    assert (response.status, await response.read()) == (204, b"")
    assert a_home.announced.count == notified + 1
    async with a_home.database.reading() as connection:
        items = await announcements.after(connection, 0, limit=10)
    assert items is not None
    assert [(item.announcement.kind, item.announcement.camera_id) for item in items] == [
        (AnnouncementKind.CAMERA_REMOVED, "front_door")
    ]
    for path in ("/api/cameras/front_door", "/api/cameras/front_door/latest.jpg"):
        assert (await (await client.get(path)).json())["code"] == "camera_not_found"
    assert (await client.get(f"/api/events/{event.id}/snapshot.jpg")).status == 200
    assert (await client.delete("/api/cameras/front_door")).status == 404
    await a_home.camera()
    assert (await client.get("/api/cameras/front_door")).status == 200
