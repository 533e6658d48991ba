# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every row of the database, as of one moment, in temporary files: quickly, as a long transaction is in the way.

The tables are taken as they are in the database, so none can be forgotten, and an older schema is dumped as it is.
"""

import asyncio
import gzip
import json
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Table, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.storage.backup import counters, values
from inference_server.storage.backup.archive import READ_SIZE
from inference_server.storage.backup.errors import BackupError
from inference_server.storage.backup.progress import Progress
from inference_server.storage.database import Database

ROWS_AT_ONCE = 1000
LONGEST_ROW = 16 << 20
"""Bytes of JSON; no row comes near it."""


@dataclass(frozen=True, slots=True)
class DumpedTable:
    """One table's rows, compressed."""

    name: str
    rows: int
    json_bytes: int
    last_id: int | None
    file: IO[bytes]

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return os.fstat(self.file.fileno()).st_size

    def chunks(self) -> Iterator[bytes]:
        """Yield the file's content."""
        self.file.seek(0)
        while chunk := self.file.read(READ_SIZE):
            yield chunk


@dataclass(frozen=True, slots=True)
class Dump:
    """The database as of one moment. `media` holds, one JSON text a line, the path of every media file in use then."""

    revision: str
    server_id: str | None
    tables: Sequence[DumpedTable]
    media: IO[bytes]

    def media_paths(self) -> Iterator[str]:
        """Yield the path of every media file that was in use, below the media folder."""
        self.media.seek(0)
        yield from map(json.loads, self.media)


@asynccontextmanager
async def dumped(database: Database, folder: Path, progress: Progress) -> AsyncIterator[Dump]:
    """Give a dump whose files lie, without names, in a folder as private as the database. Raises BackupError."""
    async with AsyncExitStack() as stack:

        def temporary() -> IO[bytes]:
            return stack.enter_context(tempfile.TemporaryFile(dir=folder))

        try:
            async with database.reading() as connection:
                made = await _dump(connection, temporary, progress)
        except DBAPIError as error:
            raise BackupError(
                f"The database cannot be read: {error.orig}. If it is damaged, restore the last good backup."
            ) from error
        yield made


async def _dump(connection: AsyncConnection, temporary: Callable[[], IO[bytes]], progress: Progress) -> Dump:
    found = await connection.run_sync(values.reflected)
    if "identity" not in found.tables:
        raise BackupError("The database holds no tables of this program. Start the server once, or check HSI_DATA_DIR.")
    revision = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar_one()
    server_id = (await connection.execute(text("SELECT server_id FROM identity"))).scalar()
    media = temporary()
    writers = [_TableWriter(table, temporary(), media) for table in found.sorted_tables]
    done = 0
    for writer in writers:
        result = await connection.stream(values.rows_of(writer.table), execution_options={"yield_per": ROWS_AT_ONCE})
        async for rows in result.partitions():
            await asyncio.to_thread(writer.write, rows)
            done += len(rows)
            progress("rows read", done, done)
    last_ids = await counters.read(connection, found.tables)
    tables = [await asyncio.to_thread(writer.finish, last_ids.get(writer.table.name)) for writer in writers]
    media.flush()
    return Dump(revision, server_id, tables, media)


class _TableWriter:
    """Compresses one table's rows, and notes the media files they name."""

    def __init__(self, table: Table, file: IO[bytes], media: IO[bytes]) -> None:
        self.table = table
        self.rows = 0
        self._bytes = 0
        self._file = file
        self._compressed = gzip.GzipFile(fileobj=file, mode="wb", mtime=0, filename="")
        self._media = media
        self._plain = values.encoder(table)

    def write(self, rows: Sequence[Any]) -> None:
        for row in rows:
            plain = self._plain(row)
            line = json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
            if len(line) > LONGEST_ROW:
                raise BackupError(f"A row of {self.table.name} is longer than {LONGEST_ROW} bytes. Report this.")
            self._compressed.write(line)
            self._bytes += len(line)
            self.rows += 1
            if plain.get("media_path") is not None and plain.get("pruned_at") is None:
                self._media.write(json.dumps(plain["media_path"]).encode() + b"\n")

    def finish(self, last_id: int | None) -> DumpedTable:
        self._compressed.close()
        self._file.flush()
        return DumpedTable(self.table.name, self.rows, self._bytes, last_id, self._file)
