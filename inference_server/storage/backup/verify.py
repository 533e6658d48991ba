# SPDX-License-Identifier: AGPL-3.0-or-later
"""Checking a backup as a whole before anything of it is used."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from alembic.script import ScriptDirectory
from pydantic import ValidationError

from inference_server.storage.backup.archive import (
    FORMAT,
    FORMAT_MEMBER,
    MANIFEST_MEMBER,
    MEDIA,
    READ_SIZE,
    TABLES,
    ArchiveReader,
    Member,
    Readable,
)
from inference_server.storage.backup.encryption import MAGIC, DecryptingReader
from inference_server.storage.backup.errors import BackupError, PassphraseError, untrusted
from inference_server.storage.backup.manifest import LARGEST_MANIFEST, MOST_TABLES, Manifest, MediaTally
from inference_server.storage.backup.progress import Progress, counting, silent
from inference_server.storage.database import migration_config


@dataclass(frozen=True, slots=True)
class Verified:
    """A backup that is whole and of this program: its manifest, its size in bytes and whether it is encrypted."""

    manifest: Manifest
    size: int
    encrypted: bool


def is_encrypted(file: Path) -> bool:
    """Return whether a backup needs a passphrase. Raises OSError."""
    with file.open("rb") as opened:
        return opened.read(len(MAGIC)) == MAGIC


@contextmanager
def reading(file: Path, passphrase: str | None, progress: Progress, what: str) -> Iterator[ArchiveReader]:
    """Give a reader of a backup. Raises BackupError, OSError."""
    with file.open("rb") as opened:
        size = os.fstat(opened.fileno()).st_size
        source, plain_size = _plain(opened, size, passphrase, file)
        yield ArchiveReader(source, plain_size, counting(what, plain_size, progress))


def _plain(opened: BinaryIO, size: int, passphrase: str | None, file: Path) -> tuple[Readable, int]:
    encrypted = opened.read(len(MAGIC)) == MAGIC
    opened.seek(0)
    if not encrypted:
        return opened, size
    if not passphrase:
        raise PassphraseError(
            f"{file} is encrypted. Give its passphrase with --passphrase-file or HSI_BACKUP_PASSPHRASE."
        )
    source = DecryptingReader(opened, passphrase, size)
    return source, source.size


def verify(file: Path, passphrase: str | None = None, progress: Progress = silent) -> Verified:
    """Read a backup to its end and check it against its checksum and its manifest. Raises BackupError, OSError."""
    if not file.is_file():
        raise BackupError(f"There is no backup {file}. Check the path.")
    with reading(file, passphrase, progress, "checked") as archive:
        try:
            manifest = _checked(archive)
        except PassphraseError:
            raise
        except BackupError:
            archive.finish()  # a damaged file is told as such, whatever its damage looks like
            raise
        archive.finish()
    return Verified(manifest, file.stat().st_size, is_encrypted(file))


def _checked(archive: ArchiveReader) -> Manifest:
    members = archive.members()
    _check_format(archive, next(members, None))
    tables: list[tuple[Member, str]] = []
    tally = MediaTally()
    for member in members:
        if member.name == MANIFEST_MEMBER:
            manifest = _manifest(archive, member)
            if next(members, None) is not None:
                raise untrusted("something follows its manifest")
            _compare(manifest, tables, tally)
            return manifest
        if member.name.startswith(MEDIA):
            tally.add(member, archive.digest())
        elif member.name.startswith(TABLES) and not tally.files and len(tables) < MOST_TABLES:
            tables.append((member, archive.digest()))
        else:
            raise untrusted(f"{member.name!r} has no place in it")
    raise untrusted("it has no manifest")


def _check_format(archive: ArchiveReader, member: Member | None) -> None:
    if member is None or member.name != FORMAT_MEMBER or member.size > 1000:
        raise untrusted("it does not begin as a backup of this program does")
    try:
        told = json.loads(read_all(archive))["format"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise untrusted("it does not tell its format") from error
    if told != FORMAT:
        raise BackupError(
            f"The backup has the format {told!r:.20}; this version knows {FORMAT}. Install the version that made it."
        )


def _manifest(archive: ArchiveReader, member: Member) -> Manifest:
    if member.size > LARGEST_MANIFEST:
        raise untrusted(f"its manifest has {member.size} bytes")
    try:
        manifest = Manifest.model_validate_json(read_all(archive))
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise untrusted(f"its manifest is wrong: {where}: {error.errors()[0]['msg']}") from error
    check_revision(manifest)
    return manifest


def check_revision(manifest: Manifest) -> None:
    """Refuse what a newer version of the program wrote. Raises BackupError."""
    known = {script.revision for script in ScriptDirectory.from_config(migration_config()).walk_revisions()}
    if manifest.revision not in known:
        raise BackupError(
            f"The backup was made by version {manifest.version}, whose database (revision {manifest.revision}) this "
            "version does not know. Install that version or a newer one."
        )


def _compare(manifest: Manifest, tables: list[tuple[Member, str]], tally: MediaTally) -> None:
    if tables != [(table.member, table.sha256) for table in manifest.tables]:
        raise untrusted("its tables are not those of its manifest")
    told = manifest.media
    found = tally.content(*(told.missing, told.examples) if told else ())
    if (found if told or tally.files else None) != told:
        raise untrusted("its media files are not those of its manifest")


def read_all(archive: ArchiveReader) -> bytes:
    """Return the whole content of a small member. Raises BackupError."""
    content = b""
    while chunk := archive.read(READ_SIZE):
        content += chunk
    return content
