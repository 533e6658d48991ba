# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the query modules share."""

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row, Table, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

LARGEST_ID = 2**63 - 1
"""The highest key of any database of ours; a larger number in a query is an error of its driver."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DIGITS = len(str(LARGEST_ID))

type AnyRow = Row[Any]
"""A row as the driver gives it; each query module turns it into a typed value at once."""


def insert(connection: AsyncConnection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Return an insert of the connection's own dialect, which has `on_conflict_do_...`."""
    return insert_in(connection.dialect.name, table)


def insert_in(dialect: str, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Return an insert of a dialect, for a statement that is made once and executed again and again."""
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


async def lock(connection: AsyncConnection, name: str) -> None:
    """Keep every other transaction out that takes this lock, to the end of this one. SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        await connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(f"hsi {name}"))))


def storable(text: str) -> str:
    """Return text that every database holds: NUL and broken Unicode, as error messages may quote them, are escaped."""
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


@dataclass(frozen=True, slots=True)
class Page[Item]:
    """One page of a list, and the cursor of the next one when there is more."""

    items: tuple[Item, ...]
    next_cursor: str | None


class BadCursorError(ValueError):
    """A cursor that no list of ours gave out."""


def encode_cursor(last_id: int) -> str:
    """Return an opaque cursor that continues after this id."""
    return base64.urlsafe_b64encode(str(last_id).encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> int:
    """Return the id in a cursor. Raises BadCursorError."""
    try:
        digits = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except (ValueError, binascii.Error) as error:
        raise BadCursorError(f"{cursor[:40]!r} is not a cursor") from error
    if not digits.isdigit() or len(digits) > _DIGITS or int(digits) > LARGEST_ID:
        raise BadCursorError(f"{cursor[:40]!r} is not a cursor")
    return int(digits)


def encode_moment(at: datetime, last_id: int) -> str:
    """Return an opaque cursor that continues after this time and, among what has this time, after this id."""
    return f"{encode_cursor((at - _EPOCH) // timedelta(microseconds=1))}.{encode_cursor(last_id)}"


def decode_moment(cursor: str) -> tuple[datetime, int]:
    """Return the time and the id in a cursor. Raises BadCursorError."""
    moment, _, last_id = cursor.partition(".")
    try:
        return _EPOCH + timedelta(microseconds=decode_cursor(moment)), decode_cursor(last_id)
    except OverflowError as error:
        raise BadCursorError(f"{cursor[:40]!r} is not a cursor") from error
