# SPDX-License-Identifier: AGPL-3.0-or-later
"""A dashboard that shows at a glance what the integration gives: one section per camera."""

from collections.abc import Iterable

from inference_server.core.camera import camera_name

from .home_assistant_client import HomeAssistantClient, Object

PATH = "home-security"
TITLE = "Home security"


async def show(client: HomeAssistantClient, folders: Iterable[str]) -> None:
    """Create or update the dashboard for the cameras of these folders."""
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
    sections = [_section(camera_name(folder)) for folder in folders]
    view = {"title": TITLE, "type": "sections", "max_columns": 3, "sections": sections}
    await client.call("lovelace/config/save", url_path=PATH, config={"views": [view]})


def _section(name: str) -> Object:
    key = name.lower().replace(" ", "_")
    seen = ("person", "vehicle", "animal")
    return {
        "type": "grid",
        "cards": [
            {"type": "heading", "heading": name, "icon": "mdi:cctv"},
            {"type": "picture-entity", "entity": f"image.{key}_last_event", "show_name": False, "show_state": False},
            {"type": "tile", "entity": f"sensor.{key}_risk_score", "name": "Risk score"},
            {"type": "tile", "entity": f"sensor.{key}_risk_level", "name": "Risk level"},
            *(
                {
                    "type": "tile",
                    "entity": f"binary_sensor.{key}_{kind}",
                    "name": kind.capitalize(),
                    "vertical": True,
                    "grid_options": {"columns": 4, "rows": 2},
                }
                for kind in seen
            ),
            {
                "type": "tile",
                "entity": f"event.{key}_security_event",
                "name": "Security event",
                "state_content": ["event_type", "summary", "last_changed"],
                "grid_options": {"columns": "full"},
            },
        ],
    }
