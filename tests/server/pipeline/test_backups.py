# SPDX-License-Identifier: AGPL-3.0-or-later
"""Backups that the server makes: asked for or daily, one at a time, also while pictures pour in."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from inference_server.core.backup import BackupBusyError, BackupKind, DiskNearlyFullError
from inference_server.observability.health import ComponentHealth, HealthState
from inference_server.pipeline import backups as module
from inference_server.pipeline.backups import Backups
from inference_server.settings import BackupSettings
from inference_server.storage.backup import encryption
from inference_server.storage.backup.verify import verify
from inference_server.storage.data_folder import DataFolder
from inference_server.storage.tables import clips, events, frames, messages
from tests.support.backups import PASSPHRASE, filled, put_back
from tests.support.bench import Bench, a_person, bench
from tests.support.home import Home, home


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encryption, "_COST", 1 << 4)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)


@pytest.fixture
async def sqlite_home(tmp_path: Path) -> AsyncIterator[Home]:
    """Give a home with a picture."""
    async with home(tmp_path) as made:
        await made.camera()
        await made.ended_event()
        yield made


def _backups(made: Home, passphrase: str | None = None, **settings: object) -> Backups:
    return Backups(
        made.database,
        DataFolder(made.media.root.parent),
        BackupSettings.model_validate(settings),
        zone=ZoneInfo("UTC"),
        passphrase=passphrase,
        health=made.health,
        clock=made.clock,
    )


@asynccontextmanager
async def _running(backups: Backups) -> AsyncIterator[Backups]:
    task = asyncio.create_task(backups.run())
    try:
        yield backups
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not reached():  # noqa: ASYNC110 - a thread works
            await asyncio.sleep(0.01)


def _health(made: Home) -> ComponentHealth:
    return next(item for item in made.health.components if item.name == "backup")


def _state(made: Home) -> HealthState | None:
    return next((item.state for item in made.health.components if item.name == "backup"), None)


async def test_what_is_asked_for_is_made_and_verified(sqlite_home: Home) -> None:
    async with _running(_backups(sqlite_home)) as backups:
        asked = backups.ask(media=None)
        assert (asked.kind, asked.media) == (BackupKind.MANUAL, True)
        with pytest.raises(BackupBusyError):
            backups.ask(media=False)
        await _until(lambda: backups.running is None)
        (made,) = backups.list_all()
    assert made.name == "manual-20261123T080000Z.tar"
    assert made.verified_at == made.created_at == sqlite_home.clock.now()
    assert (made.media_files, made.encrypted) == (1, False)
    file = backups.path(made.name)
    assert file
    assert verify(file).manifest.rows == made.rows
    await _until(lambda: _state(sqlite_home) is HealthState.OK)


async def test_a_backup_that_was_changed_since_is_not_called_verified(sqlite_home: Home) -> None:
    async with _running(_backups(sqlite_home)) as backups:
        backups.ask(media=False)
        await _until(lambda: backups.running is None)
        file = backups.path(backups.list_all()[0].name)
        assert file
        with file.open("ab") as opened:
            opened.write(b"x")
        (changed,) = backups.list_all()
    assert (changed.verified_at, changed.rows, changed.media_files) == (None, None, None)


async def test_other_files_and_links_in_the_folder_are_no_backups(sqlite_home: Home, tmp_path: Path) -> None:
    backups = _backups(sqlite_home)
    folder = tmp_path / "backups"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    (folder / "daily-20260101T000000Z.tar").symlink_to("/etc/passwd")
    (folder / "daily-20269901T000000Z.tar").write_text("no such month")
    assert backups.list_all() == ()
    for name in ("notes.txt", "daily-20260101T000000Z.tar", "../token", "..", "/etc/passwd"):
        assert backups.path(name) is None
        assert not backups.remove(name)
    assert (folder / "notes.txt").exists()


async def test_daily_backups_are_made_at_their_hour_and_old_ones_go(sqlite_home: Home) -> None:
    async with _running(_backups(sqlite_home, daily=True, hour=8, keep=2, media=False)) as backups:
        backups.ask(media=None)
        for _ in range(5):
            await _until(lambda: _newest_is_today(backups, sqlite_home))
            sqlite_home.clock.move(days=1)
        await _until(lambda: _newest_is_today(backups, sqlite_home))
        kinds = [item.kind for item in backups.list_all()]
    assert sorted(kinds) == [BackupKind.DAILY] * 2 + [BackupKind.MANUAL]


def _newest_is_today(backups: Backups, made: Home) -> bool:
    done = [item for item in backups.list_all() if item.kind is BackupKind.DAILY]
    return bool(done) and done[0].created_at == made.clock.now() and backups.running is None


async def test_without_the_setting_nothing_is_made_by_itself(sqlite_home: Home) -> None:
    async with _running(_backups(sqlite_home)) as backups:
        await _until(lambda: _state(sqlite_home) is HealthState.OK)
        assert backups.running is None
        assert backups.list_all() == ()
    assert _health(sqlite_home).details == {"daily": False, "backups": 0, "newest": None}


async def test_a_failure_is_told_and_tried_again_after_an_hour(
    sqlite_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEEP_FREE", 1.0)
    async with _running(_backups(sqlite_home, daily=True)) as backups:
        await _until(lambda: _state(sqlite_home) is HealthState.DEGRADED)
        failed = _health(sqlite_home)
        assert "100% of the disk stay free" in str(failed.last_error)
        assert failed.still_works
        assert "tried again every hour" in str(failed.remedy)
        with pytest.raises(DiskNearlyFullError, match="of the disk of"):
            backups.ask(media=True)
        monkeypatch.setattr(module, "KEEP_FREE", 0.0)
        sqlite_home.clock.move(minutes=59)
        assert not backups._is_due()
        sqlite_home.clock.move(minutes=2)
        await _until(lambda: _state(sqlite_home) is HealthState.OK)
        assert len(backups.list_all()) == 1


async def test_with_a_passphrase_every_backup_is_encrypted(sqlite_home: Home) -> None:
    async with _running(_backups(sqlite_home, passphrase=PASSPHRASE)) as backups:
        backups.ask(media=True)
        await _until(lambda: backups.running is None)
        (made,) = backups.list_all()
    assert made.encrypted
    file = backups.path(made.name)
    assert file
    assert verify(file, PASSPHRASE).encrypted


async def test_a_server_that_stops_leaves_no_half_backup(sqlite_home: Home, tmp_path: Path) -> None:
    (sqlite_home.media.root / "large.bin").write_bytes(bytes(1 << 20))
    async with sqlite_home.database.writing() as connection:
        await connection.execute(frames.update().values(media_path="large.bin"))
    with (sqlite_home.media.root / "large.bin").open("r+b") as file:
        file.truncate(4 << 30)  # takes far longer than this test
    async with _running(_backups(sqlite_home)) as backups:
        backups.ask(media=True)
        await _until(lambda: any((tmp_path / "backups").glob(".manual-*.part")))
    async with asyncio.timeout(10):
        await asyncio.get_running_loop().shutdown_default_executor()
    assert list((tmp_path / "backups").iterdir()) == []


async def test_what_an_interrupted_backup_left_is_removed_but_not_what_is_being_written(
    sqlite_home: Home, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    (folder / ".daily-20260101T000000Z.tar.part").write_bytes(b"half")
    script = (
        "from fcntl import *; import sys; f = open(sys.argv[1], 'wb'); flock(f, LOCK_EX); print(flush=True); input()"
    )
    other = await asyncio.create_subprocess_exec(
        "python3", "-c", script, folder / ".manual-20260101T000000Z.tar.part",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert other.stdout
    await other.stdout.readline()
    async with _running(_backups(sqlite_home)):
        await _until(lambda: _state(sqlite_home) is HealthState.OK)
    assert [path.name for path in folder.iterdir()] == [".manual-20260101T000000Z.tar.part"]
    await other.communicate(b"\n")


async def test_the_ledger_balances_when_pictures_pour_in_during_a_backup(tmp_path: Path) -> None:
    first = await filled(tmp_path / "first")
    async with bench(first.root) as server:
        await server.load_detector()
        pouring = asyncio.create_task(_pour(server))
        backups = Backups(
            server.database, first, BackupSettings(), zone=ZoneInfo("UTC"), passphrase=None, health=server.health,
            clock=server.clock,
        )  # fmt: skip
        async with _running(backups):
            for _ in range(3):
                backups.ask(media=True)
                await _until(lambda: backups.running is None)
                server.clock.move(seconds=1)
        pouring.cancel()
        with suppress(asyncio.CancelledError):
            await pouring
        script = server.detector.script
        made = backups.list_all()
    assert len(made) == 3
    assert made[0].media_files != made[2].media_files
    for number, backup in enumerate(made):
        file = first.backups / backup.name
        restored = await put_back(file, DataFolder(tmp_path / str(number)), server.clock)
        assert (restored.settled.without_file, restored.settled.buried) == (0, 0)
        await _assert_whole(tmp_path / str(number), script)


async def _pour(server: Bench) -> None:
    number = 0
    while True:
        number += 1
        at = server.clock.now() + timedelta(milliseconds=number)
        await server.take(*(server.picture(a_person(), at=at, camera=f"camera_{n}") for n in range(3)))
        if number % 3 == 0:
            await server.work()
        await asyncio.sleep(0)


async def _assert_whole(folder: Path, script: dict) -> None:
    async with bench(folder) as again:
        async with again.database.reading() as connection:
            rows = (await connection.execute(select(frames.c.id, frames.c.media_path))).all()
            assert rows
            assert [row.media_path for row in rows if not (folder / "media" / row.media_path).is_file()] == []
            assert (await connection.execute(select(clips.c.id))).all() == []
            known = {"detect": {row.id for row in rows}, "gather": {row.id for row in rows}}
            known["close"] = set((await connection.execute(select(events.c.id))).scalars())
            for message in await connection.execute(select(messages)):
                assert message.subject_id in known[message.stage]
        again.detector.script = script
        await again.load_detector()
        await again.work()
        status = await again.broker.status()
        assert status.dead_letters == 0
