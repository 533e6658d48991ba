# SPDX-License-Identifier: Apache-2.0
"""Names that several modules share."""

from typing import Final

DOMAIN: Final = "home_security_intelligence"
DEFAULT_PORT: Final = 8000
MANUFACTURER: Final = "Home Security Intelligence"
PROJECT_URL: Final = "https://github.com/home-security-intelligence/home-security-intelligence"

CONF_CAMERA_ID: Final = "camera_id"
CONF_ENTRY_ID: Final = "entry_id"
CONF_SERVER_ID: Final = "server_id"
