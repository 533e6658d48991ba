# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries on the versions of prompts. A version never changes; which one is active does."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from sqlalchemy import ColumnElement, Select, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.prompt import PromptKind, PromptVersion
from inference_server.storage.rows import AnyRow, lock
from inference_server.storage.tables import prompt_versions

MOST_VERSIONS = 500
"""Of a kind."""


class TooManyVersionsError(Exception):
    """There are as many versions of a kind as may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPrompt:
    """A text that was checked, to become a version."""

    kind: PromptKind
    name: str
    text: str
    note: str = ""
    created_by: str | None = None
    shipped: bool = False


class Removal(Enum):
    """What became of a version that was to be removed."""

    REMOVED = auto()
    NOT_FOUND = auto()
    IN_USE = auto()
    """It is the active one, or was once, or came with the product."""


async def active(connection: AsyncConnection, kind: PromptKind) -> PromptVersion | None:
    """Return the version that is in use; None before `seed`."""
    row = (await connection.execute(_active_row(kind))).one_or_none()
    return _version(row) if row else None


async def of_kind(connection: AsyncConnection, kind: PromptKind) -> tuple[PromptVersion, ...]:
    """Return every version of a kind, the newest first."""
    query = (
        select(prompt_versions).where(prompt_versions.c.kind == kind.value).order_by(prompt_versions.c.number.desc())
    )
    return tuple(_version(row) for row in await connection.execute(query))


async def get(connection: AsyncConnection, kind: PromptKind, number: int) -> PromptVersion | None:
    """Return one version."""
    row = (await connection.execute(select(prompt_versions).where(*_is(kind, number)))).one_or_none()
    return _version(row) if row else None


async def add(connection: AsyncConnection, new: NewPrompt, at: datetime) -> PromptVersion:
    """Add a version, which is not active. Raises TooManyVersionsError."""
    await lock(connection, "prompts")
    mine = prompt_versions.c.kind == new.kind.value
    query = select(func.count(), func.max(prompt_versions.c.number)).where(mine)
    count, last = (await connection.execute(query)).one()
    if count >= MOST_VERSIONS:
        raise TooManyVersionsError(f"there are {count} versions of the prompt {new.kind}")
    columns = {
        "kind": new.kind.value,
        "number": (last or 0) + 1,
        "name": new.name,
        "text": new.text,
        "note": new.note,
        "created_at": at,
        "created_by": new.created_by,
        "digest": digest(new.text) if new.shipped else None,
        "active": False,
        "chosen": False,
    }
    row = (await connection.execute(prompt_versions.insert().values(columns).returning(prompt_versions))).one()
    return _version(row)


async def activate(connection: AsyncConnection, kind: PromptKind, number: int, at: datetime) -> PromptVersion | None:
    """Make a version the active one, as somebody chose, from this commit on; None when there is none."""
    await lock(connection, "prompts")
    return await _activate(connection, kind, number, at, chosen=True)


async def remove(connection: AsyncConnection, kind: PromptKind, number: int) -> Removal:
    """Remove a version that was never in use."""
    await lock(connection, "prompts")
    version = await get(connection, kind, number)
    if version is None:
        return Removal.NOT_FOUND
    if version.active or version.shipped or version.activated_at is not None:
        return Removal.IN_USE
    await connection.execute(delete(prompt_versions).where(*_is(kind, number)))
    return Removal.REMOVED


async def seed(connection: AsyncConnection, shipped: Iterable[NewPrompt], at: datetime) -> None:
    """Add shipped texts that are not known yet, of each kind the oldest first.

    The newest becomes the active one unless the owner chose another.
    """
    await lock(connection, "prompts")
    newest: dict[PromptKind, str] = {}
    for new in shipped:
        if await _shipped(connection, new.kind, digest(new.text)) is None:
            await add(connection, new, at)
        newest[new.kind] = digest(new.text)
    for kind, wanted in newest.items():
        in_use = (await connection.execute(_active_row(kind))).one_or_none()
        version = await _shipped(connection, kind, wanted)
        if version is not None and (in_use is None or not (in_use.chosen or in_use.number == version.number)):
            await _activate(connection, kind, version.number, at, chosen=False)


def digest(text: str) -> str:
    """Return what a shipped text is known by."""
    return hashlib.sha256(text.encode()).hexdigest()


async def _shipped(connection: AsyncConnection, kind: PromptKind, known_by: str) -> PromptVersion | None:
    query = select(prompt_versions).where(prompt_versions.c.kind == kind.value, prompt_versions.c.digest == known_by)
    row = (await connection.execute(query)).first()
    return _version(row) if row else None


async def _activate(
    connection: AsyncConnection, kind: PromptKind, number: int, at: datetime, *, chosen: bool
) -> PromptVersion | None:
    if await get(connection, kind, number) is None:
        return None
    in_use = (prompt_versions.c.kind == kind.value, prompt_versions.c.active, prompt_versions.c.number != number)
    await connection.execute(update(prompt_versions).where(*in_use).values(active=False, chosen=False))
    columns = {"active": True, "chosen": chosen, "activated_at": at}
    await connection.execute(update(prompt_versions).where(*_is(kind, number)).values(columns))
    return await get(connection, kind, number)


def _active_row(kind: PromptKind) -> Select[tuple[object, ...]]:
    return select(prompt_versions).where(prompt_versions.c.kind == kind.value, prompt_versions.c.active)


def _is(kind: PromptKind, number: int) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return prompt_versions.c.kind == kind.value, prompt_versions.c.number == number


def _version(row: AnyRow) -> PromptVersion:
    return PromptVersion(
        kind=PromptKind(row.kind),
        number=row.number,
        name=row.name,
        text=row.text,
        note=row.note,
        created_at=row.created_at,
        created_by=row.created_by,
        shipped=row.digest is not None,
        active=row.active,
        activated_at=row.activated_at,
    )
