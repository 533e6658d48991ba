# SPDX-License-Identifier: AGPL-3.0-or-later
"""What lay in a root long before it was first watched is imported or left alone, and holds no live picture up."""

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import override

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from inference_server.core.clock import SystemClock
from inference_server.core.frame import FrameSource
from inference_server.ingest.admission import AdmittedFile, Outcome
from inference_server.ingest.backpressure import Backpressure
from inference_server.ingest.folder.existing import OLD, FirstSight
from inference_server.ingest.folder.sighting import EARLIEST_BELIEVED, NANOSECONDS, Sighting
from inference_server.settings import ExistingFiles
from inference_server.storage.arrivals import FileVersion
from inference_server.storage.database import Database
from inference_server.storage.tables import arrivals as arrivals_table
from inference_server.storage.tables import watch_roots as roots_table
from tests.support.pictures import jpeg
from tests.support.recording_intake import RecordingIntake
from tests.support.watched import MARKER, Watched, until_healthy

MANY = 20_000
SEEN = datetime(2026, 11, 23, 8, tzinfo=UTC)


@pytest.fixture(params=list(ExistingFiles))
def unknown(either: Watched, request: pytest.FixtureRequest) -> Watched:
    """Give a root that was never seen, with either choice, watched in either way."""
    either.known = False
    either.existing = request.param
    return either


def _lay(watched: Watched, count: int) -> list[str]:
    """Lay many old pictures into a camera's folder, in folders by date: links to one, which has one content."""
    first = watched.write("old/2026-01-01/0.jpg", jpeg(1), old=True)
    names = ["old/2026-01-01/0.jpg"]
    for number in range(1, count):
        folder = watched.root / "old" / f"2026-01-{1 + number * 28 // count:02}"
        if number * 28 % count < 28:
            folder.mkdir(exist_ok=True)
        os.link(first, folder / f"{number}.jpg")
        names.append(f"old/{folder.name}/{number}.jpg")
    return names


async def _recorded(database: Database) -> int:
    async with database.reading() as connection:
        return (await connection.execute(select(func.count()).select_from(arrivals_table))).scalar_one()


async def _until_finished(database: Database) -> None:
    query = select(func.count()).select_from(roots_table).where(roots_table.c.finished_at.is_not(None))
    async with asyncio.timeout(60):
        while True:
            async with database.reading() as connection:
                if (await connection.execute(query)).scalar_one():
                    return
            await asyncio.sleep(0.01)


async def test_old_files_are_left_alone_unless_they_change(either: Watched) -> None:
    either.known = False
    names = _lay(either, 30)
    async with either.running():
        await _until_finished(either.database)
        assert await _recorded(either.database) == len(names) + 1
        either.write("front/1.jpg", jpeg(2))
        await either.intake.until_content("front/1.jpg", jpeg(2))
        (either.root / names[7]).unlink()
        either.write(names[7], jpeg(3))
        await either.intake.until_content(names[7], jpeg(3))
    assert set(either.intake.paths) == {MARKER, "front/1.jpg", names[7]}
    async with either.database.reading() as connection:
        row = (await connection.execute(select(arrivals_table).where(arrivals_table.c.path == names[3]))).one()
    assert (row.camera_id, row.frame_id, row.refusal_reason) == ("old", None, None)


async def test_old_files_are_imported_oldest_first_and_marked_so(either: Watched) -> None:
    either.known = False
    either.existing = ExistingFiles.IMPORT
    names = [f"old/{number}.jpg" for number in range(20)]
    for age, name in enumerate(names):
        path = either.write(name, jpeg(age))
        seconds = time.time() - 86400 - age * 60
        os.utime(path, (seconds, seconds))
    async with either.running():
        await either.intake.until_taken(*names)
        await _until_finished(either.database)
        either.write("old/new.jpg", jpeg(99))
        await either.intake.until_taken("old/new.jpg")
    admitted = [item for item in either.intake.taken if isinstance(item, AdmittedFile)]
    assert [path for path in either.intake.paths if path in names] == names[::-1]
    imported = {item.file.path for item in admitted if item.file and item.source is FrameSource.IMPORT}
    assert imported == set(names)


async def test_fresh_files_of_a_new_root_are_live(unknown: Watched) -> None:
    unknown.write("front/1.jpg", jpeg(1))
    async with unknown.running():
        await unknown.intake.until_content("front/1.jpg", jpeg(1))
    assert not any(item.source is FrameSource.IMPORT for item in unknown.intake.taken if isinstance(item, AdmittedFile))


async def test_an_import_waits_while_the_pipeline_is_busy_and_live_files_do_not(either: Watched) -> None:
    either.known = False
    either.existing = ExistingFiles.IMPORT
    either.backpressure.set_busy(True)
    names = _lay(either, 10)
    async with either.running():
        either.write("front/1.jpg", jpeg(2))
        await either.intake.until_content("front/1.jpg", jpeg(2))
        assert set(either.intake.paths) == {MARKER, "front/1.jpg"}
        either.backpressure.set_busy(False)
        await either.intake.until_taken(*names)


async def test_progress_stands_in_health_until_all_is_done(unknown: Watched) -> None:
    _lay(unknown, 40)
    unknown.backpressure.set_busy(unknown.existing is ExistingFiles.IMPORT)
    async with unknown.running():
        if unknown.existing is ExistingFiles.IMPORT:
            found = await until_healthy(unknown, "'old_files_left': 40")
            assert found.details["old_files"] == "import"
            unknown.backpressure.set_busy(False)
        await _until_finished(unknown.database)
    assert "old_files_left" not in unknown.ingest().details


@dataclass
class _Interrupting(RecordingIntake):
    """Has the import wait after a few files, as if the server were stopped there."""

    pressure: Backpressure = field(default_factory=Backpressure)
    after: int = 5

    @override
    async def take(self, outcomes: Sequence[Outcome]) -> Mapping[tuple[str, str], int]:
        taken = await super().take(outcomes)
        self.pressure.set_busy(len(self.taken) >= self.after)
        return taken


async def test_an_import_that_was_interrupted_goes_on_after_a_restart(either: Watched) -> None:
    either.known = False
    either.existing = ExistingFiles.IMPORT
    names = _lay(either, 40)
    either.intake = _Interrupting(database=either.database, pressure=either.backpressure)
    async with either.started():
        await either.intake.until_count(5)
    before = list(either.intake.paths)
    assert len(before) < len(names)
    either.intake = RecordingIntake(database=either.database)
    either.backpressure.set_busy(False)
    async with either.started():
        await either.intake.until_count(len(names) - len(before))
        await _until_finished(either.database)
    assert sorted([*before, *either.intake.paths]) == sorted(names)


async def test_files_that_came_while_a_first_look_was_interrupted_are_live(either: Watched) -> None:
    """The first sight stays where it was: what came after it is live, however old it is when the server is back."""
    long_ago = SystemClock().now() - timedelta(days=2)
    async with either.database.writing() as connection:
        await connection.execute(roots_table.insert().values(path=str(either.root), first_seen_at=long_ago))
    either.known = False
    path = either.write("front/1.jpg", jpeg(1))
    day_ago = time.time() - 86400
    os.utime(path, (day_ago, day_ago))
    async with either.running():
        await either.intake.until_content("front/1.jpg", jpeg(1))


async def test_a_share_that_is_mounted_later_has_its_first_sight_then(either: Watched) -> None:
    """An empty root proves nothing: what is in it when it is there is as old as it was."""
    either.known = False
    filled = either.outside / "share"
    empty = either.root
    for camera in ("front", "back"):
        (empty / camera).rmdir()
    either.root = filled
    names = _lay(either, 5)
    either.root = empty
    async with either.started():
        await until_healthy(either, "watched_by")
        empty.rmdir()
        filled.rename(empty)
        await _until_finished(either.database)
        assert await _recorded(either.database) == len(names)
    assert either.intake.paths == []


async def test_a_root_of_before_roots_were_remembered_is_known(watched: Watched) -> None:
    """Files that came while the server was brought up to date are live, whatever their age."""
    now = SystemClock().now()
    async with watched.database.writing() as connection:
        await connection.execute(roots_table.insert().values(path="", first_seen_at=now, finished_at=now))
    watched.known = False
    watched.write("front/1.jpg", jpeg(1), old=True)
    async with watched.started():
        await watched.intake.until_content("front/1.jpg", jpeg(1))
    async with watched.database.reading() as connection:
        (row,) = await connection.execute(select(roots_table))
    assert row.path == str(watched.root)


@pytest.mark.slow
async def test_twenty_thousand_old_files_hold_no_live_picture_up(unknown: Watched) -> None:
    await asyncio.to_thread(_lay, unknown, MANY)
    async with unknown.started():
        for number in range(3):
            started = time.monotonic()
            unknown.write(f"front/{number}.jpg", jpeg(10 + number))
            await unknown.intake.until_content(f"front/{number}.jpg", jpeg(10 + number))
            assert time.monotonic() - started < 5  # a second or two, on a machine that has other work
        if unknown.existing is ExistingFiles.IGNORE:
            await _until_finished(unknown.database)
            assert await _recorded(unknown.database) == MANY + 3
        else:
            await until_healthy(unknown, "old_files_left")


def _sighting(modified: float, changed: float) -> Sighting:
    return Sighting("/r/a/1.jpg", FileVersion("a/1.jpg", 1, int(modified * NANOSECONDS)), int(changed * NANOSECONDS))


AGES = st.floats(-1e9, 3e9, allow_nan=False)


@given(AGES, AGES)
def test_what_changed_after_the_first_sight_is_never_old(modified: float, later: float) -> None:
    sight = FirstSight(SEEN, finished=False)
    assert not sight.is_old(_sighting(modified, SEEN.timestamp() + abs(later) + 1))
    assert not FirstSight(SEEN, finished=True).is_old(_sighting(modified, modified))


@given(AGES)
def test_a_clock_that_cannot_be_right_is_not_believed(modified: float) -> None:
    sight = FirstSight(SEEN, finished=False)
    just_written = SEEN.timestamp() - 60
    old = sight.is_old(_sighting(modified, just_written))
    believed = modified >= EARLIEST_BELIEVED / NANOSECONDS
    assert old == (believed and modified < (SEEN - OLD).timestamp())


def test_old_files_are_taken_oldest_first_and_each_once() -> None:
    sight = FirstSight(SEEN, finished=False)
    files = [
        Sighting(f"/r/{age}", FileVersion(f"{age}", 1, (int(SEEN.timestamp()) - age) * NANOSECONDS), 0)
        for age in (5000, 7000, 6000)
    ]
    for sighting in (*files, *files):
        sight.keep(sighting)
    assert sight.left == 3
    sight.discard("/r/6000")
    assert list(sight.take(10)) == ["/r/7000", "/r/5000"]
    assert sight.left == 0
