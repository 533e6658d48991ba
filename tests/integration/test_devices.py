# SPDX-License-Identifier: Apache-2.0
"""Devices come, change and go with the server's cameras."""

import pytest
from aiohttp import web
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import device_registry as dr
from homeassistant.setup import async_setup_component
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.typing import WebSocketGenerator

from custom_components.home_security_intelligence import async_remove_config_entry_device
from custom_components.home_security_intelligence.const import DOMAIN
from tests.integration import samples
from tests.integration.fake_server import FakeServer, problem
from tests.integration.waiting import set_up, until, until_state, value

FRONT_DOOR = (DOMAIN, f"{samples.SERVER_ID}_front_door")
GARDEN = (DOMAIN, f"{samples.SERVER_ID}_garden")
SERVER = (DOMAIN, samples.SERVER_ID)


def device(registry: dr.DeviceRegistry, entry: MockConfigEntry, identifier: tuple[str, str]) -> dr.DeviceEntry:
    found = registry.async_get_device_by_identifier(identifier, entry.entry_id)
    assert found
    return found


async def test_devices(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, device_registry: dr.DeviceRegistry
) -> None:
    of_server = device(device_registry, loaded, SERVER)
    assert of_server.entry_type is dr.DeviceEntryType.SERVICE
    assert of_server.sw_version == "0.1.0"
    of_camera = device(device_registry, loaded, FRONT_DOOR)
    assert of_camera.name == "Front door"
    assert of_camera.via_device_id == of_server.id


async def test_a_camera_appears_with_its_first_event(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, device_registry: dr.DeviceRegistry
) -> None:
    event = samples.event(3, "garden")
    await server.push("camera_added", camera=samples.camera("garden"))
    await server.push("event_detected", event=event, camera=samples.busy_camera(event))

    await until_state(hass, "sensor.garden_risk_score", "35")
    assert device(device_registry, loaded, GARDEN).name == "Garden"
    state = hass.states.get("event.garden_security_event")
    assert state
    assert state.attributes["event_type"] == "detected"


async def test_a_camera_disappears_and_returns(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, device_registry: dr.DeviceRegistry
) -> None:
    await server.push("camera_removed", camera_id="front_door")
    await until(hass, lambda: hass.states.get("sensor.front_door_risk_score") is None)
    assert device_registry.async_get_device_by_identifier(FRONT_DOOR, loaded.entry_id) is None

    await server.push("camera_added", camera=samples.camera())
    await until_state(hass, "sensor.front_door_risk_score", "0")


async def test_an_event_of_a_removed_camera_is_passed_over(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, device_registry: dr.DeviceRegistry
) -> None:
    await server.push("event_ended", event=samples.event(3, "garden", ended_at=samples.MORNING), camera=None)
    await server.push("camera_updated", camera=samples.camera(name="Entrance"))
    await until(hass, lambda: device(device_registry, loaded, FRONT_DOOR).name == "Entrance")
    assert device_registry.async_get_device_by_identifier(GARDEN, loaded.entry_id) is None
    assert server.subscriptions == [None]


async def test_what_vanished_while_away_is_removed(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, device_registry: dr.DeviceRegistry
) -> None:
    await hass.config_entries.async_unload(loaded.entry_id)
    server.cameras = {"garden": samples.camera("garden")}
    await hass.config_entries.async_setup(loaded.entry_id)
    await hass.async_block_till_done()

    assert device_registry.async_get_device_by_identifier(FRONT_DOOR, loaded.entry_id) is None
    assert value(hass, "sensor.garden_risk_score") == "0"


async def test_names_and_versions_follow_the_server(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, device_registry: dr.DeviceRegistry
) -> None:
    await server.push("camera_updated", camera=samples.camera(name="Entrance"))
    await server.change_server(version="0.2.0")
    await until(hass, lambda: device(device_registry, loaded, SERVER).sw_version == "0.2.0")
    assert device(device_registry, loaded, FRONT_DOOR).name == "Entrance"


async def remove(hass: HomeAssistant, hass_ws_client: WebSocketGenerator, device_id: str) -> bool:
    assert await async_setup_component(hass, "config", {})
    client = await hass_ws_client(hass)
    response = await client.remove_device(device_id)
    return bool(response["success"])


@pytest.mark.parametrize("known_to_server", [True, False])
async def test_removing_a_camera(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: FakeServer,
    device_registry: dr.DeviceRegistry,
    hass_ws_client: WebSocketGenerator,
    known_to_server: bool,
) -> None:
    if not known_to_server:
        server.cameras = {}
    of_camera = device(device_registry, loaded, FRONT_DOOR)
    assert await remove(hass, hass_ws_client, of_camera.id)
    await hass.async_block_till_done()

    assert "/api/cameras/front_door" in server.requests
    assert "front_door" not in server.cameras
    assert device_registry.async_get(of_camera.id) is None


@pytest.mark.parametrize(
    "failure", [problem(403, "forbidden"), problem(500, "internal"), problem(422, "invalid_request"), web.Response()]
)
async def test_a_camera_stays_when_the_server_refuses(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: FakeServer,
    device_registry: dr.DeviceRegistry,
    hass_ws_client: WebSocketGenerator,
    failure: web.Response,
) -> None:
    failure.set_status(failure.status if failure.status != 200 else 418)
    server.failure = failure
    of_camera = device(device_registry, loaded, FRONT_DOOR)
    assert not await remove(hass, hass_ws_client, of_camera.id)
    assert device_registry.async_get(of_camera.id)


async def test_a_camera_cannot_be_removed_while_the_server_is_away(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: FakeServer,
    device_registry: dr.DeviceRegistry,
    hass_ws_client: WebSocketGenerator,
) -> None:
    await server.stop()
    await hass.config_entries.async_reload(loaded.entry_id)
    assert loaded.state is ConfigEntryState.SETUP_RETRY
    of_camera = device(device_registry, loaded, FRONT_DOOR)
    with pytest.raises(HomeAssistantError) as refused:
        await async_remove_config_entry_device(hass, loaded, of_camera)
    assert refused.value.translation_key == "disconnected"
    assert not await remove(hass, hass_ws_client, of_camera.id)


async def test_the_server_itself_cannot_be_removed(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    device_registry: dr.DeviceRegistry,
    hass_ws_client: WebSocketGenerator,
) -> None:
    of_server = device(device_registry, loaded, SERVER)
    assert not await remove(hass, hass_ws_client, of_server.id)
    assert device_registry.async_get(of_server.id)


async def test_two_servers_may_have_cameras_of_the_same_name(
    hass: HomeAssistant, loaded: MockConfigEntry, device_registry: dr.DeviceRegistry, server: FakeServer
) -> None:
    second = FakeServer()
    second.first_frame = samples.hello(server_id=samples.OTHER_SERVER_ID)
    second.server = samples.server(server_id=samples.OTHER_SERVER_ID, name="Cottage")
    second.cameras = {"front_door": samples.camera(risk={"score": 61, "level": "high"})}
    await second.start()
    other = MockConfigEntry(
        domain=DOMAIN, unique_id=samples.OTHER_SERVER_ID, title="Cottage", data={**loaded.data, "port": second.port}
    )
    await set_up(hass, other)

    assert value(hass, "sensor.front_door_risk_score") == "0"
    assert value(hass, "sensor.front_door_risk_score_2") == "61"
    await hass.config_entries.async_unload(other.entry_id)
    await second.stop()
