# SPDX-License-Identifier: Apache-2.0
"""Occupancy of each camera's view by people, vehicles and animals, and whether something is wrong with the view."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, override

from homeassistant.components.binary_sensor import (
    BinarySensorDeviceClass,
    BinarySensorEntity,
    BinarySensorEntityDescription,
)
from homeassistant.const import EntityCategory
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
    """Add the sensors of an entry."""
    coordinator = entry.runtime_data
    async_add_camera_entities(
        entry,
        async_add_entities,
        lambda camera_id: [
            *(OccupancySensor(coordinator, camera_id, description) for description in OCCUPANCY_SENSORS),
            ViewProblemSensor(coordinator, camera_id),
        ],
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


class ViewProblemSensor(HsiCameraEntity, BinarySensorEntity):
    """Whether a camera cannot see what it is there to see: blocked, moved, too dark, blurred, frozen, tampered with."""

    _attr_device_class = BinarySensorDeviceClass.PROBLEM
    _attr_entity_category = EntityCategory.DIAGNOSTIC

    def __init__(self, coordinator: HsiCoordinator, camera_id: str) -> None:
        """Show the problems of a camera."""
        super().__init__(coordinator, camera_id, "view_problem")

    @property
    @override
    def is_on(self) -> bool:
        return bool(self.source.view_problems)

    @property
    @override
    def extra_state_attributes(self) -> Mapping[str, Any]:
        problems = self.source.view_problems
        return {
            "problems": [problem.kind or "other" for problem in problems],
            "since": min((problem.since.isoformat() for problem in problems), default=None),
        }
