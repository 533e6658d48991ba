# SPDX-License-Identifier: AGPL-3.0-or-later
"""Orphans: files in the media folder without a row, as a crash leaves them, and rows whose file is gone."""

import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import select, union, update
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.cleanup import Amount
from inference_server.storage.tables import clips, frames

OLD_ENOUGH = timedelta(hours=24)
"""A younger file may be about to get its row."""
TOLERATED = 100
TOLERATED_SHARE = 0.1
"""Crashes leave a few. When more than both of these are astray, the media folder and the database do not belong
together: an older backup was restored, or the folder is not mounted."""


@dataclass(frozen=True, slots=True)
class Strays:
    """What does not fit together of one camera."""

    kept: int
    """Frames and clips that have their file."""
    orphans: Mapping[str, int]
    """Bytes of each file without a row, by path below the media folder."""
    missing: tuple[int, ...]
    """Frames whose file is gone."""
    found_again: tuple[int, ...]
    """Frames whose file had been missed and is there."""


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A row that has a file in the media folder; a clip has no frame's id."""

    frame_id: int | None
    is_pruned: bool


async def folders(connection: AsyncConnection, root: Path) -> list[str]:
    """Return the names of the media folder's folders, one per camera, those that should be there too."""
    known = union(select(frames.c.camera_id), select(clips.c.camera_id))
    present = {entry.name for entry in os.scandir(root)} if root.is_dir() else set()
    return sorted(present | set((await connection.execute(known)).scalars()))


async def known_files(connection: AsyncConnection, camera_id: str) -> dict[str, KnownFile]:
    """Return every media path of a camera that a row names."""
    of_frames = select(frames.c.id, frames.c.media_path, frames.c.pruned_at).where(frames.c.camera_id == camera_id)
    of_clips = select(clips.c.media_path, clips.c.pruned_at).where(clips.c.camera_id == camera_id)
    known = {row.media_path: KnownFile(None, row.pruned_at is not None) for row in await connection.execute(of_clips)}
    known |= {
        row.media_path: KnownFile(row.id, row.pruned_at is not None) for row in await connection.execute(of_frames)
    }
    return known


def present_files(root: Path, folder: str, stopped: Callable[[], bool]) -> dict[str, os.stat_result]:
    """Return what lies in one of the media folder's folders, by path below the media folder. Links are not followed.

    Breaks off with InterruptedError once `stopped` is true: there may be very many.
    """
    present = {}
    for path, status in _walk(root / folder):
        present[path.relative_to(root).as_posix()] = status
        if stopped():
            raise InterruptedError
    return present


def compare(root: Path, present: Mapping[str, os.stat_result], known: Mapping[str, KnownFile]) -> Strays:
    """Return what does not fit together. `known` must have been read after `present`."""
    newest = time.time() - OLD_ENOUGH.total_seconds()
    missing = [
        row.frame_id
        for path, row in known.items()
        if row.frame_id is not None and not row.is_pruned and path not in present and not (root / path).exists()
    ]
    again = [
        row.frame_id for path, row in known.items() if row.frame_id is not None and row.is_pruned and path in present
    ]
    orphans = {
        path: status.st_size for path, status in present.items() if path not in known and status.st_mtime < newest
    }
    return Strays(len(known.keys() & present.keys()), orphans, tuple(missing), tuple(again))


async def mark_pruned(connection: AsyncConnection, frame_ids: Sequence[int], at: datetime | None) -> None:
    """Note that frames have lost their files; None takes the note back."""
    await connection.execute(update(frames).where(frames.c.id.in_(frame_ids)).values(pruned_at=at))


def amount(strays: Sequence[Strays]) -> Amount:
    """Return how many orphans there are."""
    return Amount(sum(len(one.orphans) for one in strays), sum(sum(one.orphans.values()) for one in strays))


def warning(strays: Sequence[Strays]) -> str | None:
    """Return why orphans and missing files are not to be acted upon, and what to do; None when they are few."""
    kept, orphans = sum(one.kept for one in strays), amount(strays).count
    missing = sum(len(one.missing) for one in strays)
    if _is_suspicious(missing, kept):
        return (
            f"{missing} pictures are missing from the media folder, and only {kept} are there: is it mounted? "
            "If they are gone for good, hsi orphans --delete takes note of it."
        )
    if _is_suspicious(orphans, kept):
        return (
            f"{orphans} files of the media folder belong to nothing in the database, and only {kept} do: was an older "
            "database restored? hsi orphans lists them, hsi orphans --delete deletes them."
        )
    return None


def _is_suspicious(astray: int, kept: int) -> bool:
    return astray > TOLERATED and astray > TOLERATED_SHARE * (kept + astray)


def _walk(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    if folder.is_symlink() or folder.is_file():
        yield folder, folder.lstat()
        return
    for parent, names, files in os.walk(folder):
        links = [name for name in names if Path(parent, name).is_symlink()]
        for path in (Path(parent, name) for name in (*files, *links)):
            try:
                status = path.lstat()
            except FileNotFoundError:
                continue
            if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
                yield path, status
