# SPDX-License-Identifier: AGPL-3.0-or-later
"""What Home Assistant knows of the home reaches the real server."""

import asyncio

from homeassistant.core import HomeAssistant
from pytest_homeassistant_custom_component.common import MockConfigEntry

from inference_server.core.context import AlarmState, HomeContext
from inference_server.storage import home_context
from tests.integration.waiting import set_up
from tests.support.home import Home


async def _known(a_home: Home) -> HomeContext | None:
    async with a_home.database.reading() as connection:
        return await home_context.get(connection)


async def test_the_state_of_the_home_reaches_the_server(
    hass: HomeAssistant, entry: MockConfigEntry, a_home: Home
) -> None:
    hass.states.async_set("person.ann", "home")
    hass.states.async_set("alarm_control_panel.house", "armed_night")
    hass.states.async_set("sun.sun", "below_horizon")
    await set_up(hass, entry)
    expected = HomeContext(a_home.clock.now(), None, 1, AlarmState.ARMED_NIGHT, sun_is_up=False)
    async with asyncio.timeout(10):
        while await _known(a_home) != expected:  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.05)
