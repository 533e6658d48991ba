# SPDX-License-Identifier: AGPL-3.0-or-later
"""The picture and clip files, below one folder, each written whole or not at all."""

import contextlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

RECENT_SECONDS = 600.0
"""A file that was written or wanted again within this time may be about to get its row: it is not deleted."""
_SCRATCH = ".scratch-"


class MediaFolder:
    """Files by content: `CAMERA/HA/HASH.EXTENSION`, HA being the hash's first two digits."""

    def __init__(self, root: Path) -> None:
        """Take the folder; it is made when the first picture is written."""
        self.root = root

    def write(self, camera_id: str, content_hash: str, extension: str, content: bytes) -> str:
        """Store a picture durably and return its path below the root. The same content is not written twice.

        A file that is there already gets the time of now, which keeps `delete` away from it. Raises OSError.
        """
        path = Path(camera_id, content_hash[:2], f"{content_hash}.{extension}")
        target = self.root / path
        with contextlib.suppress(FileNotFoundError):
            if target.stat().st_size == len(content):
                os.utime(target)
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

    def store_file(self, source: Path, camera_id: str, content_hash: str, extension: str) -> str:
        """Move a file of a scratch folder durably to its place, and return its path below the root. Raises OSError."""
        path = Path(camera_id, content_hash[:2], f"{content_hash}.{extension}")
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as file:
            os.fsync(file.fileno())
        os.utime(source)
        source.replace(target)
        sync_folder(target.parent)
        return path.as_posix()

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """Give a folder on the same file system that goes again with all that is left in it. Raises OSError."""
        self.root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.root, prefix=_SCRATCH) as folder:
            yield Path(folder)

    def clear_scratch(self) -> None:
        """Delete the scratch folders that a server left behind when it was killed."""
        for folder in self.root.glob(f"{_SCRATCH}*"):
            shutil.rmtree(folder, ignore_errors=True)

    def path(self, path: str) -> Path:
        """Return where a file lies. Raises ValueError for a path outside."""
        target = (self.root / path).resolve()
        if not target.is_relative_to(self.root.resolve()):
            raise ValueError(f"{path} lies outside the media folder")
        return target

    def read(self, path: str) -> bytes:
        """Return a picture's bytes. Raises FileNotFoundError when it is gone, ValueError for a path outside."""
        return self.path(path).read_bytes()

    def size(self, path: str) -> int | None:
        """Return the bytes of a file, or None when it is gone."""
        try:
            return (self.root / path).lstat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def delete(self, path: str) -> int | None:
        """Delete a file and return its bytes; None when it is gone, or so recent that it may be wanted again.

        It is moved aside first: whoever wants the same content meanwhile either finds the file and gives it the time
        of now, so that it comes back, or finds none and writes it anew. Raises OSError, ValueError for a path outside.
        """
        target = self.root / path
        if not target.parent.resolve().is_relative_to(self.root.resolve()):
            raise ValueError(f"{path} lies outside the media folder")
        aside = target.with_name(f".{secrets.token_hex(8)}.deleted")
        try:
            if _is_recent(target.lstat()):
                return None
            target.rename(aside)
        except (FileNotFoundError, NotADirectoryError):
            return None
        status = aside.lstat()
        if _is_recent(status):
            aside.replace(target)
            return None
        aside.unlink()
        return status.st_size


def _is_recent(status: os.stat_result) -> bool:
    return time.time() - status.st_mtime < RECENT_SECONDS


def sync_folder(folder: Path) -> None:
    """Make a new name in a folder durable: the file's own sync does not cover it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
