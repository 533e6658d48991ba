# SPDX-License-Identifier: AGPL-3.0-or-later
"""The files in the cameras' folders that were admitted: deleting them if the owner wants it, and notes about gone ones.

A name is followed folder by folder from its root, and no link is: whoever can write into a camera's folder must not
choose what is deleted elsewhere.
"""

import contextlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

from sqlalchemy import and_, delete, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.storage.arrivals import FileVersion
from inference_server.storage.tables import arrivals, clips, frames

FILES_AT_ONCE = 500
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class Original:
    """A file as it was when it arrived, and the copy of it in the media folder."""

    arrival_id: int
    file: FileVersion
    media_path: str


@dataclass(frozen=True, slots=True)
class Note:
    """An arrival that is remembered."""

    id: int
    path: str


async def admitted(connection: AsyncConnection, before: datetime, *, after: int) -> Sequence[Original]:
    """Return the next files above an arrival's id whose content was admitted before and is kept as media."""
    kept_frame = and_(frames.c.arrived_at < before, frames.c.pruned_at.is_(None))
    kept_clip = and_(clips.c.arrived_at < before, clips.c.pruned_at.is_(None))
    query = (
        select(arrivals, frames.c.media_path.label("frame_path"), clips.c.media_path.label("clip_path"))
        .outerjoin(frames, frames.c.id == arrivals.c.frame_id)
        .outerjoin(clips, clips.c.id == arrivals.c.clip_id)
        .where(arrivals.c.id > after, or_(kept_frame, kept_clip))
        .order_by(arrivals.c.id)
        .limit(FILES_AT_ONCE)
    )
    return [
        Original(row.id, FileVersion(row.path, row.size, row.modified_ns), row.clip_path or row.frame_path)
        for row in await connection.execute(query)
    ]


async def old_notes(connection: AsyncConnection, before: datetime, *, after: int) -> Sequence[Note]:
    """Return the next arrivals above an id that are older than a time."""
    query = select(arrivals.c.id, arrivals.c.path).where(arrivals.c.id > after, arrivals.c.arrived_at < before)
    rows = await connection.execute(query.order_by(arrivals.c.id).limit(FILES_AT_ONCE))
    return [Note(row.id, row.path) for row in rows]


async def forget(connection: AsyncConnection, notes: Sequence[Note]) -> None:
    """Delete arrivals."""
    await connection.execute(delete(arrivals).where(arrivals.c.id.in_([note.id for note in notes])))


class CameraFolders:
    """The watch roots: the first is the one whose files are named relative to it, the others' names are absolute."""

    def __init__(self, roots: Sequence[Path]) -> None:
        """Take the roots; they need not be there."""
        self._roots = [root.resolve() for root in roots]

    def size(self, file: FileVersion) -> int | None:
        """Return the bytes of a file that is as it was when it arrived; None when it is gone or another one."""
        with self._folder_of(file.path) as (folder, names):
            return file.size if any(_is_unchanged(folder, name, file) for name in names) else None

    def delete(self, file: FileVersion, *, disk: Path | None = None) -> int | None:
        """Delete a file that is as it was when it arrived and return its bytes; None when it is not.

        With a disk, given by a path on it, files elsewhere stay. Raises OSError.
        """
        with self._folder_of(file.path) as (folder, names):
            if names and disk is not None and os.fstat(folder).st_dev != disk.stat().st_dev:
                return None
            for name in names:
                if _is_unchanged(folder, name, file):
                    os.unlink(name, dir_fd=folder)
                    return file.size
        return None

    def is_gone(self, path: str) -> bool:
        """Return whether a file is not there although its camera's folder is: a mount may be missing for a while."""
        placed = self._placed(path)
        if placed is None:
            return False
        root, below = placed
        if len(below.parts) < 2 or not any((root / os.fsdecode(name)).is_dir() for name in _names(below.parts[0])):
            return False
        with self._folder_of(path) as (folder, names):
            return not any(_status(folder, name) for name in names)

    def _placed(self, path: str) -> tuple[Path, PurePosixPath] | None:
        pure = PurePosixPath(path)
        if ".." in pure.parts:
            return None
        if not pure.is_absolute():
            return (self._roots[0], pure) if self._roots else None
        within = [root for root in self._roots if pure.is_relative_to(root)]
        return (within[0], pure.relative_to(within[0])) if within else None

    @contextlib.contextmanager
    def _folder_of(self, path: str) -> Iterator[tuple[int, list[bytes]]]:
        """Give the open folder of a file and the names that it may have in it; none where the way there has a link."""
        placed = self._placed(path)
        with contextlib.ExitStack() as opened:
            folder: int | None = None
            if placed is not None:
                folder = _open(os.fsencode(placed[0]), None, opened)
                for part in placed[1].parts[:-1]:
                    below = (_open(name, folder, opened) for name in _names(part)) if folder is not None else ()
                    folder = next((found for found in below if found is not None), None)
            if folder is None or placed is None:
                yield -1, []
            else:
                yield folder, _names(placed[1].name)


def _open(name: bytes, folder: int | None, opened: contextlib.ExitStack) -> int | None:
    try:
        descriptor = os.open(name, _FOLDER, dir_fd=folder)
    except OSError:
        return None
    opened.callback(os.close, descriptor)
    return descriptor


def _names(name: str) -> list[bytes]:
    """Return what a name may be on disk: bytes that are no text were written as backslash escapes when it arrived."""
    plain = name.encode()
    raw = _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), plain)
    return [plain] if raw == plain or b"/" in raw or b"\0" in raw else [plain, raw]


def _status(folder: int, name: bytes) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return None


def _is_unchanged(folder: int, name: bytes, file: FileVersion) -> bool:
    status = _status(folder, name)
    return status is not None and stat.S_ISREG(status.st_mode) and FileVersion.of(file.path, status) == file
