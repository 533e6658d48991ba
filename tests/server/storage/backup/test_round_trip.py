# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whatever rows there are, in whatever tables: what is restored is what was saved."""

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from hypothesis import given, settings
from sqlalchemy import Connection

from inference_server.storage.backup import load
from inference_server.storage.backup.progress import silent
from inference_server.storage.backup.verify import reading, verify
from inference_server.storage.data_folder import DataFolder
from inference_server.storage.database import Database
from inference_server.storage.tables import metadata
from tests.support.backups import content_of, database_of, put_back, save
from tests.support.rows import FEW, Rows, all_tables, insert, stored

CHANGED = {"announcements", "announcement_sequence", "workers", "messages", "chores", "frames", "clips", "dead_letters"}
"""Tables in which a restore changes what belonged to a process, a client or a missing file."""


async def _database(folder: Path, rows: Rows) -> DataFolder:
    data = DataFolder(folder)
    data.prepare()
    database = Database(database_of(data))
    await database.open()
    async with database.writing() as connection:
        await insert(connection, rows)
    await database.close()
    return data


@given(all_tables())
@settings(FEW, max_examples=6)
async def test_random_rows_of_every_table_come_back_exactly(rows: Rows) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = await _database(Path(folder, "data"), rows)
        backup = Path(folder, "backup.tar")
        manifest = await save(data, backup)
        assert {table.name: table.rows for table in manifest.tables} == {name: len(rows[name]) for name in rows}
        other = Database(Path(folder, "other.db"))
        async with other.writing() as connection:
            made = await load.make_schema(connection, manifest)
            with reading(backup, None, silent, "restored") as archive:
                contents = {content.member: content for content in manifest.tables}
                for member in archive.members():
                    if content := contents.get(member):
                        await load.load_table(connection, archive, made.tables[content.name], content)
        await other.close()
        assert stored(Path(folder, "other.db")) == stored(database_of(data))


@given(all_tables(most=1))
@settings(FEW, max_examples=1)
async def test_no_table_is_left_out_of_a_restore(rows: Rows) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = await _database(Path(folder, "data"), rows)
        await save(data, Path(folder, "backup.tar"))
        fresh = DataFolder(Path(folder, "fresh"))
        await put_back(Path(folder, "backup.tar"), fresh)
        before, after = stored(database_of(data)), stored(database_of(fresh))
        assert before.keys() == after.keys() == {*metadata.tables, "alembic_version"}
        assert all(after[name] == before[name] for name in before.keys() - CHANGED)
        assert all(
            len(after[name]) == len(before[name]) for name in CHANGED & before.keys() - {"announcements", "workers"}
        )


async def test_pictures_and_rows_of_a_home_come_back(data: DataFolder, backup: Path, fresh: DataFolder) -> None:
    restored = await put_back(backup, fresh)
    assert content_of(fresh.media) == content_of(data.media)
    before, after = stored(database_of(data)), stored(database_of(fresh))
    changed = CHANGED - {"frames", "clips", "dead_letters", "messages"}
    assert {name: after[name] for name in before.keys() - changed} == {
        name: before[name] for name in before.keys() - changed
    }
    assert (restored.settled.without_file, restored.settled.buried, restored.kept_aside) == (0, 0, None)


async def test_an_older_schema_is_restored_and_then_migrated(tmp_path: Path) -> None:
    old = DataFolder(tmp_path / "old")
    old.prepare()
    database = Database(database_of(old))
    async with database.writing() as connection:

        def first(synchronous: Connection) -> None:
            load.migrate(synchronous, "0001")

        await connection.run_sync(first)
    await database.close()
    at = "2026-11-20 08:00:00.000000"
    picture = old.media / "yard" / "ab" / "abcd.jpg"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"a picture")
    with closing(sqlite3.connect(database_of(old))) as plain, plain:
        plain.execute("INSERT INTO identity VALUES (?, ?)", ("0123456789abcdef" * 2, at))
        plain.execute("INSERT INTO cameras (id, name, created_at, last_frame_id) VALUES ('yard', 'Yard', ?, 7)", (at,))
        plain.execute(
            "INSERT INTO frames (id, camera_id, content_hash, media_path, captured_at, arrived_at, width, height) "
            "VALUES (7, 'yard', 'abcd', 'yard/ab/abcd.jpg', ?, ?, 64, 48)",
            (at, at),
        )
        plain.execute("INSERT INTO announcements (sequence, body) VALUES (41, '{}')")
    manifest = await save(old, tmp_path / "backup.tar")
    assert (manifest.revision, manifest.media and manifest.media.files) == ("0001", 1)
    assert stored(database_of(old))["alembic_version"] == [("0001",)]  # saving changes nothing

    fresh = DataFolder(tmp_path / "fresh")
    await put_back(tmp_path / "backup.tar", fresh)
    straight = Database(database_of(old))
    await straight.open()
    await straight.close()
    migrated, restored = stored(database_of(old)), stored(database_of(fresh))
    different = {name for name in migrated if migrated[name] != restored[name]}
    assert different == {"announcements", "announcement_sequence"}
    assert restored["announcement_sequence"][0][1] > migrated["announcement_sequence"][0][1] == 41
    assert content_of(fresh.media) == {"yard/ab/abcd.jpg": b"a picture"}


async def test_what_a_backup_holds_is_told(data: DataFolder, backup: Path) -> None:
    verified = verify(backup)
    tables = {table.name: table.rows for table in verified.manifest.tables}
    assert (tables["frames"], tables["events"], tables["cameras"], tables["tokens"]) == (3, 2, 1, 1)
    media = verified.manifest.media
    assert media
    assert (media.files, media.missing, media.total_bytes) == (3, 0, sum(map(len, content_of(data.media).values())))
    assert verified.size == backup.stat().st_size
    assert backup.stat().st_mode & 0o777 == 0o600
