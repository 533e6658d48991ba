# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the event entities of all cameras show, as an automation sees it."""

from dataclasses import dataclass
from typing import Any

from homeassistant.const import EVENT_STATE_CHANGED, STATE_UNAVAILABLE
from homeassistant.core import Event, EventStateChangedData, HomeAssistant, callback


@dataclass(frozen=True, slots=True)
class Fired:
    """One firing of an event entity."""

    camera: str
    type: str
    attributes: dict[str, Any]


class SecurityEvents:
    """Remembers every firing, in order."""

    def __init__(self, hass: HomeAssistant) -> None:
        """Listen from now on."""
        self.fired: list[Fired] = []
        self._times: dict[str, str] = {}
        hass.bus.async_listen(EVENT_STATE_CHANGED, self._look)

    def of(self, camera: str) -> list[str]:
        """The types that one camera fired."""
        return [fired.type for fired in self.fired if fired.camera == camera]

    @callback
    def _look(self, event: Event[EventStateChangedData]) -> None:
        entity_id, state = event.data["entity_id"], event.data["new_state"]
        camera = entity_id.removeprefix("event.").removesuffix("_security_event")
        if state is None or not entity_id.endswith("_security_event") or state.state == STATE_UNAVAILABLE:
            return
        if "event_id" in state.attributes and self._times.get(camera) != state.state:
            self._times[camera] = state.state
            attributes = dict(state.attributes)
            self.fired.append(Fired(camera, attributes["event_type"], attributes))
