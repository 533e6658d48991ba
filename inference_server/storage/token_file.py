# SPDX-License-Identifier: AGPL-3.0-or-later
"""The first token: made on the first start and left in a file that only the owner can read."""

import os
import secrets
from pathlib import Path

from inference_server.core.clock import Clock
from inference_server.storage import tokens
from inference_server.storage.database import Database

NAME = "Home Assistant"


async def ensure_token(database: Database, file: Path, clock: Clock) -> str:
    """Return the integration's token. A file that is missing or holds no valid token gets a new one."""
    known = _read(file)
    async with database.writing() as connection:
        if known and await tokens.verify(connection, known) is not None:
            return known
        made = await tokens.create(connection, NAME, tokens.Scope.INTEGRATION, clock.now())
        _write(file, made)
        return made


def ensure_secret(file: Path) -> str:
    """Return the secret in a file, for a process without a database; a file that is missing or empty gets a new one."""
    if known := _read(file):
        return known
    made = secrets.token_urlsafe(32)
    _write(file, made)
    return made


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip() or None
    except FileNotFoundError:
        return None


def _write(file: Path, token: str) -> None:
    temporary = file.with_suffix(".part")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        os.fchmod(descriptor, 0o600)  # a part file that was left over keeps its own mode
        opened.write(f"{token}\n")
        opened.flush()
        os.fsync(opened.fileno())
    temporary.replace(file)
