# SPDX-License-Identifier: AGPL-3.0-or-later
"""A dashboard that shows at a glance what the integration gives: a section per camera, and one for the whole house."""

from collections.abc import Mapping

from .home_assistant_client import HomeAssistantClient, Object

PATH = "home-security"
TITLE = "Home security"

_SERVER = "home_security_intelligence"
_SEVERITIES = {0: "#43a047", 30: "#ffb300", 60: "#fb8c00", 85: "#e53935"}


async def show(client: HomeAssistantClient, cameras: Mapping[str, str]) -> None:
    """Create or update the dashboard for cameras, given as id and name."""
    known = await client.call("lovelace/dashboards/list")
    if not any(dashboard["url_path"] == PATH for dashboard in known):
        await client.call(
            "lovelace/dashboards/create",
            url_path=PATH,
            title=TITLE,
            icon="mdi:shield-eye",
            mode="storage",
            show_in_sidebar=True,
            require_admin=False,
        )
    sections = [*(_camera_section(camera, name) for camera, name in cameras.items()), _house_section(cameras)]
    view = {
        "title": TITLE,
        "type": "sections",
        "max_columns": 4,
        "badges": [_badge("highest_open_risk", "Highest risk"), _badge("detector", "Detector")],
        "sections": sections,
    }
    await client.call("lovelace/config/save", url_path=PATH, config={"views": [view]})


def _camera_section(camera: str, name: str) -> Object:
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
            _tile(f"sensor.{camera}_risk_score", "Risk score", "red", columns=6),
            _tile(f"sensor.{camera}_risk_level", "Risk level", "orange", columns=6),
            _tile(f"binary_sensor.{camera}_person", "Person", "blue"),
            _tile(f"binary_sensor.{camera}_vehicle", "Vehicle", "blue"),
            _tile(f"binary_sensor.{camera}_animal", "Animal", "blue"),
            {
                "type": "tile",
                "entity": f"event.{camera}_security_event",
                "name": "Security event",
                "state_content": ["event_type", "summary"],
                "grid_options": {"columns": "full", "rows": 1},
            },
        ],
    }


def _house_section(cameras: Mapping[str, str]) -> Object:
    return {
        "type": "grid",
        "cards": [
            {"type": "heading", "heading": "Today", "icon": "mdi:history"},
            {
                "type": "logbook",
                "target": {"entity_id": [f"event.{camera}_security_event" for camera in cameras]},
                "hours_to_show": 24,
                "grid_options": {"columns": "full", "rows": 4},
            },
            {
                "type": "gauge",
                "entity": f"sensor.{_SERVER}_highest_open_risk",
                "name": "Highest risk in the house",
                "needle": True,
                "segments": [{"from": score, "color": color} for score, color in _SEVERITIES.items()],
            },
        ],
    }


def _badge(key: str, name: str) -> Object:
    return {"type": "entity", "entity": f"sensor.{_SERVER}_{key}", "name": name, "show_name": True}


def _tile(entity: str, name: str, color: str, *, columns: int = 4) -> Object:
    tile: Object = {"type": "tile", "entity": entity, "name": name, "color": color, "vertical": columns < 6}
    return {**tile, "grid_options": {"columns": columns, "rows": 1 if columns >= 6 else 2}}
