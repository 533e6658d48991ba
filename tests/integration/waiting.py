# SPDX-License-Identifier: Apache-2.0
"""Waiting for what Home Assistant does on its own."""

import asyncio
from collections.abc import Callable

from homeassistant.const import MATCH_ALL
from homeassistant.core import Event, HomeAssistant, callback
from pytest_homeassistant_custom_component.common import MockConfigEntry

TIMEOUT = 10


async def set_up(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    """Set a config entry up."""
    entry.add_to_hass(hass)
    await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()


async def until(hass: HomeAssistant, condition: Callable[[], bool]) -> None:
    """Wait until a condition holds; it is looked at after every event on the bus."""
    changed = asyncio.Event()

    @callback
    def look(event: Event) -> None:
        changed.set()

    remove = hass.bus.async_listen(MATCH_ALL, look)
    try:
        async with asyncio.timeout(TIMEOUT):
            while not condition():
                await changed.wait()
                changed.clear()
    finally:
        remove()
    await hass.async_block_till_done()


async def until_state(hass: HomeAssistant, entity_id: str, value: str) -> None:
    """Wait until an entity has a state."""

    def has_it() -> bool:
        state = hass.states.get(entity_id)
        return state is not None and state.state == value

    await until(hass, has_it)


def value(hass: HomeAssistant, entity_id: str) -> str:
    """The state of an entity that exists."""
    state = hass.states.get(entity_id)
    assert state, f"{entity_id} does not exist"
    return state.state
