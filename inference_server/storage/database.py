# SPDX-License-Identifier: AGPL-3.0-or-later
"""The database, SQLite or PostgreSQL: opening, migrating, and transactions to read and to write."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, Connection, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from inference_server.storage.rows import lock

BUSY_SECONDS = 30
"""How long a write waits for another process (the command line, a backup) to finish its own."""
CONNECT_SECONDS = 10
ANSWER_SECONDS = 120
"""How long PostgreSQL may take for one statement. A host that went away in the middle says nothing, ever."""
READERS = 4
POSTGRESQL_WRITERS = 6

_TRY_AGAIN = ("08", "40", "53", "55P03", "57", "58")
"""SQLSTATE classes of PostgreSQL that pass by themselves: no connection, conflict of two transactions, no room, locked,
operator's intervention (a restart), system error."""


class DatabaseDownError(OSError):
    """The database does not answer, or not now: wait, and try again."""


STORAGE_FAILURES = (OSError, OperationalError, InterfaceError, InternalError)
"""What a full disk, a folder without permission, a locked or an absent database raise: wait, and try again.

Other errors of the database (a broken reference, a value that does not fit) stay however long one waits.
"""


def remedy_of(failure: Exception) -> str:
    """Return what an owner can do about a storage failure."""
    if isinstance(failure, DatabaseDownError):
        return "Check that PostgreSQL runs and can be reached at HSI_DATABASE_URL; it goes on by itself."
    return "Free disk space, and check that the data folder is there and writable; it goes on by itself."


class DatabaseUnusableError(Exception):
    """The database cannot be opened or brought up to date; the message says what to do."""


class Database:
    """SQLite in WAL mode with a single writer and several readers, or PostgreSQL with several of both."""

    def __init__(self, where: Path | URL) -> None:
        """Take the path of an SQLite file or a URL of either kind; nothing is opened yet."""
        self.url = URL.create("sqlite+aiosqlite", database=str(where)) if isinstance(where, Path) else where
        self.file = Path(self.url.database or "") if self.url.get_backend_name() == "sqlite" else None
        """The file of SQLite; None for PostgreSQL."""
        if self.file:
            self._reader = _sqlite(self.url, READERS, begin="BEGIN")
            self._writer = _sqlite(self.url, 1, begin="BEGIN IMMEDIATE")
        else:
            self._reader = _postgresql(self.url, READERS, isolation_level="REPEATABLE READ")
            self._writer = _postgresql(self.url, POSTGRESQL_WRITERS, isolation_level="READ COMMITTED")
        self._write_turns = asyncio.Semaphore(1 if self.file else POSTGRESQL_WRITERS)

    @property
    def name(self) -> str:
        """Where it is, for people: without the password."""
        return str(self.file) if self.file else self.url.render_as_string(hide_password=True)

    @property
    def shared(self) -> bool:
        """Whether other processes may work on it at the same time, who cannot wake anybody here."""
        return self.file is None

    async def open(self) -> None:
        """Create or migrate the tables. Raises DatabaseUnusableError, DatabaseDownError while PostgreSQL is away."""
        try:
            if self.file:
                self.file.parent.mkdir(parents=True, exist_ok=True)
            async with self._transaction(self._writer) as connection:
                await lock(connection, "migration")
                await connection.run_sync(_upgrade)
        except CommandError as error:
            raise DatabaseUnusableError(
                f"{self.name} was written by a newer version of this program ({error}). "
                "Install that version again, or restore a backup made before it."
            ) from error
        except DatabaseDownError:
            raise
        except (DBAPIError, OSError) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            raise DatabaseUnusableError(self._unusable(cause)) from error

    def _unusable(self, cause: object) -> str:
        if self.file is None:
            return f"{self.name} cannot be used as the database: {cause}. Check the user's rights and HSI_DATABASE_URL."
        return (
            f"{self.file} cannot be used as the database: {cause}. "
            "Check that the folder exists, is writable and has free space; if the file is damaged, "
            "move it away and restore a backup."
        )

    async def close(self) -> None:
        """Close all connections; what was committed stays."""
        await self._reader.dispose()
        await self._writer.dispose()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection that sees one consistent state. Raises DatabaseDownError."""
        with _translated():
            async with self._reader.connect() as connection:
                yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection whose changes are committed together at the end, or not at all on an exception.

        Raises DatabaseDownError; if that happens at the end, the changes may have been committed all the same.
        """
        async with self._write_turns, self._transaction(self._writer) as connection:
            yield connection

    @staticmethod
    @asynccontextmanager
    async def _transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        with _translated():
            async with engine.begin() as connection:
                yield connection


@contextmanager
def _translated() -> Iterator[None]:
    """Raise DatabaseDownError for what PostgreSQL's driver raises while the database is away."""
    try:
        yield
    except PoolTimeoutError as error:
        raise DatabaseDownError("every connection to the database is in use") from error
    except DBAPIError as error:
        state = str(getattr(error.orig, "sqlstate", None) or "")
        if error.connection_invalidated or state.startswith(_TRY_AGAIN):
            raise DatabaseDownError(f"the database does not answer: {error.orig}") from error
        raise
    except (ConnectionError, TimeoutError, socket.gaierror) as error:
        raise DatabaseDownError(f"the database cannot be reached: {str(error) or type(error).__name__}") from error
    except Exception as error:
        # while it connects, the driver raises its own errors, which nobody has wrapped
        if (type(error).__module__ or "").startswith("asyncpg.") and _passes(error):
            raise DatabaseDownError(f"the database does not answer: {error}") from error
        raise


def _passes(error: Exception) -> bool:
    state = str(getattr(error, "sqlstate", None) or "")
    return not state or state.startswith(_TRY_AGAIN)


def _postgresql(url: URL, connections: int, isolation_level: str) -> AsyncEngine:
    try:
        return create_async_engine(
            url,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=60,
            pool_pre_ping=True,
            isolation_level=isolation_level,
            connect_args={
                "timeout": CONNECT_SECONDS,
                "command_timeout": ANSWER_SECONDS,
                "server_settings": {"application_name": "hsi", "lock_timeout": f"{BUSY_SECONDS}s"},
            },
        )
    except ModuleNotFoundError as error:
        raise DatabaseUnusableError(
            "PostgreSQL needs the extra `postgres`, which is not installed: "
            "install it (uv tool install '.[postgres]'), or leave HSI_DATABASE_URL out to use SQLite."
        ) from error


def _sqlite(url: URL, connections: int, begin: str) -> AsyncEngine:
    engine = create_async_engine(
        url, pool_size=connections, max_overflow=0, pool_timeout=60, connect_args={"timeout": BUSY_SECONDS}
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

    # A statement that is cancelled is done all the same, on the connection's own thread; and a connection that is
    # closed while one of its cursors is still known to somebody keeps the database locked until it is forgotten.
    @event.listens_for(engine.sync_engine, "invalidate")
    def _roll_back(connection: DBAPIConnection, _record: ConnectionPoolEntry, _error: BaseException | None) -> None:
        connection.rollback()

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
