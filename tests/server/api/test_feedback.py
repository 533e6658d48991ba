# SPDX-License-Identifier: AGPL-3.0-or-later
"""Feedback over the API: given, listed, tried without being stored, refused where it is none."""

from typing import Any

import pytest

from inference_server.storage import announcements
from inference_server.storage.tokens import Scope
from tests.server.api.conftest import Client, Connect, all_items
from tests.support.home import Home

NOTHING = {"kind": None, "level": None, "name": None, "note": "", "by": None}


async def _problem(client: Client, method: str, path: str, **request: Any) -> tuple[int, str]:
    response = await client.request(method, path, **request)
    return response.status, (await response.json())["code"]


async def test_it_stands_in_its_event_and_is_told(a_home: Home, connect: Connect) -> None:
    client = await connect()
    await a_home.camera()
    event = await a_home.event(score=45)
    path = f"/api/events/{event.id}/feedback"
    assert await _problem(client, "GET", path) == (404, "feedback_not_found")
    body = {"kind": "known_person", "name": "Bob", "note": "From next door", "by": "Anna"}
    given = await (await client.put(path, json=body)).json()
    assert given["feedback"] == {
        **NOTHING,
        **body,
        "id": given["feedback"]["id"],
        "event_id": event.id,
        "camera_id": "front_door",
        "given_at": "2026-11-23T08:00:00Z",
        "withdrawn_at": None,
    }
    assert given["effect"]["asks"] == 14.5 - 45
    assert given["effect"]["items"][0]["before"] == {"score": 45, "level": "medium"}
    assert given["effect"]["items"][0]["after"] == {"score": 37, "level": "medium"}
    read = await (await client.get(f"/api/events/{event.id}")).json()
    assert read["feedback"] == given["feedback"] == await (await client.get(path)).json()
    assert (read["risk"]["score"], read["factors"]) == (45, read["factors"])
    assert (await client.delete(path)).status == 204
    assert await _problem(client, "DELETE", path) == (404, "feedback_not_found")
    assert (await (await client.get(f"/api/events/{event.id}")).json())["feedback"] is None
    async with a_home.database.reading() as connection:
        told = await announcements.after(connection, 0, limit=10)
    assert told
    said = [item.announcement.event.feedback for item in told if item.announcement.event]
    assert [item.opinion.name if item else None for item in said] == ["Bob", None]
    assert {item.announcement.kind for item in told} == {"event_updated"}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"kind": "boring"},
        {"kind": "wrong_severity"},
        {"kind": "wrong_severity", "level": "medium"},
        {"kind": "wrong_severity", "level": "severe"},
        {"kind": "correct", "level": "low"},
        {"kind": "known_person"},
        {"kind": "known_person", "name": "\0"},
        {"kind": "known_person", "name": "x" * 101},
        {"kind": "correct", "note": "x" * 1001},
        {"kind": "correct", "note": "\x1b[31m"},
        {"kind": "correct", "by": ""},
        {"kind": "correct", "more": 1},
        {"kind": 1e308},
        [],
    ],
)
async def test_what_is_no_feedback_is_refused_and_changes_nothing(a_home: Home, connect: Connect, body: object) -> None:
    client = await connect()
    await a_home.camera()
    event = await a_home.event(score=45)
    refused = await _problem(client, "PUT", f"/api/events/{event.id}/feedback", json=body)
    assert refused == (422, "invalid_request")
    assert (await (await client.get("/api/feedback")).json())["items"] == []


async def test_who_is_not_there_cannot_be_known(a_home: Home, connect: Connect) -> None:
    client = await connect()
    await a_home.camera()
    event = await a_home.event(detections=())
    response = await client.put(f"/api/events/{event.id}/feedback", json={"kind": "known_vehicle", "name": "Van"})
    assert response.status == 422
    assert "shows no vehicle" in (await response.json())["detail"]


async def test_what_might_be_said_is_tried_without_being_stored(a_home: Home, connect: Connect) -> None:
    client = await connect()
    await a_home.camera()
    event = await a_home.ended_event(score=33)
    await a_home.ended_event(score=65)
    query = {"event_id": str(event.id)}
    assert await _problem(client, "GET", "/api/feedback/effect", params=query) == (404, "feedback_not_found")
    tried = await (await client.get("/api/feedback/effect", params=query | {"kind": "false_alarm"})).json()
    assert (tried["judged_again"], tried["changed"], tried["lowered"], tried["raised"]) == (2, 2, 1, 0)
    assert [(item["before"]["score"], item["after"]["score"]) for item in tried["items"]] == [(65, 60), (33, 28)]
    assert (await (await client.get("/api/feedback")).json())["items"] == []
    given = await (await client.put(f"/api/events/{event.id}/feedback", json={"kind": "false_alarm"})).json()
    assert given["effect"] == tried == await (await client.get("/api/feedback/effect", params=query)).json()
    worse = query | {"kind": "missed", "level": "critical"}
    raised = await (await client.get("/api/feedback/effect", params=worse)).json()
    assert [(item["before"]["score"], item["after"]["score"]) for item in raised["items"]] == [(65, 80), (33, 48)]
    level_alone = query | {"level": "low"}
    assert (await _problem(client, "GET", "/api/feedback/effect", params=level_alone))[0] == 422


async def test_the_list_has_pages_and_filters(a_home: Home, connect: Connect) -> None:
    client = await connect()
    for camera_id in ("front_door", "gate"):
        await a_home.camera(camera_id)
    *_, event = [await a_home.ended_event(camera_id) for camera_id in ("front_door", "gate") for _ in range(3)]
    for event_id, kind in (*((number, "correct") for number in range(1, 7)), (event.id, "false_alarm")):
        await client.put(f"/api/events/{event_id}/feedback", json={"kind": kind})
        a_home.clock.move(minutes=1)
    everything = await all_items(client, "/api/feedback", 2)
    assert [item["id"] for item in everything] == [7, 6, 5, 4, 3, 2, 1]
    for query, ids in (
        ("camera_id=front_door", [3, 2, 1]),
        ("counting=false", [6]),
        ("kind=false_alarm", [7]),
        (f"event_id={event.id}&counting=true", [7]),
    ):
        page = await (await client.get(f"/api/feedback?{query}")).json()
        assert [item["id"] for item in page["items"]] == ids
    assert await _problem(client, "GET", "/api/feedback?cursor=x") == (422, "invalid_request")
    assert (await client.delete("/api/feedback/7")).status == 204
    assert await _problem(client, "DELETE", "/api/feedback/7") == (404, "feedback_not_found")
    assert await _problem(client, "DELETE", f"/api/feedback/{2**62}") == (404, "feedback_not_found")


async def test_a_camera_tells_its_calibration(a_home: Home, connect: Connect) -> None:
    client = await connect()
    await a_home.camera()
    path = "/api/cameras/front_door/calibration"
    assert await (await client.get(path)).json() == {"at_most": 25, "items": []}
    for _ in range(4):
        event = await a_home.ended_event(score=64)
        await client.put(f"/api/events/{event.id}/feedback", json={"kind": "false_alarm"})
    (item,) = (await (await client.get(path)).json())["items"]
    assert item == {"category": "person", "points": round(4 * (14.5 - 64) / 20, 1), "feedback": {"false_alarm": 4}}
    assert await _problem(client, "GET", "/api/cameras/nowhere/calibration") == (404, "camera_not_found")


async def test_reading_is_not_enough_to_give_feedback(a_home: Home, connect: Connect) -> None:
    reader = await connect(Scope.READ)
    await a_home.camera()
    event = await a_home.ended_event()
    path = f"/api/events/{event.id}/feedback"
    assert await _problem(reader, "PUT", path, json={"kind": "correct"}) == (403, "forbidden")
    assert await _problem(reader, "DELETE", path) == (403, "forbidden")
    assert await _problem(reader, "DELETE", "/api/feedback/1") == (403, "forbidden")
    assert (await reader.get("/api/feedback")).status == 200
    assert await _problem(reader, "GET", "/api/events/99/feedback") == (404, "event_not_found")
