# SPDX-License-Identifier: AGPL-3.0-or-later
"""The database: opening, migrating, and transactions to read and to write."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, Connection, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

BUSY_SECONDS = 30
"""How long a write waits for another process (the command line, a backup) to finish its own."""
READERS = 4
STORAGE_FAILURES = (OSError, OperationalError, InterfaceError, InternalError)
"""What a full disk, a folder without permission or a locked database raise: wait, and try again.

Other errors of the database (a broken reference, a value that does not fit) stay however long one waits.
"""


class DatabaseUnusableError(Exception):
    """The database cannot be opened or brought up to date; the message says what to do."""


class Database:
    """One SQLite file in WAL mode, with a single writer and several readers."""

    def __init__(self, file: Path) -> None:
        """Take the file's path; nothing is opened yet."""
        self.file = file
        self._reader = _engine(file, READERS, begin="BEGIN")
        self._writer = _engine(file, 1, begin="BEGIN IMMEDIATE")
        self._write_turn = asyncio.Lock()

    async def open(self) -> None:
        """Create or migrate the tables. Raises DatabaseUnusableError."""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            async with self._writer.connect() as connection:
                await connection.run_sync(_upgrade)
                await connection.commit()
        except CommandError as error:
            raise DatabaseUnusableError(
                f"{self.file} was written by a newer version of this program ({error}). "
                "Install that version again, or restore a backup made before it."
            ) from error
        except (DBAPIError, OSError) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            raise DatabaseUnusableError(
                f"{self.file} cannot be used as the database: {cause}. "
                "Check that the folder exists, is writable and has free space; if the file is damaged, "
                "move it away and restore a backup."
            ) from error

    async def close(self) -> None:
        """Close all connections; what was committed stays."""
        await self._reader.dispose()
        await self._writer.dispose()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection that sees one consistent state."""
        async with self._reader.connect() as connection:
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection whose changes are committed together at the end, or not at all on an exception."""
        async with self._write_turn, self._writer.begin() as connection:
            yield connection


def _engine(file: Path, connections: int, begin: str) -> AsyncEngine:
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(file)),
        pool_size=connections,
        max_overflow=0,
        pool_timeout=60,
        connect_args={"timeout": BUSY_SECONDS},
    )

    # pysqlite begins transactions on its own terms; these two listeners hand that to SQLAlchemy
    # (docs.sqlalchemy.org, SQLite dialect, "Serializable isolation / Savepoints / Transactional DDL").
    @event.listens_for(engine.sync_engine, "connect")
    def _configure(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        # the aiosqlite adapter exposes pysqlite's attribute, which the DBAPI protocol does not name
        adapter: Any = connection
        adapter.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def migration_config() -> Config:
    """Return Alembic's configuration for the migrations of this package."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    return config


def _upgrade(connection: Connection) -> None:
    config = migration_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
