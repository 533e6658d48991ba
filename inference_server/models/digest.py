# SPDX-License-Identifier: AGPL-3.0-or-later
"""SHA-256 digests, and the notes beside files that say which digest they had when they were made."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from inference_server.models.threads import Stop

type Progress = Callable[[int, int | None], None]
"""Told how many bytes are done, of how many in all (None: not known)."""

_CHUNK = 1 << 20


def silent(_done: int, _total: int | None) -> None:
    """Tell nobody."""


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_durable(_stop: Stop, path: Path) -> None:
    """Return once a file is on its disk: what is renamed before that may be empty after a power cut. Raises OSError."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sha256_told(stop: Stop, path: Path, progress: Progress = silent) -> str:
    """Return the SHA-256 of a large file, telling how far it is. Raises OSError; Stopped."""
    total, done, digest = path.stat().st_size, 0, hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            stop.check()
            digest.update(chunk)
            done += len(chunk)
            progress(done, total)
    return digest.hexdigest()


def note_digest(path: Path, digest: str) -> None:
    """Write `<file>.sha256` beside a file, in the form that `sha256sum --check` reads. Raises OSError.

    The note gets the time of the file: as long as they agree the file is known to be the one that was noted.
    """
    note = note_of(path)
    note.write_text(f"{digest}  {path.name}\n", encoding="utf-8")
    times = path.stat()
    os.utime(note, ns=(times.st_atime_ns, times.st_mtime_ns))


def noted_digest(path: Path) -> str | None:
    """Return the digest noted beside a file, whether the file is there or not; None without a readable note."""
    try:
        noted = note_of(path).read_text(encoding="utf-8").split(maxsplit=1)
    except (OSError, UnicodeDecodeError):
        return None
    return noted[0] if noted and len(noted[0]) == 64 else None


def matches_note(path: Path) -> bool:
    """Say whether a file is there and still has the digest noted beside it, reading all of it."""
    noted = noted_digest(path)
    try:
        return noted is not None and noted == sha256_of(path)
    except OSError:
        return False


def is_intact(path: Path, expected: str | None = None) -> bool:
    """Say whether a file is there and is the one that was noted, and expected if a digest is given.

    The file is read only when its time differs from its note's, or when there is no note yet.
    """
    noted = noted_digest(path)
    wanted = expected or noted
    if wanted is None:
        return False
    try:
        if noted == wanted and path.stat().st_mtime_ns == note_of(path).stat().st_mtime_ns:
            return True
        if sha256_of(path) != wanted:
            return False
    except OSError:
        return False
    _note_if_possible(path, wanted)
    return True


def note_of(path: Path) -> Path:
    """Return where the note of a file is."""
    return path.with_name(f"{path.name}.sha256")


def _note_if_possible(path: Path, digest: str) -> None:
    try:
        note_digest(path, digest)
    except OSError:  # a folder that may only be read: the file is read again each time
        return
