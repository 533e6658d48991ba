# SPDX-License-Identifier: Apache-2.0
"""Diagnostics of an entry, without secrets and addresses."""

from dataclasses import asdict
from typing import Any, Final

from homeassistant.components.diagnostics import async_redact_data
from homeassistant.const import CONF_HOST, CONF_TOKEN
from homeassistant.core import HomeAssistant

from .coordinator import HsiConfigEntry

TO_REDACT: Final = {CONF_HOST, CONF_TOKEN}


async def async_get_config_entry_diagnostics(hass: HomeAssistant, entry: HsiConfigEntry) -> dict[str, Any]:
    """Describe the entry, its connection and what the server last said."""
    coordinator = entry.runtime_data
    state = coordinator.data
    return {
        "entry": async_redact_data(dict(entry.data), TO_REDACT),
        "connection": {
            "connected": coordinator.last_update_success,
            "last_sequence": coordinator.last_sequence,
            "last_error": type(coordinator.last_exception).__name__ if coordinator.last_exception else None,
        },
        "server": asdict(state.server),
        "cameras": [asdict(camera) for camera in state.cameras.values()],
        "events": [asdict(event) for event in state.events.values()],
    }
