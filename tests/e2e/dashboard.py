# SPDX-License-Identifier: AGPL-3.0-or-later
"""A dashboard that shows at a glance what the integration is about, built of Home Assistant's own cards."""

from typing import Any

from scripts.development.home_assistant_client import HomeAssistantClient

type Json = dict[str, Any]

PATH = "security-overview"
TITLE = "Security"


async def create(client: HomeAssistantClient, cameras: dict[str, str]) -> None:
    """Add the dashboard for cameras, given as id and name."""
    await client.call(
        "lovelace/dashboards/create",
        url_path=PATH,
        title=TITLE,
        icon="mdi:shield-home",
        mode="storage",
        show_in_sidebar=True,
        require_admin=False,
    )
    await client.call("lovelace/config/save", url_path=PATH, config=_configuration(cameras))


def _configuration(cameras: dict[str, str]) -> Json:
    sections = [_camera_section(camera, name) for camera, name in cameras.items()]
    sections.append(_server_section(list(cameras)))
    view = {
        "title": TITLE,
        "type": "sections",
        "max_columns": len(sections),
        "badges": [
            _badge("highest_open_risk", "Highest risk"),
            _badge("detector", "Detector"),
        ],
        "sections": sections,
    }
    return {"views": [view]}


def _camera_section(camera: str, name: str) -> Json:
    half = {"columns": 6, "rows": 1}
    return {
        "type": "grid",
        "cards": [
            {"type": "heading", "heading": name, "icon": "mdi:cctv"},
            {
                "type": "picture-entity",
                "entity": f"image.{camera}_last_event",
                "show_name": False,
                "show_state": False,
                "aspect_ratio": "4x3",
                "fit_mode": "cover",
            },
            _tile(f"sensor.{camera}_risk_score", "Risk score", "mdi:gauge", "red", half),
            _tile(f"sensor.{camera}_risk_level", "Risk level", "mdi:shield-alert", "orange", half),
            _tile(f"binary_sensor.{camera}_person", "Person", "mdi:walk", "blue", half),
            _tile(f"binary_sensor.{camera}_vehicle", "Vehicle", "mdi:car", "blue", half),
            {
                "type": "tile",
                "entity": f"event.{camera}_security_event",
                "name": "Security event",
                "icon": "mdi:shield-search",
                "state_content": ["event_type", "summary"],
                "grid_options": {"columns": 12, "rows": 1},
            },
        ],
    }


def _server_section(cameras: list[str]) -> Json:
    return {
        "type": "grid",
        "cards": [
            {"type": "heading", "heading": "Today", "icon": "mdi:history"},
            {
                "type": "logbook",
                "target": {"entity_id": [f"event.{camera}_security_event" for camera in cameras]},
                "hours_to_show": 24,
                "grid_options": {"columns": 12, "rows": 4},
            },
            {
                "type": "gauge",
                "entity": "sensor.home_security_intelligence_highest_open_risk",
                "name": "Highest risk in the house",
                "needle": True,
                "segments": [
                    {"from": 0, "color": "#43a047"},
                    {"from": 30, "color": "#ffb300"},
                    {"from": 60, "color": "#fb8c00"},
                    {"from": 85, "color": "#e53935"},
                ],
            },
        ],
    }


def _badge(key: str, name: str) -> Json:
    return {"type": "entity", "entity": f"sensor.home_security_intelligence_{key}", "name": name, "show_name": True}


def _tile(entity: str, name: str, icon: str, color: str, size: Json) -> Json:
    return {"type": "tile", "entity": entity, "name": name, "icon": icon, "color": color, "grid_options": size}
