# SPDX-License-Identifier: AGPL-3.0-or-later
"""Events over REST."""

import base64
from datetime import timedelta

import pytest
from yarl import URL

from inference_server.storage.tokens import Scope
from tests.server.api.conftest import Client, Connect
from tests.support.home import BUS, PERSON, START, Home


async def test_an_event_is_explained(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    event = await a_home.event(score=35, detections=(BUS, PERSON, PERSON))
    client = await connect(Scope.READ)
    sent = await (await client.get(f"/api/events/{event.id}")).json()
    assert sent["risk"] == {"score": 35, "level": "medium"}
    assert list(sent["objects"].items()) == [("person", 2), ("bus", 1)]
    assert sent["tracks"][0] == {
        "label": "bus",
        "confidence": 0.75,
        "first_seen_at": "2026-11-23T08:00:00Z",
        "last_seen_at": "2026-11-23T08:00:00Z",
        "frames": 1,
        "dwell_seconds": 0,
        "best_frame_id": None,
        "speed": None,
        "path": [],
        "zones": [],
        "crossings": [],
    }
    assert sent["factors"] == [{"name": "person_seen", "points": 35, "evidence": "1 person, confidence up to 0.91"}]
    assert (sent["source"], sent["verified"], sent["ended_at"], sent["end_reason"]) == ("rules", False, None, None)


async def test_an_ended_event_says_why(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    event = await a_home.ended_event()
    client = await connect(Scope.READ)
    sent = await (await client.get(f"/api/events/{event.id}")).json()
    assert (sent["ended_at"], sent["end_reason"]) == ("2026-11-23T08:00:00Z", "idle")


async def test_detections_name_their_frame(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    event = await a_home.event(detections=(PERSON, BUS))
    client = await connect(Scope.READ)
    items = (await (await client.get(f"/api/events/{event.id}/detections")).json())["items"]
    assert [item["label"] for item in items] == ["person", "bus"]
    assert items[0] == {
        "frame_id": event.best_frame_id,
        "ordinal": 0,
        "captured_at": "2026-11-23T08:00:00Z",
        "label": "person",
        "confidence": 0.91,
        "box": {"x": 40, "y": 30, "width": 80, "height": 160},
        "left_out": None,
    }


@pytest.mark.parametrize("path", ["/api/events/77", "/api/events/77/detections", "/api/events/77/snapshot.jpg"])
async def test_an_unknown_event_is_a_problem(connect: Connect, path: str) -> None:
    client = await connect(Scope.READ)
    response = await client.get(path)
    problem = await response.json()
    assert (response.status, problem["code"], problem["detail"]) == (404, "event_not_found", "There is no event 77.")


async def ids(client: Client, **query: str) -> list[int]:
    response = await client.get("/api/events", params=query)
    assert response.status == 200, await response.text()
    return [event["id"] for event in (await response.json())["items"]]


async def test_events_are_filtered(a_home: Home, connect: Connect) -> None:
    for camera_id in ("front_door", "yard"):
        await a_home.camera(camera_id)
    made = {}
    for minutes, (camera_id, score) in enumerate((("front_door", 10), ("yard", 29), ("front_door", 30), ("yard", 90))):
        a_home.clock.time = START + timedelta(minutes=minutes)
        made[minutes] = (await a_home.ended_event(camera_id, score=score)).id
    client = await connect(Scope.READ)
    assert await ids(client) == [made[3], made[2], made[1], made[0]]
    assert await ids(client, camera_id="yard") == [made[3], made[1]]
    assert await ids(client, min_level="low") == [made[3], made[2], made[1], made[0]]
    assert await ids(client, min_level="medium") == [made[3], made[2]]
    assert await ids(client, min_level="critical") == [made[3]]
    assert await ids(client, since="2026-11-23T08:02:00Z") == [made[3], made[2]]
    assert await ids(client, until="2026-11-23T10:02:00+02:00") == [made[1], made[0]]
    assert await ids(client, camera_id="nobody") == []


@pytest.mark.parametrize("limit", [1, 3, 7, 200])
async def test_pages_show_every_event_once(a_home: Home, connect: Connect, limit: int) -> None:
    await a_home.camera()
    made = [(await a_home.ended_event()).id for _ in range(7)]
    client = await connect(Scope.READ)
    seen: list[int] = []
    query = {"limit": str(limit)}
    while True:
        page = await (await client.get("/api/events", params=query)).json()
        assert len(page["items"]) <= limit
        seen += [event["id"] for event in page["items"]]
        if page["next_cursor"] is None:
            break
        await a_home.ended_event()  # what happens meanwhile is on no later page
        query["cursor"] = page["next_cursor"]
    assert seen == made[::-1]


HUGE_MOMENT = base64.urlsafe_b64encode(str(2**63 - 1).encode()).decode().rstrip("=")
HUGE_CURSOR = base64.urlsafe_b64encode(b"9" * 30).decode()


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/api/events?limit=0", "limit"),
        ("/api/events?limit=201", "limit"),
        ("/api/events?limit=many", "limit"),
        ("/api/events?limit=1&limit=2", "limit"),
        ("/api/events?min_level=awful", "min_level"),
        ("/api/events?since=2026-11-23T08:00:00", "since"),
        ("/api/events?until=yesterday", "until"),
        ("/api/events?since=0001-01-01T00:00:00%2B14:00", "since"),
        ("/api/events?until=9999-12-31T23:59:59-14:00", "until"),
        ("/api/events?camera_id=Front%20Door", "camera_id"),
        ("/api/events?cursor=%21%21", "cursor"),
        (f"/api/events?cursor={HUGE_CURSOR}", "cursor"),
        ("/api/events?colour=red", "colour"),
        ("/api/events/0", "event_id"),
        ("/api/events/nine", "event_id"),
        ("/api/events/9223372036854775808", "event_id"),
        ("/api/events/1?event_id=2", "event_id"),
        ("/api/events/1/snapshot.jpg?boxes=perhaps", "boxes"),
        ("/api/events/1/snapshot.jpg?width=63", "width"),
        ("/api/events/1/snapshot.jpg?width=3841", "width"),
        ("/api/cameras/Front-Door", "camera_id"),
        ("/api/cameras/..%2f..%2fetc", "camera_id"),
        (f"/api/cameras/{'a' * 65}", "camera_id"),
        ("/api/cameras?x=1", "x"),
        ("/api/frames/-1/picture.jpg", "frame_id"),
        ("/api/refusals?cursor=%21%21", "cursor"),
        ("/api/refusals?cursor=MQ", "cursor"),
        (f"/api/refusals?cursor={HUGE_MOMENT}.MQ", "cursor"),
        ("/api/refusals?camera_id=yard", "camera_id"),
    ],
)
async def test_what_cannot_be_is_refused_by_name(connect: Connect, path: str, named: str) -> None:
    client = await connect(Scope.READ)
    response = await client.get(URL(path, encoded=True))
    problem = await response.json()
    assert (response.status, problem["code"]) == (422, "invalid_request")
    assert named in problem["detail"]
    assert problem["remedy"]
