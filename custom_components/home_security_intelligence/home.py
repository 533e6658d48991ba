# SPDX-License-Identifier: Apache-2.0
"""Tells the server the state of the home: who is there, the alarm, the sun."""

import asyncio
import logging
from typing import Final

from homeassistant.const import STATE_HOME, STATE_UNAVAILABLE, STATE_UNKNOWN, Platform
from homeassistant.core import Event, EventStateChangedData, HomeAssistant, callback
from homeassistant.helpers.event import TrackStates, async_track_state_change_filtered

from .client import AlarmState, HomeContext, HsiClient, HsiError, NotFound

_LOGGER = logging.getLogger(__name__)

TELL_EVERY: Final = 300.0
"""Seconds after which the server is told again what has not changed: it forgets what is twenty minutes old."""
TRY_AGAIN: Final = 30.0
SETTLE: Final = 1.0
"""Seconds in which several changes count as one: a family comes home together."""

_PEOPLE: Final = "person"
_PANELS: Final = Platform.ALARM_CONTROL_PANEL
_SUN: Final = "sun.sun"
_SUN_IS_UP: Final = {"above_horizon": True, "below_horizon": False}
_UNTOLD: Final = frozenset({STATE_UNAVAILABLE, STATE_UNKNOWN})


class HomeTeller:
    """Keeps one server told."""

    def __init__(self, hass: HomeAssistant, client: HsiClient) -> None:
        """Prepare; `async_run` tells."""
        self._hass = hass
        self._client = client
        self._told: HomeContext | None = None
        self._changed = asyncio.Event()

    async def async_run(self) -> None:
        """Tell at each change and every few minutes, until cancelled; a server that does not want it is left alone."""
        tracked = TrackStates(all_states=False, entities={_SUN}, domains={_PEOPLE, _PANELS})
        tracker = async_track_state_change_filtered(self._hass, tracked, self._state_changed)
        try:
            while await self._async_tell():
                await self._async_wait(TELL_EVERY if self._told else TRY_AGAIN)
        finally:
            tracker.async_remove()

    async def _async_wait(self, longest: float) -> None:
        try:
            async with asyncio.timeout(longest):
                await self._changed.wait()
                await asyncio.sleep(SETTLE)
        except TimeoutError:
            pass

    async def _async_tell(self) -> bool:
        """Tell, and return whether the server wants to be told."""
        self._changed.clear()
        context = home_context(self._hass)
        try:
            await self._client.tell_home(context)
        except NotFound:
            _LOGGER.debug("The server does not want to know the state of the home")
            return False
        except HsiError as err:
            _LOGGER.debug("The state of the home could not be told: %s", err)
            self._told = None
        else:
            self._told = context
        return True

    @callback
    def _state_changed(self, _event: Event[EventStateChangedData]) -> None:
        if home_context(self._hass) != self._told:
            self._changed.set()


@callback
def home_context(hass: HomeAssistant) -> HomeContext:
    """Return the state of the home as far as Home Assistant knows it."""
    people = [state.state for state in hass.states.async_all(_PEOPLE) if state.state not in _UNTOLD]
    panels = [state.state for state in hass.states.async_all(_PANELS)]
    sun = hass.states.get(_SUN)
    return HomeContext(
        people_home=people.count(STATE_HOME) if people else None,
        alarm=_alarm(panels),
        sun_is_up=_SUN_IS_UP.get(sun.state) if sun else None,
    )


def _alarm(panels: list[str]) -> AlarmState | None:
    """Return the state of the alarm panel; of several, one that was triggered, else none can speak for the home."""
    known = {AlarmState(state) for state in panels if state in AlarmState}
    if AlarmState.TRIGGERED in known:
        return AlarmState.TRIGGERED
    return known.pop() if len(panels) == 1 and known else None
