# SPDX-License-Identifier: AGPL-3.0-or-later
"""The configuration directory of a development Home Assistant."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

from .repository import BLUEPRINTS, INTEGRATION, INTEGRATION_DOMAIN

CONFIGURATION = f"""\
api:
automation: !include automations.yaml
blueprint:
config:
frontend:
history:
logbook:
media_source:
mobile_app:
person:
recorder:
sun:
system_health:
zeroconf:
zone:

logger:
  default: warning
  logs:
    custom_components.{INTEGRATION_DOMAIN}: info
"""


def prepare(directory: Path, *, host: str, port: int) -> None:
    """Write the configuration, link the integration and copy the blueprints."""
    components = directory / "custom_components"
    components.mkdir(parents=True, exist_ok=True)
    (components / "__init__.py").touch()
    (directory / "configuration.yaml").write_text(CONFIGURATION)
    (directory / "automations.yaml").touch()
    link = components / INTEGRATION_DOMAIN
    if not link.is_symlink():
        link.symlink_to(INTEGRATION)
    if BLUEPRINTS.exists():
        target = directory / "blueprints" / "automation" / INTEGRATION_DOMAIN
        shutil.copytree(BLUEPRINTS, target, dirs_exist_ok=True)
    _store_http_settings(directory, host, port)


def _store_http_settings(directory: Path, host: str, port: int) -> None:
    """Set the address where Home Assistant keeps it.

    Since 2026.11 ``http:`` in YAML is only read once, on trial, and undone by a restart after five minutes.
    """
    settings = {
        "server_host": [host],
        "server_port": port,
        "cors_allowed_origins": [],
        "login_attempts_threshold": -1,
        "ip_ban_enabled": False,
        "ssl_profile": "intermediate_v6",
        "use_x_frame_options": True,
        "created_at": datetime.now(UTC).isoformat(),
        "error": None,
        "error_message": None,
    }
    content = {
        "version": 3,
        "minor_version": 1,
        "key": "http",
        "data": {"stable": settings, "pending": None, "yaml_migration_done": True},
    }
    storage = directory / ".storage"
    storage.mkdir(exist_ok=True)
    (storage / "http").write_text(json.dumps(content, indent=2))
