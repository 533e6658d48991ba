# SPDX-License-Identifier: AGPL-3.0-or-later
"""Lets the test plugin of Home Assistant 2026.10 drive 2026.11.

Loaded with ``-p tests.ha_compat`` before anything imports httpx, which 2026.11 aliases on import. Remove it when
pytest-homeassistant-custom-component has a release for 2026.11.
"""

from homeassistant.components import logger
from homeassistant.components.logger import helpers

if not hasattr(logger, "_clear_logger_overwrites"):
    logger._clear_logger_overwrites = helpers._clear_logger_overwrites  # type: ignore[attr-defined]
