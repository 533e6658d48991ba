# SPDX-License-Identifier: AGPL-3.0-or-later
"""Cameras that come and go while everything runs."""

from tests.e2e.house import E2E, House
from tests.e2e.watch import Watch
from tests.support import scenes

pytestmark = E2E

ENTITIES = {
    "event.garden_security_event",
    "image.garden_last_event",
    "camera.garden_latest_picture",
    "sensor.garden_risk_score",
    "sensor.garden_risk_level",
    "binary_sensor.garden_person",
    "binary_sensor.garden_vehicle",
    "binary_sensor.garden_animal",
}


async def test_a_camera_appears_with_its_first_picture_and_goes_when_it_is_deleted(house: House, watch: Watch) -> None:
    house.drop("garden", scenes.encode(scenes.nobody()))
    await watch.until("entities of the garden", lambda: watch.states.keys() >= ENTITIES)
    assert "Garden" in await house.devices()

    async with house.ask_server() as http, http.delete("/api/cameras/garden") as answer:
        assert answer.status == 204
    await watch.until("garden without entities", lambda: not watch.states.keys() & ENTITIES)
    assert "Garden" not in await house.devices()
    registered = {entity["entity_id"] for entity in await house.client.call("config/entity_registry/list")}
    assert not registered & ENTITIES
