# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where things are in a clone, and where downloads are kept."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
INTEGRATION_DOMAIN = "home_security_intelligence"
INTEGRATION = REPOSITORY / "custom_components" / INTEGRATION_DOMAIN
BLUEPRINTS = REPOSITORY / "blueprints" / "automation" / INTEGRATION_DOMAIN


def cache_directory() -> Path:
    """The folder of downloads that outlive a clone, the same as in scripts/lib/bootstrap.sh."""
    if chosen := os.environ.get("HSI_CACHE_DIR"):
        return Path(chosen)
    caches = os.environ.get("XDG_CACHE_HOME") or Path(os.environ.get("HOME", REPOSITORY)) / ".cache"
    return Path(caches) / "home-security-intelligence"


def local_time_zone() -> str | None:
    """The name of this machine's time zone, where it tells."""
    return Path("/etc/localtime").resolve().as_posix().partition("zoneinfo/")[2] or None
