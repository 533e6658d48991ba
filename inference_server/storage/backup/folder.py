# SPDX-License-Identifier: AGPL-3.0-or-later
"""The folder of the backups that the server keeps, each with a note of what it was found to hold."""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from inference_server.core.backup import BackupKind, StoredBackup
from inference_server.storage.backup.create import remove_leftovers
from inference_server.storage.backup.manifest import Manifest

NAME_PATTERN = r"^(daily|manual)-\d{8}T\d{6}Z\.tar(\.encrypted)?$"
_TIME_FORMAT = "%Y%m%dT%H%M%SZ"
_NOTE_SUFFIX = ".json"


class _Note(BaseModel):
    """Says that a file of this size and modification time was read to its end and holds this."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int
    modified_ns: int
    verified_at: AwareDatetime
    manifest: Manifest


class BackupFolder:
    """Backups by name; other files in the folder are left alone."""

    def __init__(self, root: Path) -> None:
        """Take the folder; it is made when the first backup is."""
        self.root = root

    def prepare(self) -> None:
        """Make the folder, and remove what interrupted backups left. Raises OSError."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        remove_leftovers(self.root)

    def new(self, kind: BackupKind, now: datetime, *, encrypted: bool) -> Path:
        """Return the path of a backup that is about to be made."""
        return self.root / f"{kind}-{now.astimezone(UTC):{_TIME_FORMAT}}.tar{'.encrypted' if encrypted else ''}"

    def note(self, file: Path, manifest: Manifest, now: datetime) -> None:
        """Write down that a backup was read to its end. Raises OSError."""
        status = file.stat()
        note = _Note(size=status.st_size, modified_ns=status.st_mtime_ns, verified_at=now, manifest=manifest)
        _note_of(file).write_text(note.model_dump_json(), encoding="utf-8")

    def list_all(self) -> tuple[StoredBackup, ...]:
        """Return the backups, newest first."""
        return tuple(sorted(self._found(), key=lambda item: (item.created_at, item.name), reverse=True))

    def path(self, name: str) -> Path | None:
        """Return the file of a backup, None when there is none of this name."""
        file = self.root / name
        return file if re.fullmatch(NAME_PATTERN, name) and file.is_file() and not file.is_symlink() else None

    def remove(self, name: str) -> bool:
        """Remove a backup. Return whether it was there. Raises OSError."""
        if (file := self.path(name)) is None:
            return False
        file.unlink(missing_ok=True)
        _note_of(file).unlink(missing_ok=True)
        return True

    def keep_newest(self, count: int) -> int:
        """Remove the daily backups but the newest ones. Return how many went. Raises OSError."""
        old = [item for item in self.list_all() if item.kind is BackupKind.DAILY][count:]
        return sum(self.remove(item.name) for item in old)

    def _found(self) -> Iterator[StoredBackup]:
        if not self.root.is_dir():
            return
        for file in self.root.iterdir():
            if self.path(file.name) is not None:
                with suppress(FileNotFoundError, ValueError):
                    yield _described(file)


def _described(file: Path) -> StoredBackup:
    status = file.stat()
    kind, _, rest = file.name.partition("-")
    created_at = datetime.strptime(rest.partition(".")[0], _TIME_FORMAT).replace(tzinfo=UTC)
    try:
        note = _Note.model_validate_json(_note_of(file).read_bytes())
    except (OSError, ValidationError):
        note = None
    if note and (note.size, note.modified_ns) != (status.st_size, status.st_mtime_ns):
        note = None
    stored = StoredBackup(file.name, BackupKind(kind), created_at, status.st_size, file.name.endswith(".encrypted"))
    if note is None:
        return stored
    media = note.manifest.media
    return replace(
        stored,
        verified_at=note.verified_at,
        rows=note.manifest.rows,
        media_files=media.files if media else None,
    )


def _note_of(file: Path) -> Path:
    return file.with_name(f"{file.name}{_NOTE_SUFFIX}")
