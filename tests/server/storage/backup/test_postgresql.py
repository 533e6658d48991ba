# SPDX-License-Identifier: AGPL-3.0-or-later
"""From SQLite into PostgreSQL and back; one transaction there takes the place of the exchange of files."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from sqlalchemy import URL, func, select, text

from inference_server.storage import tokens
from inference_server.storage.backup import counters
from inference_server.storage.backup.errors import BackupError
from inference_server.storage.data_folder import DataFolder
from inference_server.storage.database import Database
from inference_server.storage.tables import cameras, frames
from tests.support.backups import content_of, database_of, members, put_back, save
from tests.support.home import START, MovableClock
from tests.support.rows import FEW, Rows, all_tables, insert
from tests.support.services import PostgreSql

NOT_AS_BEFORE = {"announcements", "announcement_sequence", "workers"}


@pytest.fixture
def empty(postgresql: PostgreSql) -> URL:
    """Give an empty database of PostgreSQL."""
    return postgresql.database()


def _tables(backup: Path) -> dict[str, bytes]:
    return {
        name: gzip.decompress(content)
        for name, content in members(backup).items()
        if name.endswith(".gz") and not any(f"/{table}.jsonl" in name for table in NOT_AS_BEFORE)
    }


async def test_sqlite_goes_into_postgresql_and_back(
    data: DataFolder, backup: Path, tmp_path: Path, empty: URL, fresh: DataFolder
) -> None:
    there = DataFolder(tmp_path / "there")
    restored = await put_back(backup, there, where=empty)
    assert (restored.settled.without_file, restored.kept_aside) == (0, None)
    assert content_of(there.media) == content_of(data.media)
    manifest = await save(there, tmp_path / "there.tar", where=empty)
    assert _tables(tmp_path / "there.tar") == _tables(backup)
    last_ids = {table.name: table.last_id for table in manifest.tables}
    assert (last_ids["frames"] or 0) > counters.LEAST_LEAP
    await put_back(tmp_path / "there.tar", fresh, where=None)
    await save(fresh, tmp_path / "back.tar")
    assert _tables(tmp_path / "back.tar") == _tables(backup)
    database = Database(database_of(fresh))
    async with database.writing() as connection:
        await tokens.create(connection, "after", tokens.Scope.READ, START)
        assert (await tokens.list_all(connection))[-1].id > 2 * counters.LEAST_LEAP
    await database.close()


@given(rows=all_tables())
@settings(FEW, max_examples=4)
async def test_random_rows_survive_postgresql(
    tmp_path_factory: pytest.TempPathFactory, postgresql: PostgreSql, rows: Rows
) -> None:
    root = tmp_path_factory.mktemp("random")
    first, there = DataFolder(root), postgresql.database()
    database = Database(database_of(first))
    await database.open()
    async with database.writing() as connection:
        await insert(connection, rows)
    await database.close()
    await save(first, root / "1.tar", media=None)
    # what a restore changes is the same wherever it happens: both paths restore twice
    await put_back(root / "1.tar", DataFolder(root / "a"), where=there)
    await save(DataFolder(root / "a"), root / "2.tar", where=there, media=None)
    await put_back(root / "2.tar", DataFolder(root / "b"))
    await save(DataFolder(root / "b"), root / "3.tar", media=None)
    await put_back(root / "1.tar", DataFolder(root / "c"))
    await save(DataFolder(root / "c"), root / "4.tar", media=None)
    assert _tables(root / "3.tar") == _tables(root / "2.tar") == _tables(root / "4.tar")


async def test_ids_go_on_above_all_that_were_given_out(backup: Path, tmp_path: Path, empty: URL) -> None:
    await put_back(backup, DataFolder(tmp_path / "there"), where=empty)
    database = Database(empty)
    async with database.writing() as connection:
        await tokens.create(connection, "after", tokens.Scope.READ, START)
        assert (await tokens.list_all(connection))[-1].id > counters.LEAST_LEAP
    await database.close()


async def test_what_was_there_is_kept_in_a_schema_of_its_own(backup: Path, tmp_path: Path, empty: URL) -> None:
    there = DataFolder(tmp_path / "there")
    await put_back(backup, there, where=empty)
    database = Database(empty)
    async with database.writing() as connection:
        await connection.execute(cameras.update().values(name="Newer"))
    await database.close()
    with pytest.raises(BackupError, match=r"There is a database already\. With --replace"):
        await put_back(backup, there, where=empty)
    restored = await put_back(backup, there, where=empty, replace=True)
    assert restored.kept_aside == f'the schema "before_restore_20261123T080000000000" of {empty.database}'
    async with database.reading() as connection:
        assert (await connection.execute(select(cameras.c.name))).scalar_one() == "Front door"
        aside = text('SELECT name FROM "before_restore_20261123T080000000000".cameras')
        assert (await connection.execute(aside)).scalar_one() == "Newer"
    await database.open()  # a server would start
    await database.close()


async def test_a_server_that_is_connected_keeps_a_restore_out(backup: Path, tmp_path: Path, empty: URL) -> None:
    there = DataFolder(tmp_path / "there")
    await put_back(backup, there, where=empty)
    server = Database(empty)
    async with server.reading() as connection:
        before = (await connection.execute(select(func.count()).select_from(frames))).scalar_one()
    with pytest.raises(BackupError, match="Stop all of them"):
        await put_back(backup, there, where=empty, replace=True)
    async with server.reading() as connection:
        assert (await connection.execute(select(func.count()).select_from(frames))).scalar_one() == before
    await server.close()
    await put_back(backup, there, MovableClock(), where=empty, replace=True)


async def test_a_restore_that_fails_leaves_postgresql_as_it_was(
    backup: Path, tmp_path: Path, empty: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = DataFolder(tmp_path / "there")
    await put_back(backup, there, where=empty)
    await save(there, tmp_path / "before.tar", where=empty)

    async def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("inference_server.storage.backup.restore.load_table", fails)
    with pytest.raises(BackupError, match=r"No space left.*what was there is as it was"):
        await put_back(backup, there, where=empty, replace=True)
    await save(there, tmp_path / "after.tar", where=empty)
    assert _tables(tmp_path / "after.tar") == _tables(tmp_path / "before.tar")


async def test_a_character_that_postgresql_does_not_hold_stops_no_restore(
    data: DataFolder, tmp_path: Path, empty: URL
) -> None:
    database = Database(database_of(data))
    async with database.writing() as connection:
        await connection.execute(cameras.update().values(name="a\0b"))
    await database.close()
    await save(data, tmp_path / "backup.tar")
    await put_back(tmp_path / "backup.tar", DataFolder(tmp_path / "there"), where=empty)
    restored = Database(empty)
    async with restored.reading() as connection:
        assert (await connection.execute(select(cameras.c.name))).scalar_one() == "a\ufffdb"
    await restored.close()
