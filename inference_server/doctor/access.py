# SPDX-License-Identifier: AGPL-3.0-or-later
"""What this process may do with a file or folder."""

import os
from pathlib import Path

READ = os.R_OK
ENTER = os.R_OK | os.X_OK
CHANGE = os.R_OK | os.W_OK | os.X_OK


def may(path: Path | str, mode: int) -> bool:
    """Return whether the effective user of this process may do so."""
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)
