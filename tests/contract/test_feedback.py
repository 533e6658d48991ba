# SPDX-License-Identifier: AGPL-3.0-or-later
"""Feedback on the real server does Home Assistant no harm: an event that carries some is the event that it was."""

import aiohttp
from homeassistant.core import HomeAssistant
from pytest_homeassistant_custom_component.common import MockConfigEntry

from inference_server.api.server import ApiServer
from tests.contract.security_events import SecurityEvents
from tests.integration.waiting import set_up, until_state, value
from tests.support.home import Home

SCORE = "sensor.front_door_risk_score"


async def test_an_event_with_feedback_is_shown_as_before_and_fires_nothing(
    hass: HomeAssistant, entry: MockConfigEntry, api: ApiServer, a_home: Home, security_events: SecurityEvents
) -> None:
    for camera_id in ("front_door", "gate"):
        await a_home.camera(camera_id)
    event = await a_home.event(score=64)
    await set_up(hass, entry)
    await until_state(hass, SCORE, "64")
    headers = {"Authorization": f"Bearer {await a_home.token()}"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{api.port}", headers=headers) as http:
        said = {"kind": "known_person", "name": "Bob", "note": "Next door", "by": "Anna"}
        async with http.put(f"/api/events/{event.id}/feedback", json=said) as answer:
            assert answer.status == 200
        await a_home.event("gate", score=30)
        await a_home.announce_state("gate")
        await until_state(hass, "sensor.gate_risk_score", "30")
        assert value(hass, SCORE) == "64"
        assert security_events.fired == []
    assert await hass.config_entries.async_reload(entry.entry_id)
    await until_state(hass, SCORE, "64")
