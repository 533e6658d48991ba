# SPDX-License-Identifier: Apache-2.0
"""Occupancy of each camera's view by people, vehicles and animals."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import override

from homeassistant.components.binary_sensor import (
    BinarySensorDeviceClass,
    BinarySensorEntity,
    BinarySensorEntityDescription,
)
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .client.models import Occupancy
from .coordinator import HsiConfigEntry, HsiCoordinator
from .entity import HsiCameraEntity, async_add_camera_entities

PARALLEL_UPDATES = 0


@dataclass(frozen=True, kw_only=True)
class OccupancyDescription(BinarySensorEntityDescription):
    """Occupancy by one kind of visitor."""

    device_class: BinarySensorDeviceClass = BinarySensorDeviceClass.OCCUPANCY
    value: Callable[[Occupancy], bool]


OCCUPANCY_SENSORS = (
    OccupancyDescription(key="person", value=lambda occupancy: occupancy.person),
    OccupancyDescription(key="vehicle", value=lambda occupancy: occupancy.vehicle),
    OccupancyDescription(key="animal", value=lambda occupancy: occupancy.animal),
)


async def async_setup_entry(
    hass: HomeAssistant, entry: HsiConfigEntry, async_add_entities: AddConfigEntryEntitiesCallback
) -> None:
    """Add the occupancy sensors of an entry."""
    coordinator = entry.runtime_data
    async_add_camera_entities(
        entry,
        async_add_entities,
        lambda camera_id: [OccupancySensor(coordinator, camera_id, description) for description in OCCUPANCY_SENSORS],
    )


class OccupancySensor(HsiCameraEntity, BinarySensorEntity):
    """Whether one kind of visitor is in front of a camera; unknown while the camera cannot be judged."""

    entity_description: OccupancyDescription

    def __init__(self, coordinator: HsiCoordinator, camera_id: str, description: OccupancyDescription) -> None:
        """Show what the description says."""
        super().__init__(coordinator, camera_id, description.key)
        self.entity_description = description

    @property
    @override
    def is_on(self) -> bool | None:
        occupancy = self.source.occupancy
        return self.entity_description.value(occupancy) if occupancy else None
