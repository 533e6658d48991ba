# SPDX-License-Identifier: AGPL-3.0-or-later
"""Restoring: in one step or not at all, never beside a running server, and fit to go on from."""

import asyncio
import os
import shutil
import signal
import sqlite3
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from inference_server.storage import announcements, tokens
from inference_server.storage.backup import counters, exchange
from inference_server.storage.backup.errors import BackupError
from inference_server.storage.backup.restore import Restoration, check
from inference_server.storage.data_folder import DataFolder, DataFolderError
from inference_server.storage.database import Database
from tests.support.backups import content_of, database_of, put_back, save
from tests.support.bench import a_person, bench
from tests.support.home import START, MovableClock
from tests.support.rows import stored

ROOT = Path(__file__).parents[4]


def _one(file: Path, query: str) -> object:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        value: object = connection.execute(query).fetchone()[0]
    return value


def _do(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(statement)


async def test_a_folder_with_a_database_is_left_alone_unless_it_is_to_be_replaced(
    data: DataFolder, backup: Path
) -> None:
    before = content_of(data.root)
    with pytest.raises(BackupError, match=r"There is a database already\. With --replace"):
        await put_back(backup, data)
    assert content_of(data.root) == {**before, ".lock": b""}


async def test_what_was_there_is_kept_aside(data: DataFolder, backup: Path) -> None:
    _do(database_of(data), "UPDATE cameras SET name = 'Newer'")
    newer = stored(database_of(data))
    (data.media / "newer.jpg").write_bytes(b"a newer picture")
    restored = await put_back(backup, data, replace=True)
    assert restored.kept_aside == str(data.root / "hsi.db.before-restore-20261123T080000Z")
    assert stored(Path(restored.kept_aside)) == newer
    assert _one(database_of(data), "SELECT name FROM cameras") == "Front door"
    assert (data.media / "newer.jpg").read_bytes() == b"a newer picture"
    again = await put_back(backup, data, replace=True)
    assert again.kept_aside == str(data.root / "hsi.db.before-restore-20261123T080000Z-2")


async def test_a_log_that_a_crashed_server_left_belongs_to_the_old_database(data: DataFolder, backup: Path) -> None:
    crash = "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit(); os._exit(0)"
    change = "UPDATE cameras SET name = 'In the log'"
    await (await asyncio.create_subprocess_exec(sys.executable, "-c", crash, database_of(data), change)).wait()
    assert database_of(data).with_name("hsi.db-wal").stat().st_size > 0
    restored = await put_back(backup, data, replace=True)
    assert restored.kept_aside
    assert _one(Path(restored.kept_aside), "SELECT name FROM cameras") == "In the log"
    assert _one(database_of(data), "SELECT name FROM cameras") == "Front door"


async def test_a_damaged_database_is_replaced_and_kept_with_its_log(data: DataFolder, backup: Path) -> None:
    database_of(data).write_bytes(b"no database" * 1000)
    database_of(data).with_name("hsi.db-wal").write_bytes(b"its log")
    restored = await put_back(backup, data, replace=True)
    assert restored.kept_aside
    assert Path(restored.kept_aside).read_bytes().startswith(b"no database")
    assert Path(f"{restored.kept_aside}-wal").read_bytes() == b"its log"
    assert _one(database_of(data), "SELECT count(*) FROM frames") == 3


async def test_a_log_without_its_database_does_not_become_part_of_the_new_one(
    data: DataFolder, backup: Path, fresh: DataFolder
) -> None:
    fresh.prepare()
    database_of(fresh).with_name("hsi.db-wal").write_bytes(b"left over")
    await put_back(backup, fresh)
    assert not database_of(fresh).with_name("hsi.db-wal").exists()
    assert (fresh.root / "hsi.db.before-restore-20261123T080000Z-wal").read_bytes() == b"left over"


async def test_where_links_cannot_be_made_the_old_database_is_copied(
    data: DataFolder, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(self: Path, target: Path) -> None:
        raise OSError(95, "Operation not supported")

    before = stored(database_of(data))
    monkeypatch.setattr(Path, "hardlink_to", no_links)
    restored = await put_back(backup, data, replace=True)
    assert restored.kept_aside
    assert stored(Path(restored.kept_aside)) == before


async def test_a_running_server_keeps_a_restore_out(data: DataFolder, backup: Path) -> None:
    before = stored(database_of(data))
    with data.lock(), pytest.raises(DataFolderError, match="Another server is using the data folder"):
        await put_back(backup, data, replace=True)
    assert stored(database_of(data)) == before


async def test_a_program_that_has_the_database_open_keeps_a_restore_out(data: DataFolder, backup: Path) -> None:
    before = content_of(data.root)
    with closing(sqlite3.connect(database_of(data))) as other:
        other.execute("SELECT count(*) FROM cameras").fetchone()
        with pytest.raises(BackupError, match=r"Another program has the database .* open. End it"):
            await put_back(backup, data, replace=True)
    assert content_of(data.root).keys() - {".lock", "hsi.db-wal", "hsi.db-shm"} == before.keys()
    await put_back(backup, data, replace=True)


async def test_a_check_changes_nothing(data: DataFolder, backup: Path, fresh: DataFolder) -> None:
    verified = await check(Restoration(backup=backup, folder=fresh, database=database_of(fresh)))
    assert verified.manifest.rows > 10
    assert not fresh.root.exists()


async def test_a_failed_restore_leaves_everything_as_it_was(
    data: DataFolder, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(file: Path) -> bool:
        raise OSError(28, "No space left on device")

    before = content_of(data.root)
    monkeypatch.setattr(exchange, "_fold", fails)
    with pytest.raises(BackupError, match=r"No space left.*Check the disks of .* what was there is as it was"):
        await put_back(backup, data, replace=True)
    after = content_of(data.root)
    assert after == {**before, ".lock": b""}


@pytest.mark.parametrize(
    ("step", "share"),
    [
        ("restored", 0),
        ("restored", 0.98),
        ("in place", 0),
        ("in place", 0.5),
        ("in place", 1),
    ],
)
async def test_a_kill_at_any_moment_leaves_the_old_or_the_new_state(
    data: DataFolder, backup: Path, step: str, share: float, tmp_path: Path
) -> None:
    _do(database_of(data), "UPDATE cameras SET name = 'Newer'")
    old, media = stored(database_of(data)), content_of(data.media)
    killed = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.killed_restore", backup, data.root, step, str(share), cwd=ROOT
    )
    assert await killed.wait() == -signal.SIGKILL
    done = (step, share) == ("in place", 1)
    assert (stored(database_of(data)) == old) is not done
    assert content_of(data.media).items() >= media.items()
    database = Database(database_of(data))
    await database.open()  # a server would start
    await database.close()
    await put_back(backup, data, replace=True)
    assert _one(database_of(data), "SELECT name FROM cameras") == "Front door"
    kept = [path for path in data.root.iterdir() if ".before-restore-" in path.name]
    assert "Newer" in [_one(path, "SELECT name FROM cameras") for path in kept]
    assert [path.name for path in data.root.iterdir() if ".restoring" in path.name] == []


async def test_every_client_gets_a_snapshot_after_a_restore(data: DataFolder, backup: Path) -> None:
    database = Database(database_of(data))
    async with database.writing() as connection:  # the story goes on after the backup, and clients hear of it
        camera = (await announcements.after(connection, 0, limit=1) or ())[0].announcement
        await announcements.add(connection, [camera] * 500)
        heard = await announcements.last_sequence(connection)
    await database.close()
    await put_back(backup, data, MovableClock(START + timedelta(days=1)), replace=True)
    restored = Database(database_of(data))
    async with restored.writing() as connection:
        await announcements.add(connection, [camera])
        last = await announcements.last_sequence(connection)
        for sequence in (1, 3, 4, heard - 1, heard, heard + 10_000, last - 2):
            assert await announcements.after(connection, sequence, limit=10) is None, sequence
        assert len(await announcements.after(connection, last - 1, limit=10) or ()) == 1
    await restored.close()


async def test_no_key_is_given_out_twice(data: DataFolder, backup: Path, tmp_path: Path) -> None:
    for _ in range(20):
        _do(
            database_of(data),
            "INSERT INTO frames (camera_id, content_hash, media_path, captured_at, arrived_at, width, height) "
            "SELECT camera_id, content_hash || id, media_path, captured_at, arrived_at, 1, 1 FROM frames LIMIT 1",
        )
        _do(database_of(data), "DELETE FROM frames WHERE width = 1")
    given_out = _one(database_of(data), "SELECT seq FROM sqlite_sequence WHERE name = 'frames'")
    assert isinstance(given_out, int)
    manifest = await save(data, tmp_path / "later.tar")
    assert {table.name: table.last_id for table in manifest.tables}["frames"] == given_out
    await put_back(tmp_path / "later.tar", data, replace=True)
    database = Database(database_of(data))
    async with database.writing() as connection:
        await tokens.create(connection, "after", tokens.Scope.READ, START)
        assert (await tokens.list_all(connection))[-1].id > counters.LEAST_LEAP
    await database.close()
    assert (
        _one(database_of(data), "SELECT seq FROM sqlite_sequence WHERE name = 'frames'")
        == given_out + counters.LEAST_LEAP
    )


def test_the_leap_covers_the_time_since_the_backup() -> None:
    assert counters.leap(START, START) == counters.LEAST_LEAP
    assert counters.leap(START, START - timedelta(days=1)) == counters.LEAST_LEAP
    assert counters.leap(START, START + timedelta(days=1)) == counters.LEAST_LEAP + 86_400 * counters.PER_SECOND


async def test_work_that_waited_goes_on_after_a_restore(tmp_path: Path) -> None:
    async with bench(tmp_path / "first") as first:
        await first.load_detector()
        await first.take(*(first.picture(a_person(), at=first.clock.now() + timedelta(seconds=n)) for n in range(3)))
        claimed = await first.broker.claim(first.detect.name, 10)
        assert len(claimed) == 3
        script = first.detector.script
        manifest = await save(DataFolder(tmp_path / "first"), tmp_path / "backup.tar", now=first.clock.now())
    assert {table.name: table.rows for table in manifest.tables}["messages"] == 3
    restored = await put_back(tmp_path / "backup.tar", DataFolder(tmp_path / "second"), MovableClock(first.clock.now()))
    assert (restored.settled.without_file, restored.settled.buried) == (0, 0)
    async with bench(tmp_path / "second") as second:
        second.detector.script = script
        await second.load_detector()
        await second.work()
        assert _one(tmp_path / "second" / "hsi.db", "SELECT count(*) FROM detections") == 3
        assert _one(tmp_path / "second" / "hsi.db", "SELECT count(*) FROM events") == 1
        assert (await second.broker.status()).dead_letters == 0


async def test_without_media_the_pictures_are_marked_and_what_waited_is_a_dead_letter(tmp_path: Path) -> None:
    async with bench(tmp_path / "first") as first:
        await first.load_detector()
        await first.take(first.picture(a_person()))
        await first.work()
        await first.take(*(first.picture(a_person()) for _ in range(2)))
        await save(DataFolder(tmp_path / "first"), tmp_path / "backup.tar", media=None)
    judged = str(_one(tmp_path / "first" / "hsi.db", "SELECT media_path FROM frames ORDER BY id LIMIT 1"))
    second = DataFolder(tmp_path / "second")
    (second.media / judged).parent.mkdir(parents=True)
    shutil.copy(tmp_path / "first" / "media" / judged, second.media / judged)
    restored = await put_back(tmp_path / "backup.tar", second)
    assert (restored.settled.without_file, restored.settled.buried) == (2, 2)
    assert _one(database_of(second), "SELECT count(*) FROM messages WHERE stage = 'detect'") == 0
    assert (
        _one(database_of(second), "SELECT count(*) FROM dead_letters WHERE reason LIKE 'The picture was not in%'") == 2
    )
    assert _one(database_of(second), "SELECT count(*) FROM frames WHERE pruned_at IS NOT NULL") == 2
    assert _one(database_of(second), "SELECT count(*) FROM detections") == 1


async def test_a_picture_that_retention_deletes_meanwhile_is_recorded_as_missing(
    data: DataFolder, tmp_path: Path, fresh: DataFolder
) -> None:
    (gone, *rest) = sorted(path for path in data.media.rglob("*") if path.is_file())
    gone.unlink()
    manifest = await save(data, tmp_path / "backup.tar")
    assert manifest.media
    assert (manifest.media.files, manifest.media.missing) == (len(rest), 1)
    assert manifest.media.examples == (gone.relative_to(data.media).as_posix(),)
    restored = await put_back(tmp_path / "backup.tar", fresh)
    assert restored.settled.without_file == 1
    assert _one(database_of(fresh), "SELECT count(*) FROM detections") == 4


async def test_a_backup_does_not_overwrite_and_needs_a_folder(data: DataFolder, backup: Path, tmp_path: Path) -> None:
    before = backup.read_bytes()
    with pytest.raises(BackupError, match=r"exists already.*--force"):
        await save(data, backup)
    with pytest.raises(BackupError, match=r"There is no folder .*Make it"):
        await save(data, tmp_path / "nowhere" / "backup.tar")
    assert backup.read_bytes() == before
    await save(data, backup, overwrite=True, now=START + timedelta(hours=1))
    assert backup.read_bytes() != before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


async def test_a_backup_that_does_not_fit_is_not_begun(data: DataFolder, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match=r"needs .* MB, but only .* are free.*of which 100% of the disk stay free"):
        await save(data, tmp_path / "backup.tar", keep_free=1.0)
    assert not (tmp_path / "backup.tar").exists()


async def test_a_folder_without_our_tables_is_told_so(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    _do(database_of(folder), "CREATE TABLE other (id INTEGER)")
    with pytest.raises(BackupError, match="Start the server once"):
        await save(folder, tmp_path / "backup.tar")


async def test_a_damaged_database_is_told_so(data: DataFolder, tmp_path: Path) -> None:
    with database_of(data).open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(database_of(data).stat().st_size - 4096))
    with pytest.raises(BackupError, match=r"cannot be read: .*restore the last good backup"):
        await save(data, tmp_path / "backup.tar")
    assert [path.name for path in tmp_path.iterdir() if "backup" in path.name] == []


async def test_a_media_file_that_is_a_link_is_not_followed(data: DataFolder, tmp_path: Path) -> None:
    (first, *_) = sorted(path for path in data.media.rglob("*") if path.is_file())
    first.unlink()
    first.symlink_to("/etc/passwd")
    manifest = await save(data, tmp_path / "backup.tar")
    assert manifest.media
    assert manifest.media.missing == 1
    assert b"root:" not in (tmp_path / "backup.tar").read_bytes()


async def test_a_disk_that_fills_up_meanwhile_is_told_and_nothing_stays(
    data: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BackupError, match=r"cannot be written: .*No space left.*Check the disks of"):
        await save(data, tmp_path / "backup.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


async def test_a_database_that_cannot_be_filled_is_told(
    data: DataFolder, backup: Path, fresh: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))

    monkeypatch.setattr("inference_server.storage.backup.restore.load_table", full)
    with pytest.raises(BackupError, match=r"cannot be restored now: database or disk is full"):
        await put_back(backup, fresh)
    assert [path.name for path in fresh.root.iterdir()] == [".lock"]
