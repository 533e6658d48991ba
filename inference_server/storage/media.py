# SPDX-License-Identifier: AGPL-3.0-or-later
"""The picture files, below one folder, each written whole or not at all."""

import contextlib
import os
import tempfile
from pathlib import Path


class MediaFolder:
    """Picture files by content: `CAMERA/HA/HASH.EXTENSION`, HA being the hash's first two digits."""

    def __init__(self, root: Path) -> None:
        """Take the folder; it is made when the first picture is written."""
        self.root = root

    def write(self, camera_id: str, content_hash: str, extension: str, content: bytes) -> str:
        """Store a picture durably and return its path below the root. The same content is not written twice.

        Raises OSError.
        """
        path = Path(camera_id, content_hash[:2], f"{content_hash}.{extension}")
        target = self.root / path
        if target.exists() and target.stat().st_size == len(content):
            return path.as_posix()
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(target)
            sync_folder(target.parent)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                Path(temporary).unlink()
            raise
        return path.as_posix()

    def read(self, path: str) -> bytes:
        """Return a picture's bytes. Raises FileNotFoundError when it is gone, ValueError for a path outside."""
        target = (self.root / path).resolve()
        if not target.is_relative_to(self.root.resolve()):
            raise ValueError(f"{path} lies outside the media folder")
        return target.read_bytes()


def sync_folder(folder: Path) -> None:
    """Make a new name in a folder durable: the file's own sync does not cover it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
