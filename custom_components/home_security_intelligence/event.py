# SPDX-License-Identifier: Apache-2.0
"""What happens in front of each camera, for automations and the logbook."""

from typing import Any, Final, override

from homeassistant.components.event import EventEntity
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .client.messages import RISK_CHANGES, EventChanged, EventKind
from .coordinator import HsiConfigEntry, HsiCoordinator
from .entity import HsiCameraEntity, async_add_camera_entities
from .views import event_clip_path, event_snapshot_path

PARALLEL_UPDATES = 0

EVENT_TYPES: Final = {
    EventKind.DETECTED: "detected",
    EventKind.ESCALATED: "escalated",
    EventKind.ASSESSED: "assessed",
    EventKind.ENDED: "ended",
}


async def async_setup_entry(
    hass: HomeAssistant, entry: HsiConfigEntry, async_add_entities: AddConfigEntryEntitiesCallback
) -> None:
    """Add the event entities of an entry."""
    coordinator = entry.runtime_data
    async_add_camera_entities(
        entry, async_add_entities, lambda camera_id: [SecurityEventEntity(coordinator, camera_id)]
    )


class SecurityEventEntity(HsiCameraEntity, EventEntity):
    """The events of a camera."""

    _unrecorded_attributes = frozenset({"picture", "clip"})

    def __init__(self, coordinator: HsiCoordinator, camera_id: str) -> None:
        """Name the entity."""
        super().__init__(coordinator, camera_id, "security_event")
        self._attr_event_types = list(EVENT_TYPES.values())

    @override
    async def async_added_to_hass(self) -> None:
        await super().async_added_to_hass()
        self.async_on_remove(self.coordinator.teller.async_subscribe(self._camera_id, self._async_event_changed))

    @callback
    def _async_event_changed(self, change: EventChanged) -> None:
        if event_type := EVENT_TYPES.get(change.kind):
            self._trigger_event(event_type, self._attributes(change))
            self.async_write_ha_state()

    def _attributes(self, change: EventChanged) -> dict[str, Any]:
        event = change.event
        attributes: dict[str, Any] = {
            "event_id": event.id,
            "camera_name": change.camera.name,
            "score": event.risk.score,
            "level": event.risk.level,
            "summary": event.summary,
            "objects": event.objects,
            "factors": [{"name": factor.name, "points": factor.points} for factor in event.factors],
            "source": event.source,
            "verified": event.verified,
            "picture": event_snapshot_path(self.coordinator.config_entry.entry_id, event.id),
        }
        if event.clips:
            attributes["clip"] = event_clip_path(self.coordinator.config_entry.entry_id, event.clips[0].clip_id)
        if change.kind in RISK_CHANGES:
            attributes["previous_level"] = change.previous_level
        return attributes
