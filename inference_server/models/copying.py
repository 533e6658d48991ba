# SPDX-License-Identifier: AGPL-3.0-or-later
"""Copying a large file, piece by piece, so that it can be stopped and told of."""

from pathlib import Path
from typing import IO

from inference_server.models.digest import Progress, silent
from inference_server.models.threads import Stop

_CHUNK = 1 << 20


def copy_told(stop: Stop, source: IO[bytes], target: Path, size: int, progress: Progress = silent) -> None:
    """Write what a file of `size` bytes gives to `target`. Raises OSError; Stopped."""
    with target.open("wb") as file:
        while chunk := source.read(_CHUNK):
            stop.check()
            file.write(chunk)
            progress(file.tell(), size)
