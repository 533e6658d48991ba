# SPDX-License-Identifier: AGPL-3.0-or-later
"""The place of a database, which a backup takes in one step while what was there is kept aside."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Protocol

from sqlalchemy import URL, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import CreateSchema

from inference_server.storage.backup import exchange
from inference_server.storage.backup.errors import BackupError
from inference_server.storage.backup.values import REVISION_TABLE
from inference_server.storage.database import Database
from inference_server.storage.rows import lock

type Step = Callable[[], None]


class Place(Protocol):
    """Where a database is or will be."""

    kept_aside: str | None
    """Where the database that was there is now, for people."""

    async def is_taken(self) -> bool:
        """Return whether there is a database already."""
        ...

    def filling(self, now: datetime, step: Step) -> AbstractAsyncContextManager[AsyncConnection]:
        """Give a connection to an empty database that takes the place at the end, or never on an exception.

        `step` is called between the steps of taking it. Raises BackupError, OSError.
        """
        ...


def place_of(where: Path | URL) -> Place:
    """Return the place that the settings mean."""
    return SqlitePlace(where) if isinstance(where, Path) else PostgresqlPlace(where)


class SqlitePlace:
    """A file: the new one is made beside it."""

    def __init__(self, file: Path) -> None:
        """Take the path; nothing needs to be there."""
        self._file = file
        self.kept_aside: str | None = None

    async def is_taken(self) -> bool:
        """Return whether there is a file already."""
        return self._file.exists()

    @asynccontextmanager
    async def filling(self, now: datetime, step: Step) -> AsyncIterator[AsyncConnection]:
        """Give a connection to an empty database that takes the place at the end, or never on an exception."""
        new = exchange.beside(self._file)
        exchange.remove(new)
        try:
            database = Database(new)
            try:
                async with database.writing() as connection:
                    yield connection
            finally:
                await database.close()
            aside = exchange.put_in_place(self._file, now, step)
        except BaseException:
            exchange.remove(new)
            raise
        self.kept_aside = str(aside) if aside else None


class PostgresqlPlace:
    """A database of PostgreSQL: what is there goes into a schema of its own, in the transaction that brings the new."""

    def __init__(self, url: URL) -> None:
        """Take where it is."""
        self._url = url
        self.kept_aside: str | None = None

    async def is_taken(self) -> bool:
        """Return whether there are tables of ours already. Raises DatabaseDownError."""
        async with self._writing() as connection:
            return await _is_there(connection, REVISION_TABLE)

    @asynccontextmanager
    async def filling(self, now: datetime, step: Step) -> AsyncIterator[AsyncConnection]:
        """Give a connection to an empty database that takes the place at the end, or never on an exception."""
        async with self._writing() as connection:
            await lock(connection, "migration")
            await _refuse_company(connection)
            aside = await _set_aside(connection, now) if await _is_there(connection, REVISION_TABLE) else None
            yield connection
            step()
        self.kept_aside = f'the schema "{aside}" of {self._url.database}' if aside else None

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        database = Database(self._url)
        try:
            async with database.writing() as connection:
                yield connection
        finally:
            await database.close()


async def _is_there(connection: AsyncConnection, table: str) -> bool:
    return (await connection.execute(select(func.to_regclass(table)))).scalar() is not None


async def _refuse_company(connection: AsyncConnection) -> None:
    """Refuse to work beside a server or worker: this holds wherever that runs."""
    others = text(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name = 'hsi' AND pid <> pg_backend_pid()"
    )
    if count := (await connection.execute(others)).scalar_one():
        raise BackupError(
            f"Servers or workers hold {count} connections to the database. Stop all of them, and restore again."
        )


async def _set_aside(connection: AsyncConnection, now: datetime) -> str:
    """Move every table, with its indexes and sequences, into a new schema and return its name."""
    schema = f"before_restore_{now:%Y%m%dT%H%M%S%f}"
    quote = connection.dialect.identifier_preparer.quote
    try:
        await connection.execute(CreateSchema(schema))
    except DBAPIError as error:
        raise BackupError(
            f"The old tables cannot be kept aside: {error.orig}. Give the user the right to create schemas: "
            "GRANT CREATE ON DATABASE ... TO ..."
        ) from error
    tables = text("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
    for name in (await connection.execute(tables)).scalars().all():
        await connection.execute(text(f"ALTER TABLE {quote(name)} SET SCHEMA {quote(schema)}"))
    return schema
