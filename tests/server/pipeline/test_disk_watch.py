# SPDX-License-Identifier: AGPL-3.0-or-later
"""A disk that fills up: said, relieved, refused and let in again. How full it is, a script says here."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from inference_server.core.cleanup import DiskUse
from inference_server.ingest.backpressure import Backpressure
from inference_server.observability.health import ComponentHealth, HealthState
from inference_server.pipeline import disk_watch
from inference_server.pipeline.disk_watch import PAUSE, DiskWatch
from inference_server.settings import DiskSettings, RetentionSettings
from inference_server.storage import chores, disk, frames
from tests.support.home import Home, home

TOTAL = 10_000_000


class Gauge:
    """Says how full the disk is: by a share that is set, and by the pictures that are on it."""

    def __init__(self, made: Home) -> None:
        """Take the home on the disk."""
        self._made = made
        self.others = 0.0
        """Percent that other things take."""
        self.inodes: float | None = None
        self.picture = 1.0
        """Percent that a picture takes."""
        self.holds: tuple[str, ...] = ("media", "cameras", "database")
        self.path = str(made.settings.data_dir)
        self.problems: list[str] = []
        self.looked = asyncio.Event()

    def look(self, _places: object) -> tuple[list[DiskUse], list[str]]:
        """Look at the disk."""
        files = sum(path.is_file() for path in self._made.settings.data_dir.rglob("*.jpg"))
        percent = self.others + files * self.picture
        self.looked.set()
        free = int(TOTAL * (100 - percent) / 100)
        use = DiskUse(self.path, self.holds, TOTAL, free, percent, self.inodes)
        return ([] if self.problems else [use]), self.problems


@pytest.fixture
async def a_home(tmp_path: Path) -> AsyncIterator[Home]:
    """Give a home that keeps critical events for ever, and originals not."""
    kept = RetentionSettings(critical=0, originals="prune")
    async with home(tmp_path, retention=kept) as made:
        await made.camera()
        yield made


@pytest.fixture
def gauge(a_home: Home, monkeypatch: pytest.MonkeyPatch) -> Gauge:
    """Give the gauge that all look at."""
    made = Gauge(a_home)
    monkeypatch.setattr(disk, "look", made.look)
    return made


@pytest.fixture
def backpressure() -> Backpressure:
    """Give what those who admit ask."""
    return Backpressure()


@pytest.fixture
def watch(a_home: Home, backpressure: Backpressure) -> DiskWatch:
    """Give a watch with the default thresholds."""
    return DiskWatch(
        a_home.upkeep.places,
        housekeeping=a_home.upkeep.housekeeping,
        backpressure=backpressure,
        health=a_home.health,
        clock=a_home.clock,
        settings=DiskSettings(),
    )


def _disk(made: Home) -> ComponentHealth:
    return next(component for component in made.health.components if component.name == "disk")


async def _round(watch: DiskWatch) -> None:
    """Let the watch look once and do what it finds."""
    for use in await watch.look():
        if use.fullness >= 90:
            await watch._relieve(use)


async def test_states_from_empty_to_full_and_back(
    a_home: Home, gauge: Gauge, watch: DiskWatch, backpressure: Backpressure
) -> None:
    steps = [
        (84.9, HealthState.OK, False),
        (85, HealthState.DEGRADED, False),
        (94.9, HealthState.DEGRADED, False),
        (95, HealthState.DOWN, True),
        (93, HealthState.DOWN, True),
        (92.9, HealthState.DEGRADED, False),
        (94.9, HealthState.DEGRADED, False),
        (10, HealthState.OK, False),
    ]
    for percent, state, refusing in steps:
        gauge.others = percent
        await watch.look()
        component = _disk(a_home)
        assert (component.state, component.details["refusing"]) == (state, refusing), percent
        assert (backpressure.reason is not None) == refusing
        assert (component.remedy is None) == (state is HealthState.OK)
    gauge.others = 96
    await watch.look()
    assert backpressure.reason == (
        f"The disk of {gauge.path} is 96 % full. Free space on the disk of {gauge.path}, "
        "or keep less (HSI_RETENTION__...). Pictures are let in again below 93 %."
    )
    assert _disk(a_home).last_error == f"The disk of {gauge.path} is 96 % full."


async def test_inodes_count_as_well(a_home: Home, gauge: Gauge, watch: DiskWatch, backpressure: Backpressure) -> None:
    gauge.others, gauge.inodes = 10, 95.5
    await watch.look()
    assert backpressure.reason is not None
    assert _disk(a_home).last_error == f"The disk of {gauge.path} has 96 % of its inodes in use."
    assert "Free files" in (_disk(a_home).remedy or "")


async def test_a_disk_that_cannot_be_looked_at_is_said_and_changes_nothing(
    a_home: Home, gauge: Gauge, watch: DiskWatch, backpressure: Backpressure
) -> None:
    gauge.others = 96
    await watch.look()
    gauge.problems = ["The disk of /disk (media) cannot be looked at: Input/output error."]
    await watch.look()
    assert backpressure.reason is not None
    assert _disk(a_home).last_error == gauge.problems[0]
    gauge.problems, gauge.others = [], 10
    await watch.look()
    assert backpressure.reason is None


async def test_a_disk_that_does_not_answer_blocks_nobody(
    a_home: Home, watch: DiskWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, asked = threading.Event(), []

    def hang(_places: object) -> tuple[list[DiskUse], list[str]]:
        asked.append(1)
        answer.wait(10)
        return [], []

    monkeypatch.setattr(disk_watch, "ANSWER_SECONDS", 0.01)
    monkeypatch.setattr(disk, "look", hang)
    for _ in range(3):
        assert await watch.look() == []
    assert len(asked) == 1  # one thread waits, and no more
    assert "does not answer" in (_disk(a_home).last_error or "")
    answer.set()
    monkeypatch.setattr(disk_watch, "ANSWER_SECONDS", 10)
    await watch.look()
    assert _disk(a_home).state is HealthState.OK


async def _stored(made: Home) -> dict[str, list[Path]]:
    """Store some of each kind, and return the files of each, oldest first."""

    async def file(frame_id: int) -> Path:
        async with made.database.reading() as connection:
            frame = await frames.get(connection, frame_id)
        assert frame is not None
        return made.media.root / frame.media_path

    stored: dict[str, list[Path]] = {}
    for kind, score in (("critical", 90), ("high", 70), ("low", 10)):
        stored[kind] = [await file((await made.ended_event(score=score)).best_frame_id) for _ in range(3)]
    stored["frames"] = [await file(await made.frame()) for _ in range(3)]
    stored["originals"] = [await made.original(1, f"front_door/{number}.jpg") for number in range(3)]
    stored["trash"] = [await file((await made.thrown_away(score=10)).best_frame_id) for _ in range(3)]
    made.later(hours=25)
    stored["young"] = [await file((await made.ended_event(score=10)).best_frame_id) for _ in range(2)]
    stored["last"] = [await file(await made.frame())]
    return stored


def _left(stored: dict[str, list[Path]]) -> dict[str, list[bool]]:
    return {kind: [file.exists() for file in files] for kind, files in stored.items()}


GONE, KEPT = [False] * 3, [True] * 3
ORDER = ["trash", "originals", "frames", "low", "high"]


@pytest.mark.parametrize("pieces", range(1, len(ORDER) + 1))
async def test_the_oldest_and_mildest_goes_first_and_no_more_than_needed(
    a_home: Home, gauge: Gauge, watch: DiskWatch, pieces: int
) -> None:
    stored = await _stored(a_home)
    files = sum(map(len, stored.values()))
    # so full that the files of this many kinds, of three each, have to go
    gauge.others = 88 - files + 3 * pieces
    await _round(watch)
    left = _left(stored)
    assert [left[kind] for kind in ORDER[: pieces - 1]] == [GONE] * (pieces - 1)
    assert [left[kind] for kind in ORDER[pieces:]] == [KEPT] * (len(ORDER) - pieces)
    assert left[ORDER[pieces - 1]] == GONE
    assert (left["critical"], left["young"], left["last"]) == (KEPT, [True] * 2, [True])
    assert _disk(a_home).details["used_percent"] == 88
    assert _disk(a_home).details["deleted_early"] == 3 * pieces


async def test_when_nothing_may_go_the_disk_is_left_alone_for_a_while(
    a_home: Home, gauge: Gauge, watch: DiskWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = await _stored(a_home)
    gauge.others = 91
    await _round(watch)
    left = _left(stored)
    assert [left[kind] for kind in ORDER] == [GONE] * len(ORDER)
    assert (left["critical"], left["young"], left["last"]) == (KEPT, [True] * 2, [True])
    relieved: list[timedelta] = []
    relieve = a_home.upkeep.housekeeping.relieve

    async def counted(*arguments: object) -> object:
        relieved.append(timedelta())
        return await relieve(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(a_home.upkeep.housekeeping, "relieve", counted)
    await _round(watch)
    assert relieved == []
    a_home.clock.move(seconds=PAUSE.total_seconds())
    await _round(watch)
    assert len(relieved) == 1


async def test_a_file_system_that_counts_late_is_not_emptied(
    a_home: Home, gauge: Gauge, watch: DiskWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = await _stored(a_home)
    size = sum(file.stat().st_size for file in stored["trash"][:2])
    full = DiskUse(gauge.path, gauge.holds, size * 50, size * 5, 90.0, None)
    monkeypatch.setattr(disk, "look", lambda _places: ([full], []))  # it never seems to get emptier
    await _round(watch)
    assert _left(stored)["trash"].count(False) in {1, 2}
    assert [_left(stored)[kind] for kind in ORDER[1:]] == [KEPT] * 4


async def test_a_disk_of_the_cameras_alone_refuses_nothing_and_loses_only_originals(
    a_home: Home, gauge: Gauge, watch: DiskWatch, backpressure: Backpressure
) -> None:
    stored = await _stored(a_home)
    gauge.others, gauge.holds = 97, ("cameras",)
    await _round(watch)
    left = _left(stored)
    assert left.pop("originals") == GONE
    assert all(all(files) for files in left.values())
    assert backpressure.reason is None
    assert _disk(a_home).state is HealthState.DEGRADED


async def test_originals_on_another_disk_stay(a_home: Home, gauge: Gauge, watch: DiskWatch) -> None:
    shm = Path("/dev/shm")  # noqa: S108 - only looked at
    if not shm.is_dir() or shm.stat().st_dev == a_home.settings.data_dir.stat().st_dev:
        pytest.skip("this machine has no second file system at /dev/shm")
    stored = await _stored(a_home)
    gauge.others, gauge.holds, gauge.path = 97, ("cameras",), str(shm)
    await _round(watch)
    assert _left(stored)["originals"] == KEPT


async def test_a_disk_of_the_media_alone_keeps_the_originals(a_home: Home, gauge: Gauge, watch: DiskWatch) -> None:
    stored = await _stored(a_home)
    gauge.others, gauge.holds = 97, ("media", "database")
    await _round(watch)
    assert _left(stored)["originals"] == KEPT
    assert _left(stored)["high"] == GONE


async def test_while_another_process_cleans_this_one_waits(a_home: Home, gauge: Gauge, watch: DiskWatch) -> None:
    stored = await _stored(a_home)
    async with a_home.database.writing() as connection:
        await chores.take(connection, "cleanup", "another process", a_home.clock.now())
    gauge.others = 91
    await _round(watch)
    assert all(all(files) for files in _left(stored).values())
    a_home.clock.move(minutes=6)
    await _round(watch)
    assert _left(stored)["trash"] == GONE


async def test_it_goes_on_by_itself(
    a_home: Home, gauge: Gauge, watch: DiskWatch, backpressure: Backpressure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_watch, "INTERVAL_SECONDS", 0.01)
    stored = await _stored(a_home)
    gauge.others = 96 - sum(map(len, stored.values()))
    running = asyncio.create_task(watch.run())
    async with asyncio.timeout(10):
        while stored["frames"][-1].exists():  # noqa: ASYNC110 - files tell nobody that they are gone
            await asyncio.sleep(0.01)
        await backpressure.until_open()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert _left(stored)["low"] == KEPT


def test_the_disks_of_places_are_told_apart_and_measured(tmp_path: Path) -> None:
    shm = Path("/dev/shm")  # noqa: S108 - only looked at
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("this machine has no second file system at /dev/shm")
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    places = [("database", tmp_path), ("media", tmp_path / "not" / "yet"), ("cameras", shm), ("cameras", shm)]
    uses, problems = disk.look(places)
    assert (problems, [use.holds for use in uses]) == ([], [("database", "media"), ("cameras",)])
    status = os.statvfs(tmp_path)
    assert uses[0].total_bytes == status.f_blocks * status.f_frsize
    assert uses[1].inodes_used_percent is not None
    uses, problems = disk.look([*places[:2], ("cameras", loop)])
    assert [use.holds for use in uses] == [("database", "media")]
    assert problems == [f"The disk of {loop} (cameras) cannot be looked at: Too many levels of symbolic links."]


@pytest.mark.parametrize(("used", "inodes", "fullness"), [(50.0, None, 50.0), (50.0, 70.0, 70.0), (70.0, 50.0, 70.0)])
def test_the_fuller_one_of_bytes_and_inodes_counts(used: float, inodes: float | None, fullness: float) -> None:
    use = DiskUse("/disk", (), TOTAL, 0, used, inodes)
    assert use.fullness == fullness
    assert replace(use, inodes_used_percent=None).fullness == used
