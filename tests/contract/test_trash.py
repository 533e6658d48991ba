# SPDX-License-Identifier: AGPL-3.0-or-later
"""An event that is deleted on the real server is shown no more, until it is restored."""

import aiohttp
import pytest
from homeassistant.components.image import async_get_image
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from pytest_homeassistant_custom_component.common import MockConfigEntry

from inference_server.api.server import ApiServer
from tests.contract.security_events import SecurityEvents
from tests.integration.waiting import set_up, until, until_state, value
from tests.support.home import Home

IMAGE = "image.front_door_last_event"


async def test_the_image_leaves_and_comes_back_with_its_event(
    hass: HomeAssistant, entry: MockConfigEntry, api: ApiServer, a_home: Home, security_events: SecurityEvents
) -> None:
    await a_home.camera()
    event = await a_home.ended_event()
    await set_up(hass, entry)
    assert (await async_get_image(hass, IMAGE)).content

    headers = {"Authorization": f"Bearer {await a_home.token()}"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{api.port}", headers=headers) as http:
        async with http.delete(f"/api/events/{event.id}") as answer:
            assert answer.status == 204
        await until_state(hass, IMAGE, "unknown")
        with pytest.raises(HomeAssistantError):
            await async_get_image(hass, IMAGE)
        async with http.post(f"/api/events/{event.id}/restore") as answer:
            assert (await answer.json())["id"] == event.id
    await until(hass, lambda: value(hass, IMAGE) != "unknown")
    assert (await async_get_image(hass, IMAGE)).content
    assert security_events.fired == []
