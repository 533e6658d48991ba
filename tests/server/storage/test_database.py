# SPDX-License-Identifier: AGPL-3.0-or-later
"""Opening, migrating, and transactions."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import IntegrityError

from inference_server.storage import database as database_module
from inference_server.storage.database import Database, DatabaseDownError, DatabaseUnusableError
from inference_server.storage.tables import metadata, tokens
from tests.support.home import START, Home
from tests.support.privileges import public_folder, unprivileged
from tests.support.services import PostgreSql


def _differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), metadata))


async def _tokens(home: Home) -> int:
    async with home.database.reading() as connection:
        return (await connection.execute(select(func.count()).select_from(tokens))).scalar_one()


async def test_the_migrations_make_exactly_the_tables(a_home: Home) -> None:
    async with a_home.database.reading() as connection:
        assert await connection.run_sync(_differences) == []


async def test_the_migrations_make_the_partial_index_of_open_events(sqlite_home: Home) -> None:
    query = text("SELECT sql FROM sqlite_master WHERE name = 'uq_events_open_camera_id'")
    async with sqlite_home.database.reading() as connection:
        made = str((await connection.execute(query)).scalar_one())
    assert "UNIQUE" in made
    assert "ended_at IS NULL" in made


@pytest.mark.parametrize("name", ["q?x", "a#b", "50%25", "a b", "c:@d"])
async def test_the_file_lies_in_its_folder_whatever_that_is_called(tmp_path: Path, name: str) -> None:
    database = Database(tmp_path / name / "hsi.db")
    await database.open()
    await database.close()
    assert (tmp_path / name / "hsi.db").is_file()
    assert list(tmp_path.iterdir()) == [tmp_path / name]


async def test_opening_again_keeps_what_is_there(sqlite_home: Home) -> None:
    await sqlite_home.camera()
    await sqlite_home.database.close()
    again = Database(sqlite_home.file)
    await again.open()
    async with again.reading() as connection:
        assert (await connection.execute(text("SELECT id FROM cameras"))).scalars().all() == ["front_door"]
    await again.close()


async def test_a_database_of_a_newer_version_is_refused_and_left_as_it_is(sqlite_home: Home) -> None:
    await sqlite_home.camera()
    await sqlite_home.database.close()
    file = sqlite_home.file
    with sqlite3.connect(file) as plain:
        plain.execute("UPDATE alembic_version SET version_num = '9999'")
    plain.close()
    before = file.read_bytes()
    newer = Database(file)
    with pytest.raises(DatabaseUnusableError, match=r"newer version.*Install that version again, or restore a backup"):
        await newer.open()
    await newer.close()
    assert file.read_bytes() == before


async def test_a_file_that_is_no_database_is_refused_with_a_remedy(tmp_path: Path) -> None:
    file = tmp_path / "hsi.db"
    file.write_bytes(b"this is not a database" * 100)
    database = Database(file)
    with pytest.raises(DatabaseUnusableError, match=r"not a database.*restore a backup"):
        await database.open()
    await database.close()
    assert file.read_bytes() == b"this is not a database" * 100


async def test_a_folder_that_cannot_be_made_is_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    database = Database(tmp_path / "file" / "hsi.db")
    with pytest.raises(DatabaseUnusableError, match="Check that the folder exists, is writable"):
        await database.open()


async def test_a_folder_without_the_right_to_write_is_refused_with_a_remedy() -> None:
    with public_folder() as folder:
        folder.chmod(0o555)
        database = Database(folder / "hsi.db")
        with unprivileged(), pytest.raises(DatabaseUnusableError, match="Check that the folder exists, is writable"):
            await database.open()
        await database.close()


async def test_an_exception_rolls_the_whole_transaction_back(a_home: Home) -> None:
    async def fail_halfway() -> None:
        async with a_home.database.writing() as connection:
            await connection.execute(
                tokens.insert().values(name="a", digest="b", scope="read", created_at=a_home.clock.now())
            )
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        await fail_halfway()
    assert await _tokens(a_home) == 0


async def test_a_cancelled_transaction_is_rolled_back_and_leaves_the_writer_usable(a_home: Home) -> None:
    halfway = asyncio.Event()

    async def never_ends() -> None:
        async with a_home.database.writing() as connection:
            await connection.execute(
                tokens.insert().values(name="a", digest="b", scope="read", created_at=a_home.clock.now())
            )
            halfway.set()
            await asyncio.Event().wait()

    writing = asyncio.create_task(never_ends())
    await halfway.wait()
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    assert await _tokens(a_home) == 0
    await a_home.token()
    assert await _tokens(a_home) == 1


async def test_a_reader_sees_one_state_while_a_writer_commits(a_home: Home) -> None:
    async with a_home.database.reading() as reader:
        count = select(func.count()).select_from(tokens)
        assert (await reader.execute(count)).scalar_one() == 0
        await a_home.token()
        assert (await reader.execute(count)).scalar_one() == 0
    assert await _tokens(a_home) == 1


async def test_writers_take_turns(a_home: Home) -> None:
    await asyncio.gather(*(a_home.token() for _ in range(20)))
    assert await _tokens(a_home) == 20


async def test_references_are_held(a_home: Home) -> None:
    query = text("INSERT INTO detections (frame_id, ordinal, label, confidence, x, y, width, height)"
                 " VALUES (99, 0, 'person', 0.9, 0, 0, 1, 1)")  # fmt: skip
    with pytest.raises(IntegrityError):
        async with a_home.database.writing() as connection:
            await connection.execute(query)


async def test_a_time_without_a_zone_is_not_stored(a_home: Home) -> None:
    with pytest.raises(Exception, match="no time zone"):
        async with a_home.database.writing() as connection:
            await connection.execute(
                tokens.insert().values(name="a", digest="b", scope="read", created_at=START.replace(tzinfo=None))
            )


async def test_a_statement_that_gets_no_answer_is_given_up(
    postgresql: PostgreSql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "ANSWER_SECONDS", 0.5)
    database = Database(postgresql.migrated_database())
    try:
        with pytest.raises(DatabaseDownError, match="cannot be reached: TimeoutError"):
            async with database.writing() as connection:
                await connection.execute(text("SELECT pg_sleep(30)"))
        async with database.reading() as connection:
            assert (await connection.execute(text("SELECT 1"))).scalar() == 1
    finally:
        await database.close()
