# SPDX-License-Identifier: AGPL-3.0-or-later
"""The watched folder, on real files and real file system events."""

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, override

import pytest

from inference_server.core.frame import RefusalReason
from inference_server.ingest.admission import RefusedFile
from inference_server.ingest.folder import area
from inference_server.observability.health import HealthBoard, HealthState
from inference_server.storage.arrivals import Arrival, FileVersion, record
from tests.support.home import START, MovableClock
from tests.support.pictures import jpeg
from tests.support.watched import LONG, MARKER, Watched, until_healthy


async def test_a_file_counts_when_it_is_closed(watched: Watched) -> None:
    async with watched.running():
        with (watched.root / "front" / "1.jpg").open("wb") as file:
            file.write(jpeg()[:300])
            file.flush()
            watched.write("front/2.jpg", jpeg(2))
            await watched.intake.until_taken("front/2.jpg")
            assert "front/1.jpg" not in watched.intake.paths
            file.write(jpeg()[300:])
        await watched.intake.until_content("front/1.jpg", jpeg())
    assert watched.intake.paths.count("front/1.jpg") == 1


async def test_a_file_counts_when_it_is_renamed_within_the_root(watched: Watched) -> None:
    async with watched.running():
        watched.write("front/1.jpg.part", jpeg(1)).rename(watched.root / "front" / "1.jpg")
        await watched.intake.until_content("front/1.jpg", jpeg(1))
        (watched.root / "front" / "1.jpg").rename(watched.root / "back" / "1.jpg")
        await watched.intake.until_content("back/1.jpg", jpeg(1))
    assert "front/1.jpg.part" not in watched.intake.paths


async def test_a_file_counts_when_it_is_renamed_from_outside_into_the_root(watched: Watched) -> None:
    source = watched.outside / "upload"
    source.write_bytes(jpeg(1))
    async with watched.running():
        source.rename(watched.root / "front" / "1.jpg")
        await watched.intake.until_content("front/1.jpg", jpeg(1))


async def test_a_new_camera_folder_counts_with_what_is_written_into_it_at_once(
    watched: Watched, settle: Callable[[float], None]
) -> None:
    settle(0.05)
    async with watched.running():
        names = [f"camera {number}/1.jpg" for number in range(20)]
        for number, name in enumerate(names):
            watched.write(name, jpeg(number))
        await watched.intake.until_taken(*names)


async def test_nested_date_folders_count(watched: Watched, settle: Callable[[float], None]) -> None:
    settle(0.05)
    async with watched.running():
        watched.write("front/2026/11/23/08/1.jpg", jpeg(1))
        await watched.intake.until_content("front/2026/11/23/08/1.jpg", jpeg(1))
        watched.write("front/2026/11/23/08/2.jpg", jpeg(2))
        await watched.intake.until_content("front/2026/11/23/08/2.jpg", jpeg(2))


async def test_a_folder_moved_in_counts_with_the_files_in_it(watched: Watched, settle: Callable[[float], None]) -> None:
    settle(0.05)
    moved = watched.outside / "garden"
    moved.mkdir()
    (moved / "1.jpg").write_bytes(jpeg(1))
    async with watched.running():
        moved.rename(watched.root / "garden")
        await watched.intake.until_content("garden/1.jpg", jpeg(1))
        watched.write("garden/2.jpg", jpeg(2))
        await watched.intake.until_content("garden/2.jpg", jpeg(2))


async def test_files_that_came_before_the_start_count_oldest_first(watched: Watched) -> None:
    names = [f"front/{number}.jpg" for number in (3, 1, 2)]
    for age, name in enumerate(names):
        path = watched.write(name, jpeg(age))
        seconds = path.stat().st_mtime - 2 * LONG + age
        os.utime(path, (seconds, seconds))
    async with watched.running():
        await watched.intake.until_taken(*names)
    assert [path for path in watched.intake.paths if path != MARKER] == names


async def test_files_that_were_recorded_before_do_not_count_again(watched: Watched) -> None:
    path = watched.write("front/1.jpg", jpeg(1), old=True)
    version = FileVersion.of("front/1.jpg", path.lstat())
    async with watched.database.writing() as connection:
        await record(connection, [Arrival(version, START, "front")])
    watched.write("front/2.jpg", jpeg(2), old=True)
    async with watched.running():
        await watched.intake.until_taken("front/2.jpg")
    assert "front/1.jpg" not in watched.intake.paths


async def test_a_file_that_is_being_written_at_the_start_counts_when_it_is_whole(watched: Watched) -> None:
    path = watched.write("front/1.jpg", jpeg()[:300])
    async with watched.running():
        assert "front/1.jpg" not in watched.intake.paths
        with path.open("ab") as file:
            file.write(jpeg()[300:])
        await watched.intake.until_content("front/1.jpg", jpeg())
    assert watched.intake.paths.count("front/1.jpg") == 1


async def test_a_file_whose_closing_nobody_saw_counts_when_it_has_settled(
    watched: Watched, settle: Callable[[float], None]
) -> None:
    settle(0.05)
    future = watched.write("front/2.jpg", jpeg(2))
    os.utime(future, (4e9, 4e9))
    watched.write("front/1.jpg", jpeg(1))
    async with watched.running():
        await watched.intake.until_taken("front/1.jpg", "front/2.jpg")


async def test_a_rescan_finds_what_no_event_told(watched: Watched, settle: Callable[[float], None]) -> None:
    settle(0.0)
    watched.rescan_seconds = 0.05
    async with watched.running():
        source = watched.write("front/.hidden/1.jpg", jpeg(1))
        os.link(source, watched.root / "front" / "2.jpg")
        await watched.intake.until_content("front/2.jpg", jpeg(1))


async def test_a_rewritten_file_counts_again(watched: Watched) -> None:
    async with watched.running():
        watched.write("front/latest.jpg", jpeg(1))
        await watched.intake.until_taken("front/latest.jpg")
        watched.write("front/latest.jpg", jpeg(2))
        await watched.intake.until_content("front/latest.jpg", jpeg(2))


async def test_unfinished_and_hidden_files_are_left_alone(watched: Watched) -> None:
    unwanted = ("front/1.jpg.tmp", "front/1.jpg.part", "front/.1.jpg", ".trash/1.jpg", "front/notes.txt", "front/1")
    for name in unwanted:
        watched.write(f"before {name}" if name[0] != "." else name, jpeg(1), old=True)
    async with watched.running():
        for name in unwanted:
            watched.write(name, jpeg(1))
        watched.write("front/LAST.JPG", jpeg(2))
        await watched.intake.until_taken("front/LAST.JPG")
    assert set(watched.intake.paths) == {MARKER, "front/LAST.JPG"}


async def test_a_file_that_nobody_expected_to_fail_is_refused_and_the_others_are_taken(watched: Watched) -> None:
    names = [f"front/{number}.jpg" for number in range(3)]
    async with watched.running():
        watched.intake.troublesome.add(names[1])
        for number, name in enumerate(names):
            watched.write(f"front/.{number}", jpeg(number)).rename(watched.root / name)
        await watched.intake.until_taken(*names)
    (refused,) = [outcome for outcome in watched.intake.taken if isinstance(outcome, RefusedFile)]
    assert refused.file.path == names[1]
    assert refused.refusal.reason is RefusalReason.UNREADABLE
    assert "ValueError" in refused.refusal.detail
    assert set(watched.intake.contents) == {MARKER, names[0], names[2]}


async def test_a_backlog_is_not_queued_again_by_every_scan(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(area, "GROUP", 1)
    watched.rescan_seconds = 0.01
    names = [f"front/{number}.jpg" for number in range(30)]
    for number, name in enumerate(names):
        watched.write(name, jpeg(number), old=True)
    async with watched.running():
        await watched.intake.until_taken(*names)
    counts = Counter(watched.intake.paths)
    assert sum(counts[name] for name in names) < 2 * len(names)


async def test_a_folder_that_takes_the_root_s_place_is_watched(
    watched: Watched, settle: Callable[[float], None]
) -> None:
    watched.rescan_seconds = 0.05
    settle(0.05)
    async with watched.running():
        watched.root.rename(watched.outside / "unmounted")
        watched.write("front/1.jpg", jpeg(1), old=True)
        await watched.intake.until_taken("front/1.jpg")
        watched.rescan_seconds = LONG
        watched.write("front/2.jpg", jpeg(2))
        await watched.intake.until_taken("front/2.jpg")


async def test_folders_that_are_not_looked_at_are_named(watched: Watched) -> None:
    (watched.root / "linked").symlink_to(watched.outside)
    async with watched.running():
        ingest = watched.ingest()
    assert ingest.state is HealthState.DEGRADED
    assert ingest.last_error is not None
    assert f"{watched.root / 'linked'} is a link" in ingest.last_error


async def test_a_root_that_is_a_file_is_named_with_what_to_do(watched: Watched) -> None:
    watched.root = watched.outside / "file"
    watched.root.write_text("in the way")
    async with watched.started():
        await until_healthy(watched, "down")
        assert "HSI_WATCH_ROOT" in (watched.ingest().remedy or "")
        watched.root.unlink()
        watched.write("front/1.jpg", jpeg(1), old=True)
        await watched.intake.until_taken("front/1.jpg")
        assert watched.ingest().state is HealthState.OK


async def test_a_full_disk_makes_pictures_wait_and_loses_none(watched: Watched) -> None:
    names = [f"front/{number}.jpg" for number in range(40)]
    async with watched.running():
        watched.intake.failures += [OSError(28, "No space left on device")] * 3
        for number, name in enumerate(names):
            watched.write(name, jpeg(number))
        await watched.intake.failed.wait()
        assert watched.ingest().state is HealthState.DOWN
        assert watched.ingest().remedy is not None
        await watched.intake.until_taken(*names)
    assert watched.ingest().state is HealthState.OK
    assert sorted(watched.intake.paths) == sorted([MARKER, *names])


async def test_a_media_folder_that_cannot_be_written_makes_pictures_wait(watched: Watched) -> None:
    async with watched.running():
        marker = watched.media.root.rename(watched.outside / "media")
        watched.media.root.write_text("in the way")
        taken = asyncio.create_task(watched.intake.until_taken("front/1.jpg"))
        watched.write("front/1.jpg", jpeg(1))
        watched.media.root.unlink()
        marker.rename(watched.media.root)
        await taken
    assert watched.ingest().state is HealthState.OK


class _TellingBoard(HealthBoard):
    """Tells when ingest is well."""

    well = asyncio.Event()

    @override
    def report(self, name: str, state: HealthState, **more: Any) -> None:
        super().report(name, state, **more)
        if name == "ingest" and state is HealthState.OK:
            self.well.set()


async def test_after_a_crash_ingest_is_well_again_before_the_next_picture(watched: Watched) -> None:
    board = _TellingBoard(MovableClock())
    board.report("ingest", HealthState.DOWN, last_error="crashed")
    watched.health = board
    async with watched.started(), asyncio.timeout(10):
        await board.well.wait()
    assert watched.intake.taken == []


async def test_the_watch_makes_its_root(watched: Watched) -> None:
    watched.root = watched.outside / "new" / "cameras"
    async with watched.running():
        watched.write("marker/1.jpg", jpeg(1))
        await watched.intake.until_content("marker/1.jpg", jpeg(1))


async def test_cancelling_stops_the_observers_threads(watched: Watched) -> None:
    before = set(threading.enumerate())
    async with watched.running():
        observing = [thread for thread in threading.enumerate() if "watchdog" in type(thread).__module__]
        assert observing
    assert not any(thread.is_alive() for thread in observing)
    left = [thread for thread in set(threading.enumerate()) - before if not thread.name.startswith("asyncio_")]
    assert [thread for thread in left if "watchdog" in type(thread).__module__] == []
