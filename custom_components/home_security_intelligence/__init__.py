# SPDX-License-Identifier: Apache-2.0
"""Home Security Intelligence: explained risk events of the cameras of a house."""

from typing import Final

from homeassistant.config_entries import (
    SIGNAL_CONFIG_ENTRY_CHANGED,
    ConfigEntry,
    ConfigEntryChange,
    ConfigEntryState,
)
from homeassistant.const import CONF_HOST, CONF_PORT, CONF_TOKEN, Platform
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from homeassistant.helpers.device_registry import DeviceEntry
from homeassistant.helpers.dispatcher import async_dispatcher_connect
from homeassistant.helpers.typing import ConfigType

from .client import Address, HsiClient, HsiError, NotFound
from .const import DOMAIN
from .coordinator import HsiConfigEntry, HsiCoordinator
from .devices import camera_id_of
from .home import HomeTeller
from .issues import Issues
from .progress import Progress
from .views import ClipView, EventSnapshotView

CONFIG_SCHEMA = cv.config_entry_only_config_schema(DOMAIN)

PLATFORMS: Final = [
    Platform.BINARY_SENSOR,
    Platform.CAMERA,
    Platform.EVENT,
    Platform.IMAGE,
    Platform.SENSOR,
]


async def async_setup(hass: HomeAssistant, config: ConfigType) -> bool:
    """Offer what all entries share."""
    hass.http.register_view(EventSnapshotView())
    hass.http.register_view(ClipView())

    @callback
    def forget_issues_of_disabled(change: ConfigEntryChange, entry: ConfigEntry) -> None:
        if entry.domain == DOMAIN and entry.disabled_by:
            Issues(hass, entry.entry_id).clear()

    async_dispatcher_connect(hass, SIGNAL_CONFIG_ENTRY_CHANGED, forget_issues_of_disabled)
    return True


async def async_setup_entry(hass: HomeAssistant, entry: HsiConfigEntry) -> bool:
    """Connect to a server and follow it."""
    address = Address(entry.data[CONF_HOST], entry.data[CONF_PORT])
    client = HsiClient(async_get_clientsession(hass), address, entry.data[CONF_TOKEN])
    coordinator = HsiCoordinator(hass, entry, client)
    await coordinator.async_config_entry_first_refresh()
    entry.runtime_data = coordinator
    await hass.config_entries.async_forward_entry_setups(entry, PLATFORMS)
    coordinator.teller.async_start()
    entry.async_create_background_task(hass, coordinator.async_follow(), f"{DOMAIN} {entry.title}")
    teller = HomeTeller(hass, client)
    entry.async_create_background_task(hass, teller.async_run(), f"{DOMAIN} home {entry.title}")
    return True


async def async_unload_entry(hass: HomeAssistant, entry: HsiConfigEntry) -> bool:
    """Let go of a server."""
    entry.runtime_data.teller.async_stop()
    if unloaded := await hass.config_entries.async_unload_platforms(entry, PLATFORMS):
        entry.runtime_data.issues.connection_works()
    return unloaded


async def async_remove_entry(hass: HomeAssistant, entry: HsiConfigEntry) -> None:
    """Leave nothing behind."""
    Issues(hass, entry.entry_id).clear()
    await Progress(hass, entry.entry_id).async_remove()


async def async_remove_config_entry_device(
    hass: HomeAssistant, entry: HsiConfigEntry, device_entry: DeviceEntry
) -> bool:
    """Make the server forget a camera that the user removes."""
    camera_id = camera_id_of(device_entry, entry.unique_id or "")
    if camera_id is None:
        return False
    if entry.state is not ConfigEntryState.LOADED:
        raise HomeAssistantError(translation_domain=DOMAIN, translation_key="disconnected")
    try:
        await entry.runtime_data.client.delete_camera(camera_id)
    except NotFound:
        return True
    except HsiError as err:
        raise HomeAssistantError(
            translation_domain=DOMAIN,
            translation_key="camera_not_deleted",
            translation_placeholders={"detail": str(err)},
        ) from err
    return True
