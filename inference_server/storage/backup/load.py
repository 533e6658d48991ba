# SPDX-License-Identifier: AGPL-3.0-or-later
"""Filling an empty database with the rows of a backup: in the backup's own schema first, which is then migrated up."""

import asyncio
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from typing import Any, override

from alembic import command
from sqlalchemy import Connection, MetaData, Table
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.storage.backup import values
from inference_server.storage.backup.archive import READ_SIZE, ArchiveReader
from inference_server.storage.backup.dump import LONGEST_ROW
from inference_server.storage.backup.errors import untrusted
from inference_server.storage.backup.manifest import Manifest, TableContent
from inference_server.storage.database import STORAGE_FAILURES, migration_config

ROWS_AT_ONCE = 500


def migrate(connection: Connection, revision: str) -> None:
    """Bring the tables to a revision, within the transaction of the connection."""
    config = migration_config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


async def make_schema(connection: AsyncConnection, manifest: Manifest) -> MetaData:
    """Make the tables of a backup's revision and return them, empty. Raises BackupError when its tables are others."""
    await connection.run_sync(migrate, manifest.revision)
    made = await connection.run_sync(values.reflected)
    for table in reversed(made.sorted_tables):  # a migration may have added rows, which the backup holds too
        await connection.execute(table.delete())
    if made.tables.keys() != {table.name for table in manifest.tables}:
        odd = sorted(made.tables.keys() ^ {table.name for table in manifest.tables})
        raise untrusted(f"it does not hold exactly the tables of revision {manifest.revision}: {', '.join(odd)[:200]}")
    return made


async def load_table(connection: AsyncConnection, archive: ArchiveReader, table: Table, content: TableContent) -> None:
    """Add the rows of the archive's current member. Raises BackupError."""
    statement = values.insertion(table, connection.dialect.name)
    rows = _Rows(archive, content, values.decoder(table, connection.dialect.name))
    try:
        while batch := await asyncio.to_thread(rows.next):
            await connection.execute(statement, batch)
    except STORAGE_FAILURES:
        raise
    except (DBAPIError, ValueError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise untrusted(f"rows of its table {table.name} are wrong, before row {rows.count + 1}: {cause}") from error


class _Rows:
    """Reads rows from a member of an archive, never more of them or longer ones than its manifest tells."""

    def __init__(
        self, archive: ArchiveReader, content: TableContent, parameters: Callable[[object], dict[str, Any]]
    ) -> None:
        self.count = 0
        self._content = content
        self._bytes = 0
        self._lines = gzip.GzipFile(fileobj=io.BufferedReader(_MemberFile(archive)))
        self._parameters = parameters

    def next(self) -> list[dict[str, Any]]:
        """Return the next rows, none at the end. Raises ValueError, BackupError."""
        return [self._parameters(row) for row in self._parsed()]

    def _parsed(self) -> Iterator[object]:
        for _ in range(ROWS_AT_ONCE):
            line = self._line()
            if not line:
                if (self.count, self._bytes) != (self._content.rows, self._content.json_bytes):
                    raise ValueError(f"there are not {self._content.rows} of them")
                return
            self.count += 1
            self._bytes += len(line)
            try:
                yield json.loads(line)
            except RecursionError as error:
                raise ValueError("it is nested too deeply") from error

    def _line(self) -> bytes:
        left = min(LONGEST_ROW, self._content.json_bytes - self._bytes) + 1
        try:
            line = self._lines.readline(left)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError("they cannot be decompressed") from error
        if len(line) == left:
            raise ValueError("there are more of them than its manifest tells")
        return line


class _MemberFile(io.RawIOBase):
    """The current member of an archive as a file."""

    def __init__(self, archive: ArchiveReader) -> None:
        super().__init__()
        self._archive = archive

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Any, /) -> int:
        chunk = self._archive.read(min(len(buffer), READ_SIZE))
        buffer[: len(chunk)] = chunk
        return len(chunk)
