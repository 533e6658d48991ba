# SPDX-License-Identifier: Apache-2.0
"""Diagnostics tell much, but no secrets."""

import json

from homeassistant.core import HomeAssistant
from homeassistant.helpers.json import ExtendedJSONEncoder
from homeassistant.setup import async_setup_component
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.components.diagnostics import get_diagnostics_for_config_entry
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from tests.integration import samples
from tests.integration.fake_server import FakeServer
from tests.integration.waiting import until_state


async def test_diagnostics(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, hass_client: ClientSessionGenerator
) -> None:
    await server.event_happens("event_detected", samples.event())
    await until_state(hass, "sensor.front_door_risk_score", "35")
    assert await async_setup_component(hass, "diagnostics", {})

    shown = await get_diagnostics_for_config_entry(hass, hass_client, loaded)
    assert shown["entry"] == {"host": "**REDACTED**", "port": server.port, "token": "**REDACTED**"}
    assert shown["connection"] == {"connected": True, "last_sequence": 11, "last_error": None}
    assert shown["server"]["identity"]["server_id"] == samples.SERVER_ID
    assert [camera["id"] for camera in shown["cameras"]] == ["front_door"]
    assert [event["risk"]["score"] for event in shown["events"]] == [35]
    text = json.dumps(shown, cls=ExtendedJSONEncoder)
    assert samples.TOKEN not in text
    assert "127.0.0.1" not in text


async def test_diagnostics_of_a_broken_connection(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, hass_client: ClientSessionGenerator
) -> None:
    assert await async_setup_component(hass, "diagnostics", {})
    await server.stop()
    await until_state(hass, "sensor.front_door_risk_score", "unavailable")
    shown = await get_diagnostics_for_config_entry(hass, hass_client, loaded)
    assert shown["connection"] == {"connected": False, "last_sequence": 10, "last_error": "UpdateFailed"}
