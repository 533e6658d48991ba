# SPDX-License-Identifier: AGPL-3.0-or-later
"""SHA-256 digests, and the notes beside files that say which digest they had when they were made."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from inference_server.models.errors import HashMismatchError

type Progress = Callable[[int, int | None], None]
"""Told how many bytes are done, of how many in all (None: not known)."""


def silent(_done: int, _total: int | None) -> None:
    """Tell nobody."""


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_digest(path: Path, expected: str, name: str) -> None:
    """Raise HashMismatchError unless the file has the expected SHA-256."""
    found = sha256_of(path)
    if found != expected:
        raise HashMismatchError(name, expected, found)


def note_digest(path: Path, digest: str) -> None:
    """Write `<file>.sha256` beside a file, in the form that `sha256sum --check` reads."""
    _note_of(path).write_text(f"{digest}  {path.name}\n", encoding="utf-8")


def matches_note(path: Path) -> bool:
    """Say whether a file is there and still has the digest noted beside it."""
    try:
        noted = _note_of(path).read_text(encoding="utf-8").split(maxsplit=1)
        return bool(noted) and noted[0] == sha256_of(path)
    except (OSError, UnicodeDecodeError):
        return False


def _note_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
