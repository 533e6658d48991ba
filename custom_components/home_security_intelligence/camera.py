# SPDX-License-Identifier: Apache-2.0
"""The latest picture of each camera."""

from functools import partial
from typing import override

from homeassistant.components.camera import Camera
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .coordinator import HsiConfigEntry, HsiCoordinator
from .entity import HsiCameraEntity, async_add_camera_entities
from .pictures import PictureCache

PARALLEL_UPDATES = 0


async def async_setup_entry(
    hass: HomeAssistant, entry: HsiConfigEntry, async_add_entities: AddConfigEntryEntitiesCallback
) -> None:
    """Add the camera entities of an entry."""
    coordinator = entry.runtime_data
    async_add_camera_entities(
        entry, async_add_entities, lambda camera_id: [LatestPictureCamera(coordinator, camera_id)]
    )


class LatestPictureCamera(HsiCameraEntity, Camera):
    """A still camera that shows the newest picture that reached the server."""

    _attr_frame_interval = 1.0

    def __init__(self, coordinator: HsiCoordinator, camera_id: str) -> None:
        """Start without a picture."""
        HsiCameraEntity.__init__(self, coordinator, camera_id, "latest_picture")
        Camera.__init__(self)
        self._cache = PictureCache()

    @override
    async def async_camera_image(self, width: int | None = None, height: int | None = None) -> bytes | None:
        if not self.available or (frame_id := self.source.last_frame_id) is None:
            return None
        fetch = partial(self.coordinator.client.get_latest_picture, self._camera_id, width)
        try:
            return await self._cache.get((frame_id, width), fetch)
        except HomeAssistantError:
            if self._cache.last is None:
                raise
            return self._cache.last  # a viewer of the stream gets the next picture a second later
