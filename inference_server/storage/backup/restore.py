# SPDX-License-Identifier: AGPL-3.0-or-later
"""Restoring a backup: it is checked as a whole, restored beside what is there, and takes its place in one step.

Media files go into the media folder before that step: they are named by their content, so they change nothing for the
old database, whose files all stay.
"""

import asyncio
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.clock import Clock
from inference_server.storage.backup.archive import MEDIA, TABLES, ArchiveReader, Member
from inference_server.storage.backup.errors import BackupError, damaged, untrusted
from inference_server.storage.backup.load import load_table, make_schema, migrate
from inference_server.storage.backup.manifest import Manifest, MediaTally
from inference_server.storage.backup.place import place_of
from inference_server.storage.backup.progress import Progress, silent
from inference_server.storage.backup.settle import Settled, Surroundings, settle
from inference_server.storage.backup.verify import Verified, reading, verify
from inference_server.storage.data_folder import DataFolder
from inference_server.storage.database import STORAGE_FAILURES

_SPARE_BYTES = 64 << 20
_DATABASE_BYTES_PER_BYTE = 3
"""The file, its indexes and its write-ahead log, per byte of the rows as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoration:
    """What is to be restored and into which data folder and database."""

    backup: Path
    folder: DataFolder
    database: Path | URL
    passphrase: str | None = None
    replace: bool = False


@dataclass(frozen=True, slots=True)
class Restored:
    """What was restored, and where the database that was there before is now, for people."""

    manifest: Manifest
    settled: Settled
    kept_aside: str | None


async def check(wanted: Restoration, progress: Progress = silent) -> Verified:
    """Return what the backup holds if it could be restored now; nothing is changed. Raises BackupError, OSError."""
    verified = await asyncio.to_thread(verify, wanted.backup, wanted.passphrase, progress)
    if not wanted.replace and await place_of(wanted.database).is_taken():
        raise BackupError(
            "There is a database already. With --replace the backup takes its place, and the old one is kept aside."
        )
    _ensure_space(wanted, verified.manifest)
    return verified


async def restore(wanted: Restoration, clock: Clock, progress: Progress = silent) -> Restored:
    """Restore a backup. Raises BackupError, DataFolderError while a server runs; then all is as it was."""
    folder = wanted.folder
    folder.prepare()
    with folder.lock():
        manifest = (await check(wanted, progress)).manifest
        try:
            return await _restore(wanted, manifest, clock, progress)
        except STORAGE_FAILURES as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            raise BackupError(
                f"The backup cannot be restored now: {cause}. Check the disks of {folder.root} and of the database; "
                "what was there is as it was."
            ) from error


async def _restore(wanted: Restoration, manifest: Manifest, clock: Clock, progress: Progress) -> Restored:
    place, steps = place_of(wanted.database), count()
    async with place.filling(clock.now(), lambda: progress("in place", next(steps), 2)) as connection:
        settled = await _fill(connection, wanted, manifest, clock, progress)
    progress("in place", 2, 2)
    return Restored(manifest, settled, place.kept_aside)


async def _fill(
    connection: AsyncConnection, wanted: Restoration, manifest: Manifest, clock: Clock, progress: Progress
) -> Settled:
    made = await make_schema(connection, manifest)
    media = _MediaWriter(wanted.folder.media, manifest)
    with reading(wanted.backup, wanted.passphrase, progress, "restored") as archive:
        contents = {content.member: content for content in manifest.tables}
        members = archive.members()
        while member := await asyncio.to_thread(next, members, None):
            if member.name.startswith(TABLES):
                if (content := contents.pop(member, None)) is None:
                    raise _changed()
                await load_table(connection, archive, made.tables[content.name], content)
                if archive.digest() != content.sha256:
                    raise _changed()
            elif member.name.startswith(MEDIA):
                await asyncio.to_thread(media.write, archive, member)
        await asyncio.to_thread(archive.finish)
    media.finish()
    if contents:
        raise _changed()
    await connection.run_sync(migrate, "head")
    around = Surroundings(now=clock.now(), has_file=media.has)
    return await settle(connection, manifest, around)


def _changed() -> BackupError:
    return damaged("it is no longer what it was when it was checked")


def _ensure_space(wanted: Restoration, manifest: Manifest) -> None:
    needed: dict[Path, int] = {}
    if isinstance(wanted.database, Path):
        needed[_existing(wanted.database.parent)] = manifest.json_bytes * _DATABASE_BYTES_PER_BYTE
    if manifest.media:
        folder = _existing(wanted.folder.root)
        needed[folder] = needed.get(folder, 0) + manifest.media.total_bytes
    for folder, size in needed.items():
        free = shutil.disk_usage(folder).free
        if free < size + _SPARE_BYTES:
            raise BackupError(
                f"The restored data need {size / 1e6:,.0f} MB, but only {free / 1e6:,.0f} MB are free on the disk of "
                f"{folder}. Free space, or choose another data folder with HSI_DATA_DIR."
            )


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


class _MediaWriter:
    """Writes media files, never outside the media folder and never more than the manifest tells."""

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self._root = root
        self._told = manifest.media
        self._tally = MediaTally()
        self._folders: set[Path] = set()

    def write(self, archive: ArchiveReader, member: Member) -> None:
        """Write the archive's current member as a media file. Raises BackupError, OSError."""
        if self._told is None or self._tally.total_bytes + member.size > self._told.total_bytes:
            raise _changed()
        target = self._root / member.name.removeprefix(MEDIA)
        self._make_folder(target.parent)
        part = target.with_name(f".{target.name}.part")
        with _fresh_file(part) as descriptor:
            while chunk := archive.read(1 << 20):
                os.write(descriptor, chunk)
        part.replace(target)
        self._tally.add(member, archive.digest())

    def finish(self) -> None:
        """Make everything durable. Raises BackupError when it is not what the manifest tells."""
        if self._told and self._tally.content(self._told.missing, self._told.examples) != self._told:
            raise _changed()
        os.sync()

    def has(self, path: str) -> bool:
        """Return whether there is a file."""
        return (self._root / path).is_file()

    def _make_folder(self, folder: Path) -> None:
        if folder in self._folders:
            return
        folder.mkdir(parents=True, exist_ok=True)
        if not folder.resolve().is_relative_to(self._root.resolve()):
            raise untrusted(f"{folder} leads out of the media folder")
        if len(self._folders) > 10_000:
            self._folders.clear()
        self._folders.add(folder)


@contextmanager
def _fresh_file(file: Path) -> Iterator[int]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(file, flags, 0o600)
    try:
        yield descriptor
    except BaseException:
        file.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
