# SPDX-License-Identifier: AGPL-3.0-or-later
"""Zones and what stands still, over REST."""

from typing import Any

import pytest

from inference_server.core.detection import Box, Detection, Label
from inference_server.core.zone import MAX_ZONES
from inference_server.storage.tokens import Scope
from tests.server.api.conftest import Client, Connect
from tests.support.home import Home

ZONES = "/api/cameras/front_door/zones"
STATIONARY = "/api/cameras/front_door/stationary"
PORCH: dict[str, Any] = {"name": "Porch", "type": "entry", "points": [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]}
DEFAULTS: dict[str, Any] = {
    "labels": [],
    "min_size": 0,
    "inertia": 1,
    "loitering_seconds": 0,
    "line": None,
    "priority": 0,
    "enabled": True,
    "colour": "#4aa8ff",
}


async def _made(client: Client, **changes: Any) -> dict[str, Any]:
    response = await client.post(ZONES, json={**PORCH, **changes})
    made: dict[str, Any] = await response.json()
    assert response.status == 201, made
    return made


async def test_a_zone_is_made_changed_and_removed(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    client = await connect()
    made = await _made(client)
    assert made == {"id": made["id"], **PORCH, **DEFAULTS}
    path = f"{ZONES}/{made['id']}"
    changes: tuple[dict[str, Any], ...] = (
        {"name": "Front porch", "type": "restricted"},
        {"labels": ["person", "dog"], "min_size": 0.01, "inertia": 3, "loitering_seconds": 20.5},
        {"line": {"start": [0, 0.5], "end": [0.5, 0.5]}, "priority": -7, "enabled": False, "colour": "#00ff00"},
        {"line": None},
        {},
    )
    expected = made
    for change in changes:
        expected = {**expected, **change}
        response = await client.patch(path, json=change)
        assert (response.status, await response.json()) == (200, expected)
        assert await (await client.get(path)).json() == expected
    assert (await (await client.get(ZONES)).json())["items"] == [expected]
    assert (await client.delete(path)).status == 204
    assert (await (await client.get(ZONES)).json())["items"] == []


async def test_a_rectangle_stands_for_its_corners(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    client = await connect()
    body = {"name": "Yard", "type": "yard", "rectangle": [0.1, 0.2, 0.3, 0.4]}
    made = await (await client.post(ZONES, json=body)).json()
    assert made["points"] == [[0.1, 0.2], [0.3, 0.2], [0.3, 0.4], [0.1, 0.4]]
    changed = await client.patch(f"{ZONES}/{made['id']}", json={"rectangle": [0, 0, 1, 1]})
    assert (await changed.json())["points"] == [[0, 0], [1, 0], [1, 1], [0, 1]]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"name": ""}, "1 to 50 characters"),
        ({"type": "garden"}, "type"),
        ({"points": [[0, 0], [1, 1]]}, "3 to 64 points"),
        ({"points": [[0, 0], [1, 1], [1, 0], [0, 1]]}, "neither crosses nor touches itself"),
        ({"points": [[0, 0], [2, 0], [1, 1]]}, "between 0"),
        ({"rectangle": [0, 0, 1, 1]}, "not both"),
        ({"line": {"start": [0, 0], "end": [0, 0]}}, "apart"),
        ({"labels": ["unicorn"]}, "labels"),
        ({"inertia": 1.5}, "inertia"),
        ({"priority": 10**30}, "priority"),
        ({"min_size": 1e308}, "from 0 to 1"),
        ({"colour": "blue"}, "#4aa8ff"),
        ({"owner": "me"}, "owner"),
    ],
)
async def test_what_is_no_zone_is_refused_with_its_reason(
    a_home: Home, connect: Connect, wrong: dict[str, Any], told: str
) -> None:
    await a_home.camera()
    client = await connect()
    zone = await _made(client, name="Gate")
    for response in (
        await client.post(ZONES, json={**PORCH, **wrong}),
        await client.patch(f"{ZONES}/{zone['id']}", json={**PORCH, **wrong}),
        await client.post(f"{ZONES}/test", json={"zone": {**PORCH, **wrong}}),
    ):
        problem = await response.json()
        assert (response.status, problem["code"]) == (422, "invalid_request")
        assert told in problem["detail"]
        assert "Value error" not in problem["detail"]
        assert problem["remedy"] == "GET /api/openapi.json describes every request."
    assert (await (await client.get(ZONES)).json())["items"] == [zone]


async def test_numbers_that_are_none_are_refused(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    client = await connect()
    for number in ("NaN", "Infinity", "1e400"):
        body = b'{"name": "a", "type": "yard", "points": [[%s, 0], [1, 0], [1, 1]]}' % number.encode()
        assert (await client.post(ZONES, data=body)).status == 422


async def test_a_name_and_a_number_of_zones(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    client = await connect()
    first, second = await _made(client), await _made(client, name="Gate")
    for response in (
        await client.post(ZONES, json=PORCH),
        await client.patch(f"{ZONES}/{second['id']}", json={"name": "Porch"}),
    ):
        assert (response.status, (await response.json())["detail"]) == (
            422,
            'name: the camera has a zone "Porch" already.',
        )
    assert (await client.patch(f"{ZONES}/{first['id']}", json={"name": "Porch"})).status == 200
    for number in range(MAX_ZONES - 2):
        await _made(client, name=f"Zone {number}")
    response = await client.post(ZONES, json={**PORCH, "name": "One more"})
    assert (response.status, (await response.json())["detail"]) == (422, "A camera has at most 32 zones.")


async def test_unknown_ones_are_problems(a_home: Home, connect: Connect) -> None:
    client = await connect()
    for path in (ZONES, f"{ZONES}/1", STATIONARY):
        assert (await (await client.get(path)).json())["code"] == "camera_not_found"
    await a_home.camera()
    await a_home.camera("yard")
    zone = await a_home.zone(camera_id="yard")
    for response in (await client.get(f"{ZONES}/{zone.id}"), await client.delete(f"{ZONES}/{zone.id}")):
        assert (response.status, (await response.json())["code"]) == (404, "zone_not_found")
    response = await client.delete(f"{STATIONARY}/9")
    assert (response.status, (await response.json())["code"]) == (404, "stationary_object_not_found")


async def test_a_zone_is_tried_on_stored_pictures(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    left, right = (Detection(Label.PERSON, 0.9, Box(x, 100, 60, 120)) for x in (100, 500))
    car = Detection(Label.CAR, 0.8, Box(200, 200, 100, 60))
    await a_home.frame(detections=(left, right, car))
    await a_home.frame()
    a_home.clock.move(hours=2)
    newest = await a_home.frame(detections=(left,))
    client = await connect(Scope.READ)
    zone = {**PORCH, "labels": ["person"]}
    told = await (await client.post(f"{ZONES}/test", json={"zone": zone})).json()
    assert (told["frames"], told["inside"], told["outside"]) == (2, 2, 2)
    assert [item["objection"] for item in told["items"]] == [
        None,
        None,
        "its foot point lies outside",
        "a car does not count here",
    ]
    assert (told["items"][0]["frame_id"], told["items"][0]["label"]) == (newest, "person")
    for window in ({"hours": 1}, {"frames": 1}):
        told = await (await client.post(f"{ZONES}/test", json={"zone": zone, **window})).json()
        assert (told["frames"], told["inside"]) == (1, 1)


async def test_a_trial_knows_the_other_zones(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    await a_home.frame(detections=(Detection(Label.PERSON, 0.9, Box(100, 100, 60, 120)),))
    other = await a_home.zone("Door")
    client = await connect(Scope.READ)

    async def objection(**trial: Any) -> str | None:
        answer = await (await client.post(f"{ZONES}/test", json=trial)).json()
        reason: str | None = answer["items"][0]["objection"]
        return reason

    assert await objection(zone=PORCH) == 'the zone "Door" has precedence there'
    assert await objection(zone={**PORCH, "priority": 1}) is None
    assert await objection(zone=PORCH, zone_id=other.id) is None
    assert await objection(zone={**PORCH, "priority": 1, "enabled": False}) == "the zone is not enabled"


async def test_a_trial_instead_of_a_zone_that_is_not_there_is_refused(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    await a_home.camera("yard")
    elsewhere = await a_home.zone(camera_id="yard")
    client = await connect(Scope.READ)
    for zone_id in (999, elsewhere.id):
        answer = await client.post(f"{ZONES}/test", json={"zone": PORCH, "zone_id": zone_id})
        assert (answer.status, (await answer.json())["code"]) == (404, "zone_not_found")


async def test_what_stands_still_is_listed_and_forgotten(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    standing_id = await a_home.standing()
    client = await connect()
    assert (await (await client.get(STATIONARY)).json())["items"] == [
        {
            "id": standing_id,
            "label": "car",
            "box": {"x": 0.25, "y": 0.5, "width": 0.25, "height": 0.125},
            "since": "2026-11-23T08:00:00Z",
            "stationary_at": "2026-11-23T08:00:00Z",
            "last_seen_at": "2026-11-23T08:00:00Z",
            "sightings": 7,
        }
    ]
    await a_home.camera_reader.read()
    (cameras,) = [item for item in a_home.health.components if item.name == "cameras"]
    assert cameras.details["stationary_objects"] == 1
    assert (await client.delete(f"{STATIONARY}/{standing_id}")).status == 204
    assert (await (await client.get(STATIONARY)).json())["items"] == []
    assert (await client.delete(f"{STATIONARY}/{standing_id}")).status == 404
