# SPDX-License-Identifier: AGPL-3.0-or-later
"""Exchanging a file of SQLite for a new one that was made beside it."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from itertools import count
from pathlib import Path

from inference_server.storage.backup.errors import BackupError
from inference_server.storage.media import sync_folder

_MAGIC = b"SQLite format 3\0"
_COMPANIONS = ("-wal", "-shm")


def beside(file: Path) -> Path:
    """Return where the file is made that is to take the place of this one."""
    return file.with_name(f"{file.name}.restoring")


def remove(file: Path) -> None:
    """Remove a file of SQLite and what belongs to it."""
    for path in (file, *_companions(file)):
        path.unlink(missing_ok=True)


def put_in_place(file: Path, now: datetime, step: Callable[[], None]) -> Path | None:
    """Make the new file the one in use, by one rename, and return under which name the old one was kept.

    Whenever this ends, even by a power cut, the file in use is the old one or the new one, whole. `step` is called
    between the steps. Raises BackupError, OSError.
    """
    new = beside(file)
    if not _fold(new):
        raise BackupError(f"The new database {new} cannot be read. Check the disk, and restore again.")
    _sync(new)
    step()
    aside = _keep(file, now)
    step()
    new.replace(file)
    sync_folder(file.parent)
    return aside


def _keep(file: Path, now: datetime) -> Path | None:
    """Give the old file, if there is one, a second name, and take away what would be read as part of the new one."""
    aside = _free_name(file, now)
    if not file.exists() or not _fold(file):
        for path in _companions(file):
            if path.exists():
                path.rename(aside.with_name(aside.name + path.name.removeprefix(file.name)))
    if not file.exists():
        return None
    if aside.exists():
        return aside
    try:
        aside.hardlink_to(file)
    except OSError:  # a file system without hard links
        shutil.copyfile(file, aside)
        _sync(aside)
    sync_folder(file.parent)
    return aside


def _free_name(file: Path, now: datetime) -> Path:
    for number in count(1):
        aside = file.with_name(f"{file.name}.before-restore-{now:%Y%m%dT%H%M%SZ}{'' if number == 1 else f'-{number}'}")
        if not aside.exists() or aside.samefile(file):
            return aside
    raise AssertionError


def _fold(file: Path) -> bool:
    """Write what the write-ahead log holds into the file, so that it is whole by itself. Return whether that is so."""
    with file.open("rb") as opened:
        if opened.read(len(_MAGIC)) != _MAGIC:  # SQLite would remove the log of what it cannot read
            return False
    try:
        with closing(sqlite3.connect(file, timeout=1)) as connection:
            (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError as error:
        raise BackupError(f"The database {file} cannot be kept aside: {error}. End what uses it.") from error
    except sqlite3.DatabaseError:
        return False
    if busy or any(path.exists() for path in _companions(file)):
        raise BackupError(f"Another program has the database {file} open. End it, and restore again.")
    return True


def _companions(file: Path) -> tuple[Path, ...]:
    return tuple(file.with_name(file.name + suffix) for suffix in _COMPANIONS)


def _sync(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
