# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files of models that somebody sends: received beside their place, and gone again unless they are taken in."""

import errno
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from inference_server.models.locking import held, is_held
from inference_server.models.room import Room

_LOOK_BYTES = 64 << 20
"""After so many bytes the free space is looked at again: others fill the disk too."""
_MOST_NAME = 100
_WHO = "The file"


class Incoming:
    """A file that is being received."""

    def __init__(self, folder: Path, file: BinaryIO, room: Room) -> None:
        """Receive into an open file of this folder."""
        self._folder = folder
        self._file = file
        self._room = room
        self._received = 0
        self._looked_at = 0

    def write(self, piece: bytes) -> None:
        """Add a piece. Blocks. Raises ModelUnavailable where the disk is full; OSError."""
        self._received += len(piece)
        if self._received - self._looked_at >= _LOOK_BYTES:
            self._looked_at = self._received
            self._room.check(_WHO, len(piece))
        try:
            self._file.write(piece)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            raise self._room.lacking(_WHO, self._received, 0) from error

    def finish(self, name: str) -> Path:
        """Return the whole file, under what is safe of the name that its sender gives it. Blocks. Raises OSError."""
        self._file.close()
        return Path(self._file.name).rename(self._folder / safe_name(name))


@contextmanager
def receiving(folder: Path, size: int | None, room: Room) -> Iterator[Incoming]:
    """Give what takes a file in; `size` is how many bytes are to come, where the sender says.

    What is not moved elsewhere is deleted at the end; what a killed process left, at the next beginning. Raises
    ModelUnavailable where there is no room; OSError.
    """
    room.check(_WHO, size or 1)
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    own = folder / uuid.uuid4().hex
    with held(_lock_of(own)):
        own.mkdir()
        try:
            with (own / ".receiving").open("wb") as file:
                yield Incoming(own, file, room)
        finally:
            shutil.rmtree(own, ignore_errors=True)
            _lock_of(own).unlink(missing_ok=True)


def safe_name(name: str) -> str:
    """Return the last part of a name, without anything that could lead elsewhere or surprise a reader."""
    last = re.split(r"[/\\]", name)[-1]
    return re.sub(r"[^A-Za-z0-9._-]+", "_", last).lstrip(".-")[-_MOST_NAME:] or "file"


def _sweep(folder: Path) -> None:
    """Delete what processes left that are gone."""
    for lock in folder.glob("*.lock"):
        if not is_held(lock):
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink(missing_ok=True)


def _lock_of(folder: Path) -> Path:
    return folder.with_suffix(".lock")
