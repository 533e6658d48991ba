# SPDX-License-Identifier: AGPL-3.0-or-later
"""Making a backup while the server runs: the rows of one moment, then the media files that these rows name.

A media file is written before its row, so the file of each row is there, unless it is removed while the backup is being
made: then it is recorded as missing.
"""

import asyncio
import fcntl
import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from inference_server import __version__
from inference_server.storage.backup.archive import (
    FORMAT,
    FORMAT_MEMBER,
    MANIFEST_MEMBER,
    MEDIA,
    READ_SIZE,
    Advance,
    ArchiveWriter,
    Member,
    header,
)
from inference_server.storage.backup.dump import Dump, DumpedTable, dumped
from inference_server.storage.backup.encryption import EncryptingWriter
from inference_server.storage.backup.errors import BackupError
from inference_server.storage.backup.manifest import (
    Manifest,
    MediaContent,
    MediaTally,
    TableContent,
    table_member,
)
from inference_server.storage.backup.progress import Progress, Stopped, counting, silent
from inference_server.storage.backup.verify import verify
from inference_server.storage.database import Database, DatabaseDownError
from inference_server.storage.media import sync_folder

SPARE_BYTES = 16 << 20
PART_SUFFIX = ".part"
_EXAMPLES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Where a backup goes and what of the media it holds.

    `staging` is a folder as private as the database, for temporary files. `keep_free` is the share of the target's disk
    that must stay free.
    """

    target: Path
    staging: Path
    media: Path | None
    """The media folder; None leaves the files out."""
    passphrase: str | None = None
    overwrite: bool = False
    keep_free: float = 0.0


async def create(database: Database, wanted: Wanted, *, now: datetime, progress: Progress = silent) -> Manifest:
    """Make a backup, read it back and only then give it its name. Raises BackupError, DatabaseDownError."""
    try:
        return await _create(database, wanted, now, progress)
    except DatabaseDownError:
        raise
    except OSError as error:
        raise BackupError(
            f"The backup cannot be written: {error}. Check the disks of {wanted.target.parent} and {wanted.staging}."
        ) from error


async def _create(database: Database, wanted: Wanted, now: datetime, progress: Progress) -> Manifest:
    if wanted.target.exists() and not wanted.overwrite:
        raise BackupError(f"{wanted.target} exists already. Choose another name, or overwrite it with --force.")
    if not wanted.target.parent.is_dir():
        raise BackupError(f"There is no folder {wanted.target.parent}. Make it, or choose another.")
    async with dumped(database, wanted.staging, progress) as dump:
        stopping = threading.Event()

        def unless_stopped(what: str, done: int, total: int) -> None:
            if stopping.is_set():
                raise Stopped
            progress(what, done, total)

        try:
            return await asyncio.to_thread(_make, dump, wanted, now, unless_stopped)
        except asyncio.CancelledError:
            stopping.set()
            raise


def remove_leftovers(folder: Path) -> None:
    """Remove what interrupted backups left in a folder, but nothing that is still being written. Raises OSError."""
    for part in folder.glob(f".*{PART_SUFFIX}"):
        with suppress(FileNotFoundError, BlockingIOError), part.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.unlink()


def _make(dump: Dump, wanted: Wanted, now: datetime, progress: Progress) -> Manifest:
    total = _ensure_space(dump, wanted)
    with _part_of(wanted.target) as (part, file):
        _Backup(dump, wanted, now, counting("saved", total, progress)).write(file)
        file.flush()
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):  # so that what the disk holds is read back, not what memory remembers
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        manifest = verify(part, wanted.passphrase, progress).manifest
        part.replace(wanted.target)
        sync_folder(wanted.target.parent)
    return manifest


@contextmanager
def _part_of(target: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Give a new file beside the target, which only its owner reads and nobody else writes; an exception removes it."""
    part = target.with_name(f".{target.name}{PART_SUFFIX}")
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BackupError(f"Another backup is being written to {target}. Wait until it is done.") from error
        try:
            os.ftruncate(descriptor, 0)
            os.fchmod(descriptor, 0o600)  # a part file that was left over keeps its own mode
            yield part, file
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def _ensure_space(dump: Dump, wanted: Wanted) -> int:
    """Return about how many bytes the backup will have. Raises BackupError when the disk has not enough of them."""
    needed = sum(table.size for table in dump.tables)
    if wanted.media is not None:
        for path in dump.media_paths():
            with suppress(OSError, ValueError):
                needed += (wanted.media / path).stat().st_size + 1024
    disk = shutil.disk_usage(wanted.target.parent)
    if disk.free - needed - SPARE_BYTES < disk.total * wanted.keep_free:
        raise BackupError(
            f"The backup needs {needed / 1e6:,.0f} MB, but only {disk.free / 1e6:,.0f} MB are free on the disk of "
            f"{wanted.target.parent}"
            + (f", of which {wanted.keep_free:.0%} of the disk stay free" if wanted.keep_free else "")
            + ". Free space, choose another disk, or leave the media out."
        )
    return needed


class _Backup:
    """Writes one archive."""

    def __init__(self, dump: Dump, wanted: Wanted, now: datetime, advance: Advance) -> None:
        self._dump = dump
        self._wanted = wanted
        self._now = now
        self._advance = advance

    def write(self, file: BinaryIO) -> None:
        sealed = EncryptingWriter(file, self._wanted.passphrase) if self._wanted.passphrase else None
        archive = ArchiveWriter(sealed or file)
        self._add(archive, FORMAT_MEMBER, json.dumps({"format": FORMAT}).encode())
        tables = tuple(self._table(archive, table) for table in self._dump.tables)
        manifest = Manifest(
            version=__version__,
            revision=self._dump.revision,
            server_id=self._dump.server_id,
            created_at=self._now,
            tables=tables,
            media=None if self._wanted.media is None else self._media(archive, self._wanted.media),
        )
        self._add(archive, MANIFEST_MEMBER, manifest.model_dump_json(indent=1).encode())
        archive.finish()
        if sealed:
            sealed.finish()

    def _add(self, archive: ArchiveWriter, name: str, content: bytes) -> None:
        archive.add(Member(name, len(content)), [content], self._advance)

    def _table(self, archive: ArchiveWriter, table: DumpedTable) -> TableContent:
        size = table.size
        sha256 = archive.add(table_member(table.name, size), table.chunks(), self._advance)
        return TableContent(
            name=table.name,
            rows=table.rows,
            json_bytes=table.json_bytes,
            size=size,
            sha256=sha256,
            last_id=table.last_id,
        )

    def _media(self, archive: ArchiveWriter, root: Path) -> MediaContent:
        tally, missing, examples = MediaTally(), 0, list[str]()
        for path in self._dump.media_paths():
            try:
                member, chunks = _opened(root, path)
            except (OSError, ValueError):
                missing += 1
                if len(examples) < _EXAMPLES:
                    examples.append(path)
                continue
            tally.add(member, archive.add(member, chunks, self._advance))
        return tally.content(missing, tuple(examples))


def _opened(root: Path, path: str) -> tuple[Member, Iterator[bytes]]:
    """Return a media file as a member, its beginning read already. Raises OSError, ValueError."""
    name = f"{MEDIA}{path}"
    header(Member(name, 0))
    descriptor = os.open(root / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    file = os.fdopen(descriptor, "rb")
    try:
        size = os.fstat(descriptor).st_size
        first = file.read(READ_SIZE)
    except BaseException:
        file.close()
        raise
    return Member(name, size), _rest(file, first)


def _rest(file: BinaryIO, chunk: bytes) -> Iterator[bytes]:
    with file:
        while chunk:
            yield chunk
            chunk = file.read(READ_SIZE)
