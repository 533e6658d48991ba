# SPDX-License-Identifier: AGPL-3.0-or-later
"""Room on the disk for models: what a download takes, and whether there is as much."""

import shutil
from collections.abc import Callable
from pathlib import Path

from inference_server.core.model import ModelProblem, ModelUnavailable
from inference_server.models.catalogue import HttpsSource, Weights

SPARE_BYTES = 100 << 20
"""What a disk keeps free besides a model."""


class Room:
    """The free space of the disk that a folder is on."""

    def __init__(self, folder: Path, free: Callable[[Path], int]) -> None:
        """Take what says how many bytes a folder has room for."""
        self._folder = folder
        self._free = free

    def free(self) -> int:
        """Return how many bytes there is room for. Raises OSError."""
        return self._free(self._folder)

    def check(self, who: str, needed: int) -> None:
        """Raise ModelUnavailable where so many bytes do not fit: better now than after hours. Raises OSError."""
        if needed and (free := self.free()) < needed + SPARE_BYTES:
            raise self.lacking(who, needed + SPARE_BYTES, free)

    def lacking(self, who: str, needed: int, free: int) -> ModelUnavailable:
        """Return what says that there is not enough room."""
        return ModelUnavailable(
            f"{who} needs {_megabytes(needed)} in {self._folder}, where {_megabytes(free)} are free",
            "Make room, or name a folder on another disk in HSI_MODELS_DIR.",
            ModelProblem.NO_SPACE,
        )


def free_bytes(folder: Path) -> int:
    """Return how many bytes a folder, or the nearest one above it that exists, has room for. Raises OSError."""
    present = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(present).free


def room_for(file: Weights) -> int:
    """Return how many bytes a download takes at its most: what comes in an archive is there twice for a moment."""
    return file.size if isinstance(file.sources[0], HttpsSource) else 2 * file.size


def _megabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
