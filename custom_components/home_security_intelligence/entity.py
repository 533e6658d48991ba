# SPDX-License-Identifier: Apache-2.0
"""What the entities of all platforms have in common."""

from collections.abc import Callable, Iterable
from typing import override

from homeassistant.core import callback
from homeassistant.helpers.device_registry import DeviceInfo
from homeassistant.helpers.entity import Entity
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.helpers.update_coordinator import CoordinatorEntity

from .client.models import Camera, Server
from .const import DOMAIN
from .coordinator import HsiConfigEntry, HsiCoordinator
from .devices import camera_identifier


class HsiServerEntity(CoordinatorEntity[HsiCoordinator]):
    """An entity of the server."""

    _attr_has_entity_name = True

    def __init__(self, coordinator: HsiCoordinator, key: str) -> None:
        """Belong to the server's device."""
        super().__init__(coordinator)
        server_id = self.server.identity.server_id
        self._attr_translation_key = key
        self._attr_unique_id = f"{server_id}_{key}"
        self._attr_device_info = DeviceInfo(identifiers={(DOMAIN, server_id)})

    @property
    def server(self) -> Server:
        """The server."""
        return self.coordinator.data.server


class HsiCameraEntity(CoordinatorEntity[HsiCoordinator]):
    """An entity of a camera."""

    _attr_has_entity_name = True

    def __init__(self, coordinator: HsiCoordinator, camera_id: str, key: str) -> None:
        """Belong to the camera's device."""
        CoordinatorEntity.__init__(self, coordinator)
        server_id = coordinator.data.server.identity.server_id
        self._camera_id = camera_id
        self._attr_translation_key = key
        self._attr_unique_id = f"{server_id}_{camera_id}_{key}"
        self._attr_device_info = DeviceInfo(identifiers={camera_identifier(server_id, camera_id)})

    @property
    @override
    def available(self) -> bool:
        return super().available and self._camera_id in self.coordinator.data.cameras

    @property
    def source(self) -> Camera:
        """The camera."""
        return self.coordinator.data.camera(self._camera_id)


@callback
def async_add_camera_entities(
    entry: HsiConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
    create: Callable[[str], Iterable[Entity]],
) -> None:
    """Add the entities of every camera, now and whenever a camera appears."""
    coordinator = entry.runtime_data
    known: set[str] = set()

    @callback
    def add_new_cameras() -> None:
        current = set(coordinator.data.cameras)
        new = sorted(current - known)
        known.clear()
        known.update(current)
        if new:
            async_add_entities(entity for camera_id in new for entity in create(camera_id))

    add_new_cameras()
    entry.async_on_unload(coordinator.async_add_listener(add_new_cameras))
