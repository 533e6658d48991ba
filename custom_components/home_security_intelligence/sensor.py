# SPDX-License-Identifier: Apache-2.0
"""Sensors: risk and last picture of each camera, condition of the server."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, override

from homeassistant.components.sensor import (
    SensorDeviceClass,
    SensorEntity,
    SensorEntityDescription,
    SensorStateClass,
)
from homeassistant.const import EntityCategory
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.helpers.typing import StateType

from .client.models import Camera, Level, Server
from .coordinator import HsiConfigEntry, HsiCoordinator
from .entity import HsiCameraEntity, HsiServerEntity, async_add_camera_entities
from .state import HsiState

PARALLEL_UPDATES = 0


@dataclass(frozen=True, kw_only=True)
class CameraSensorDescription(SensorEntityDescription):
    """A sensor of a camera."""

    value: Callable[[Camera], StateType | datetime]


@dataclass(frozen=True, kw_only=True)
class ServerSensorDescription(SensorEntityDescription):
    """A sensor of the server."""

    value: Callable[[HsiState], StateType]
    attributes: Callable[[Server], Mapping[str, Any]] | None = None


def _detector_attributes(server: Server) -> Mapping[str, Any]:
    detector = server.detector
    return {
        "detector_state": detector.state,
        "fallback": detector.fallback,
        "provider": detector.provider,
        "wanted_provider": detector.wanted_provider,
        "message": detector.message,
    }


CAMERA_SENSORS = (
    CameraSensorDescription(
        key="risk_score",
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=0,
        value=lambda camera: camera.risk.score if camera.risk else None,
    ),
    CameraSensorDescription(
        key="risk_level",
        device_class=SensorDeviceClass.ENUM,
        options=list(Level),
        value=lambda camera: camera.risk.level if camera.risk else None,
    ),
    CameraSensorDescription(
        key="last_picture",
        device_class=SensorDeviceClass.TIMESTAMP,
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        value=lambda camera: camera.last_frame_at,
    ),
)

SERVER_SENSORS = (
    ServerSensorDescription(
        key="highest_risk",
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=0,
        value=lambda state: state.highest_risk,
    ),
    ServerSensorDescription(
        key="open_incidents",
        state_class=SensorStateClass.MEASUREMENT,
        value=lambda state: state.open_incidents,
    ),
    ServerSensorDescription(
        key="detector",
        entity_category=EntityCategory.DIAGNOSTIC,
        value=lambda state: state.server.detector.name,
        attributes=_detector_attributes,
    ),
    ServerSensorDescription(
        key="queue_depth",
        state_class=SensorStateClass.MEASUREMENT,
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        value=lambda state: state.server.queue_depth,
    ),
    ServerSensorDescription(
        key="dead_letters",
        state_class=SensorStateClass.MEASUREMENT,
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        value=lambda state: state.server.dead_letters,
    ),
)


async def async_setup_entry(
    hass: HomeAssistant, entry: HsiConfigEntry, async_add_entities: AddConfigEntryEntitiesCallback
) -> None:
    """Add the sensors of an entry."""
    coordinator = entry.runtime_data
    async_add_entities(HsiServerSensor(coordinator, description) for description in SERVER_SENSORS)
    async_add_camera_entities(
        entry,
        async_add_entities,
        lambda camera_id: [HsiCameraSensor(coordinator, camera_id, description) for description in CAMERA_SENSORS],
    )


class HsiCameraSensor(HsiCameraEntity, SensorEntity):
    """One value of a camera."""

    entity_description: CameraSensorDescription

    def __init__(self, coordinator: HsiCoordinator, camera_id: str, description: CameraSensorDescription) -> None:
        """Show what the description says."""
        super().__init__(coordinator, camera_id, description.key)
        self.entity_description = description

    @property
    @override
    def native_value(self) -> StateType | datetime:
        return self.entity_description.value(self.source)


class HsiServerSensor(HsiServerEntity, SensorEntity):
    """One value of the server."""

    entity_description: ServerSensorDescription

    def __init__(self, coordinator: HsiCoordinator, description: ServerSensorDescription) -> None:
        """Show what the description says."""
        super().__init__(coordinator, description.key)
        self.entity_description = description

    @property
    @override
    def native_value(self) -> StateType:
        return self.entity_description.value(self.coordinator.data)

    @property
    @override
    def extra_state_attributes(self) -> Mapping[str, Any] | None:
        attributes = self.entity_description.attributes
        return attributes(self.server) if attributes else None
