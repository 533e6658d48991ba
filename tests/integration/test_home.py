# SPDX-License-Identifier: Apache-2.0
"""The state of the home, as the server is told it."""

import asyncio
from typing import Any

import pytest
from homeassistant.core import HomeAssistant
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.home_security_intelligence import home
from tests.integration.fake_server import FakeServer
from tests.integration.waiting import set_up

NOTHING = {"people_home": None, "alarm": None, "sun_is_up": None}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not let tests wait."""
    monkeypatch.setattr(home, "SETTLE", 0.05)
    monkeypatch.setattr(home, "TRY_AGAIN", 0.05)


async def _told(server: FakeServer) -> dict[str, Any]:
    async with asyncio.timeout(10):
        told: dict[str, Any] = await server.homes.get()
        return told


async def test_the_server_is_told_at_the_start_and_at_each_change(
    hass: HomeAssistant, server: FakeServer, loaded: MockConfigEntry
) -> None:
    assert await _told(server) == NOTHING
    hass.states.async_set("person.ann", "home")
    hass.states.async_set("person.bob", "work")
    hass.states.async_set("person.new", "unknown")
    assert await _told(server) == {**NOTHING, "people_home": 1}
    hass.states.async_set("sun.sun", "below_horizon", {"elevation": -1})
    assert (await _told(server))["sun_is_up"] is False
    hass.states.async_set("sun.sun", "below_horizon", {"elevation": -2})  # which changes every minute
    hass.states.async_set("alarm_control_panel.house", "armed_away")
    assert await _told(server) == {"people_home": 1, "alarm": "armed_away", "sun_is_up": False}
    hass.states.async_set("person.ann", "not_home")
    assert (await _told(server))["people_home"] == 0
    assert server.homes.empty()


async def test_of_several_alarm_panels_one_that_was_triggered_speaks(
    hass: HomeAssistant, server: FakeServer, entry: MockConfigEntry
) -> None:
    hass.states.async_set("alarm_control_panel.house", "armed_away")
    hass.states.async_set("alarm_control_panel.shed", "unavailable")
    await set_up(hass, entry)
    assert (await _told(server))["alarm"] is None
    hass.states.async_set("alarm_control_panel.shed", "triggered")
    assert (await _told(server))["alarm"] == "triggered"


async def test_what_has_not_changed_is_told_again_before_the_server_forgets_it(
    hass: HomeAssistant, server: FakeServer, entry: MockConfigEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home, "TELL_EVERY", 0.05)
    await set_up(hass, entry)
    assert [await _told(server) for _ in range(3)] == [NOTHING] * 3


async def test_a_server_that_is_down_is_told_later(
    hass: HomeAssistant, server: FakeServer, loaded: MockConfigEntry
) -> None:
    await _told(server)
    server.refuses_homes = 503, "storage_down"
    hass.states.async_set("person.ann", "home")
    async with asyncio.timeout(10):
        await server.home_refused.wait()
    server.refuses_homes = None
    assert (await _told(server))["people_home"] == 1


async def test_an_older_server_is_left_alone(hass: HomeAssistant, server: FakeServer, entry: MockConfigEntry) -> None:
    server.refuses_homes = 404, "not_found"
    await set_up(hass, entry)
    async with asyncio.timeout(10):
        await server.home_refused.wait()
    server.refuses_homes = None
    await hass.async_block_till_done(wait_background_tasks=False)
    hass.states.async_set("person.ann", "home")
    await asyncio.sleep(4 * home.SETTLE)
    assert server.homes.empty()
