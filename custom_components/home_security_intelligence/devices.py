# SPDX-License-Identifier: Apache-2.0
"""The devices of an entry: the server and its cameras."""

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers.device_registry import DeviceEntry, DeviceEntryType

from .const import DOMAIN, MANUFACTURER
from .state import HsiState


def camera_identifier(server_id: str, camera_id: str) -> tuple[str, str]:
    """The identifier of a camera's device."""
    return DOMAIN, f"{server_id}_{camera_id}"


def camera_id_of(device: DeviceEntry, server_id: str) -> str | None:
    """The id of the camera that a device stands for, None for the server's device."""
    prefix = f"{server_id}_"
    for domain, identifier in device.identifiers:
        if domain == DOMAIN and identifier.startswith(prefix):
            return identifier.removeprefix(prefix)
    return None


def device_facts(state: HsiState) -> tuple[object, ...]:
    """What the registry knows of a state; devices need an update only when this changes."""
    identity = state.server.identity
    cameras = [(camera.id, camera.name) for camera in state.cameras.values()]
    return identity.version, state.server.name, cameras


@callback
def async_update_devices(hass: HomeAssistant, entry: ConfigEntry, state: HsiState) -> None:
    """Bring the registry in line with what the server has."""
    registry = dr.async_get(hass)
    server = state.server
    server_id = server.identity.server_id
    server_device = registry.async_get_or_create(
        config_entry_id=entry.entry_id,
        identifiers={(DOMAIN, server_id)},
        entry_type=DeviceEntryType.SERVICE,
        name=server.name,
        manufacturer=MANUFACTURER,
        model="Inference server",
        sw_version=server.identity.version,
    )
    for camera in state.cameras.values():
        registry.async_get_or_create(
            config_entry_id=entry.entry_id,
            identifiers={camera_identifier(server_id, camera.id)},
            name=camera.name,
            manufacturer=MANUFACTURER,
            model="Camera",
            via_device_id=server_device.id,
        )
    for device in dr.async_entries_for_config_entry(registry, entry.entry_id):
        if device.id != server_device.id and camera_id_of(device, server_id) not in state.cameras:
            registry.async_remove_device(device.id)
