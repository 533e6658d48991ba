# SPDX-License-Identifier: AGPL-3.0-or-later
"""The database and Redis: reachable, of which version, and up to date."""

import importlib.util
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from inference_server.core.diagnosis import Finding, ok, problem, warning
from inference_server.settings import Settings
from inference_server.storage.database import Database, DatabaseDownError, DatabaseUnusableError, migration_config

SQLITE_SECONDS = 3.0
REDIS_SECONDS = 5.0
_REVISION = "SELECT version_num FROM alembic_version"
_TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table'"


def sqlite(file: Path) -> Iterator[Finding]:
    """Look at a file of SQLite. It is opened read-only, so that nothing is made beside it."""
    if not file.exists():
        yield ok("database", f"{file} is made at the first start")
        return
    # Without a log nobody has it open, and it can be read as it is: SQLite would make a log and a lock to do it.
    how = "mode=ro" if file.with_name(f"{file.name}-wal").exists() else "immutable=1"
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?{how}", uri=True, timeout=SQLITE_SECONDS)) as opened:
            tables = {str(name) for (name,) in opened.execute(_TABLES)}
            revision = opened.execute(_REVISION).fetchone() if "alembic_version" in tables else None
    except sqlite3.Error as error:
        yield problem(
            "database",
            f"{file} cannot be read: {error}",
            "Check that it is a database of hsi and readable; if it is damaged, move it away and restore a backup.",
        )
        return
    if tables and "alembic_version" not in tables:
        remedy = "Move it away, or choose another data folder with HSI_DATA_DIR."
        yield problem("database", f"{file} is a database of another program", remedy)
        return
    yield _migrated(f"{file}, SQLite {sqlite3.sqlite_version}", str(revision[0]) if revision else None)


async def postgresql(settings: Settings) -> Iterator[Finding]:
    """Look at PostgreSQL, in a transaction that only reads."""
    try:
        database = Database(settings.database)
    except DatabaseUnusableError as error:
        return iter((problem("database", str(error), "Install the extra, or use SQLite."),))
    try:
        async with database.reading() as connection:
            version = (await connection.execute(text("SHOW server_version"))).scalar()
            exists = (await connection.execute(text("SELECT to_regclass('alembic_version') IS NOT NULL"))).scalar()
            revision = (await connection.execute(text(_REVISION))).scalar() if exists else None
    except (DatabaseDownError, SQLAlchemyError, OSError) as error:
        return iter(
            (
                problem(
                    "database",
                    f"{database.name} cannot be used: {getattr(error, 'orig', None) or error}",
                    "Check that PostgreSQL runs and can be reached at HSI_DATABASE_URL, its user and its password.",
                ),
            )
        )
    finally:
        await database.close()
    return iter((_migrated(f"{database.name}, PostgreSQL {version}", revision),))


def _migrated(name: str, revision: str | None) -> Finding:
    script = ScriptDirectory.from_config(migration_config())
    head = script.get_current_head()
    if revision == head:
        return ok("database", f"{name}, up to date")
    if revision is None:
        return ok("database", f"{name}, empty: its tables are made at the next start")
    if revision in {known.revision for known in script.walk_revisions()}:
        return ok("database", f"{name}, of an older version: it is brought up to date at the next start")
    return problem(
        "database",
        f"{name} was written by a newer version of this program",
        "Install that version again, or restore a backup made before it.",
    )


async def redis(settings: Settings) -> Iterator[Finding]:
    """Look at Redis, where the settings name one."""
    if settings.redis_url is None or importlib.util.find_spec("redis") is None:
        return iter(())  # what is missing is told with the extras
    import redis.asyncio as client_library  # noqa: PLC0415 - an extra
    from redis.exceptions import RedisError  # noqa: PLC0415

    url = settings.redis_url.get_secret_value()
    where = make_url(url).host or "its socket"
    client = client_library.from_url(url, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS)
    try:
        told = await client.info("server")
    except (RedisError, OSError) as error:
        reason = str(error).replace(url, "HSI_REDIS_URL")
        return iter(
            (problem("redis", f"Redis at {where} does not answer: {reason}", "Start it, or correct HSI_REDIS_URL."),)
        )
    finally:
        await client.aclose()
    version = str(told.get("redis_version", "unknown"))
    if version.split(".", maxsplit=1)[0].isdecimal() and int(version.split(".", maxsplit=1)[0]) < 7:
        return iter((warning("redis", f"Redis {version} at {where}", "Use Redis 7 or newer, or Valkey."),))
    return iter((ok("redis", f"Redis {version} at {where}"),))
