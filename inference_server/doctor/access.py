# SPDX-License-Identifier: AGPL-3.0-or-later
"""What this process may do with a file or folder."""

import os
from pathlib import Path

APP_VARIABLE = "SUPERVISOR_TOKEN"
"""Set by Home Assistant's Supervisor in the container of an app."""
READ = os.R_OK
ENTER = os.R_OK | os.X_OK
CHANGE = os.R_OK | os.W_OK | os.X_OK


def may(path: Path | str, mode: int) -> bool:
    """Return whether the effective user of this process may do so."""
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def is_app() -> bool:
    """Return whether this process is a Home Assistant app, whose owner has no shell on the machine."""
    return APP_VARIABLE in os.environ
