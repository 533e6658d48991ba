# SPDX-License-Identifier: AGPL-3.0-or-later
"""The counters that give out keys: what they stand at, and putting them forward."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Table, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.storage.backup.errors import untrusted
from inference_server.storage.rows import LARGEST_ID
from inference_server.storage.tables import metadata

LEAST_LEAP = 1_000_000
PER_SECOND = 1_000
"""More than any server gives out, so that after a restore no number comes again that was given out since the backup."""


def leap(made_at: datetime, now: datetime) -> int:
    """Return by how much every counter goes forward when a backup of this time is restored."""
    return LEAST_LEAP + PER_SECOND * max(0, int((now - made_at).total_seconds()))


def forward(last: int, by: int) -> int:
    """Return a number that lies so far ahead. Raises BackupError where there are none left."""
    if last > LARGEST_ID - by:
        raise untrusted(f"it has given out the number {last}, which leaves none")
    return last + by


async def read(connection: AsyncConnection, tables: Mapping[str, Table]) -> dict[str, int]:
    """Return the last key given out of each table whose keys the database counts."""
    if connection.dialect.name == "sqlite":
        counted = await connection.execute(text("SELECT count(*) FROM sqlite_master WHERE name = 'sqlite_sequence'"))
        if not counted.scalar_one():
            return {}
        rows = await connection.execute(text("SELECT name, seq FROM sqlite_sequence"))
        return {row.name: row.seq for row in rows if row.name in tables}
    found = {}
    for name, table in tables.items():
        if sequence := await _sequence(connection, table):
            row = (await connection.execute(text(f"SELECT last_value, is_called FROM {sequence}"))).one()  # noqa: S608
            found[name] = row.last_value if row.is_called else 0
    return found


async def advance(connection: AsyncConnection, known: Mapping[str, int], by: int) -> None:
    """Put every counter of the current schema forward: by so much from the highest key, or the last one given out.

    Raises BackupError for a key that no honest database has.
    """
    for table in metadata.sorted_tables:
        key = table.autoincrement_column
        if key is None:
            continue
        highest = (await connection.execute(select(func.max(key)))).scalar() or 0
        await _set(connection, table, forward(max(highest, known.get(table.name, 0)), by))


async def _set(connection: AsyncConnection, table: Table, last: int) -> None:
    if connection.dialect.name == "sqlite":
        if table.dialect_options["sqlite"]["autoincrement"]:
            await connection.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), {"name": table.name})
            await connection.execute(
                text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :last)"),
                {"name": table.name, "last": last},
            )
    elif sequence := await _sequence(connection, table):
        await connection.execute(select(func.setval(sequence, last)))


async def _sequence(connection: AsyncConnection, table: Table) -> str | None:
    """Return the name of the sequence behind a table's key on PostgreSQL."""
    columns = list(table.primary_key.columns)
    if len(columns) != 1:
        return None
    query = select(func.pg_get_serial_sequence(table.name, columns[0].name))
    name: str | None = (await connection.execute(query)).scalar()
    return name
