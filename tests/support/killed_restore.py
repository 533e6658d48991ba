# SPDX-License-Identifier: AGPL-3.0-or-later
"""Restores a backup in this process and pulls the plug at one moment: python -m tests.support.killed_restore."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from inference_server.core.clock import SystemClock
from inference_server.storage.backup.restore import Restoration, restore
from inference_server.storage.data_folder import DataFolder


def main(backup: str, folder: str, step: str, share: str) -> None:
    """Restore with `--replace`; die when a step is so far done, as a share of 1."""

    def kill(what: str, done: int, total: int) -> None:
        if what == step and done >= float(share) * total:
            os.kill(os.getpid(), signal.SIGKILL)

    data = Path(folder)
    wanted = Restoration(backup=Path(backup), folder=DataFolder(data), database=data / "hsi.db", replace=True)
    asyncio.run(restore(wanted, SystemClock(), kill))


if __name__ == "__main__":
    main(*sys.argv[1:])
