# SPDX-License-Identifier: Apache-2.0
"""The best picture of each camera's last event, with boxes drawn."""

from collections.abc import Hashable
from functools import partial
from typing import override

from homeassistant.components.image import ImageEntity
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.util import dt as dt_util

from .client.models import Event
from .coordinator import HsiConfigEntry, HsiCoordinator
from .entity import HsiCameraEntity, async_add_camera_entities
from .pictures import PictureCache

PARALLEL_UPDATES = 0


async def async_setup_entry(
    hass: HomeAssistant, entry: HsiConfigEntry, async_add_entities: AddConfigEntryEntitiesCallback
) -> None:
    """Add the image entities of an entry."""
    coordinator = entry.runtime_data
    async_add_camera_entities(entry, async_add_entities, lambda camera_id: [LastEventImage(coordinator, camera_id)])


class LastEventImage(HsiCameraEntity, ImageEntity):
    """The last event of a camera as a picture."""

    _attr_content_type = "image/jpeg"

    def __init__(self, coordinator: HsiCoordinator, camera_id: str) -> None:
        """Start with the event of the snapshot."""
        HsiCameraEntity.__init__(self, coordinator, camera_id, "last_event")
        ImageEntity.__init__(self, coordinator.hass)
        self._cache = PictureCache()
        self._shown: Hashable = None
        if event := self._event:
            self._shown = _content(event)
            self._attr_image_last_updated = event.last_detection_at

    @override
    async def async_image(self) -> bytes | None:
        event = self._event
        if event is None or event.best_frame_id is None:
            return None
        return await self._cache.get(_content(event), partial(self.coordinator.client.get_event_snapshot, event.id))

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        content = _content(event) if (event := self._event) else None
        if self.available and content != self._shown:
            self._shown = content
            self._attr_image_last_updated = None if content is None else dt_util.utcnow()
        super()._handle_coordinator_update()

    @property
    def _event(self) -> Event | None:
        return self.coordinator.data.last_event(self._camera_id)


def _content(event: Event) -> Hashable:
    """What the picture depends on: the frame and what was drawn into it."""
    return event.id, event.best_frame_id, frozenset(event.objects.items())
