# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whatever is stored: a cleanup deletes exactly what the rules say, and leaves a database that fits together."""

import asyncio
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select, text, update

from inference_server.core.assessment import LevelThresholds, risk_level
from inference_server.core.cleanup import CleanupReport
from inference_server.core.message import StageName
from inference_server.settings import RetentionSettings
from inference_server.storage.database import Database
from inference_server.storage.tables import (
    arrivals,
    assessments,
    cameras,
    dead_letters,
    detections,
    events,
    frames,
    messages,
)
from tests.support.home import START, Home, home

DAYS = st.integers(0, 4)
CAMERAS = ("front", "back")


@dataclass(frozen=True, slots=True)
class AFrame:
    """A frame of an example: its age in days, and what speaks for keeping it."""

    age: int
    waits: StageName | None
    dead: StageName | None
    has_file_elsewhere: bool


@dataclass(frozen=True, slots=True)
class AnEvent:
    """An event of an example; its first frame is the best one."""

    camera: str
    score: int
    frames: tuple[AFrame, ...]
    is_open: bool
    thrown_away: int | None
    """Days ago."""
    waits: bool
    dead: bool


FRAME = st.builds(
    AFrame,
    age=st.integers(0, 6),
    waits=st.sampled_from([None, None, None, StageName.DETECT, StageName.CLOSE]),
    dead=st.sampled_from([None, None, None, StageName.GATHER, StageName.CLOSE]),
    has_file_elsewhere=st.booleans(),
)
EVENT = st.builds(
    AnEvent,
    camera=st.sampled_from(CAMERAS),
    score=st.integers(0, 100),
    frames=st.lists(FRAME, min_size=1, max_size=3).map(tuple),
    is_open=st.sampled_from([False, False, False, True]),
    thrown_away=st.none() | st.integers(0, 6),
    waits=st.sampled_from([False, False, True]),
    dead=st.sampled_from([False, False, True]),
)
SETTINGS = st.builds(
    RetentionSettings, low=DAYS, medium=DAYS, high=DAYS, critical=DAYS, frames_days=DAYS, trash_days=DAYS
)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a database file with its tables, to be copied."""
    file = tmp_path_factory.mktemp("empty") / "hsi.sqlite3"

    async def make() -> None:
        database = Database(file)
        await database.open()
        await database.close()

    asyncio.run(make())
    return file


@settings(max_examples=30, deadline=None, phases=[Phase.generate], print_blob=False)
@given(SETTINGS, st.lists(EVENT, max_size=5), st.lists(st.tuples(st.sampled_from(CAMERAS), FRAME), max_size=5))
def test_a_cleanup_deletes_exactly_what_the_rules_say(
    empty: Path, kept: RetentionSettings, of_events: list[AnEvent], of_none: list[tuple[str, AFrame]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(empty, folder)
        asyncio.run(_check(Path(folder), kept, of_events, of_none))


async def _check(
    folder: Path, kept: RetentionSettings, of_events: Sequence[AnEvent], of_none: Sequence[tuple[str, AFrame]]
) -> None:
    async with home(folder, retention=kept) as made:
        fill = _Fill(made)
        for camera in CAMERAS:
            await made.camera(camera)
        stay_events, stay_frames = set(), set()
        one_open: set[str] = set()
        for event in of_events:
            is_open = event.is_open and event.camera not in one_open and event.thrown_away is None
            one_open |= {event.camera} if is_open else set()
            event_id, ids = await fill.event(event, is_open)
            if is_open or not _event_goes(event, kept):
                stay_events.add(event_id)
                stay_frames |= set(ids)
        last = await fill.last_pictures()
        for camera, frame in of_none:
            frame_id = await fill.frame(camera, frame)
            if not _is_old(frame.age, kept.frames_days) or _waits(frame):
                stay_frames.add(frame_id)
        made.later(minutes=20)
        planned = await made.upkeep.accounts.plan()
        done = await made.upkeep.housekeeping.clean()
        assert _counts(planned) == _counts(done)
        await _assert_left(made, stay_events, stay_frames | last)


def _counts(report: CleanupReport) -> list[int]:
    return [amount.count for amount in (*report.events.values(), report.frames, report.trash)]


def _is_old(age: int, days: int) -> bool:
    return days > 0 and age >= days


def _waits(frame: AFrame) -> bool:
    return frame.waits is StageName.DETECT or frame.dead is StageName.GATHER


def _event_goes(event: AnEvent, kept: RetentionSettings) -> bool:
    if event.waits or event.dead or any(map(_waits, event.frames)):
        return False
    if event.thrown_away is not None:
        return _is_old(event.thrown_away, kept.trash_days)
    return _is_old(event.frames[0].age, kept.levels[risk_level(event.score, LevelThresholds())])


class _Fill:
    """Fills a home, a row at a time; ages count from the start, which is a while ago at the cleanup."""

    def __init__(self, made: Home) -> None:
        self._made = made
        self._frames: list[tuple[str, int]] = []

    async def event(self, event: AnEvent, is_open: bool) -> tuple[int, list[int]]:
        ids = [await self.frame(event.camera, frame) for frame in event.frames]
        values = {
            "camera_id": event.camera,
            "started_at": START,
            "last_detection_at": START,
            "ended_at": None if is_open else START,
            "frame_count": len(ids),
            "best_frame_id": ids[0],
            "best_confidence": 0.9,
            "tracks": [],
            "score": event.score,
            "deleted_at": None if event.thrown_away is None else START - timedelta(days=event.thrown_away),
        }
        async with self._made.database.writing() as connection:
            event_id = (await connection.execute(insert(events).values(**values).returning(events.c.id))).scalar_one()
            of_event = update(detections).where(detections.c.frame_id.in_(ids))
            await connection.execute(of_event.values(event_id=event_id))
            verdict = {"event_id": event_id, "score": event.score, "summary": "", "reasoning": "", "factors": []}
            await connection.execute(
                insert(assessments).values(**verdict, source="rules", verified=False, assessed_at=START)
            )
        if event.waits:
            await self._message(StageName.CLOSE, event_id)
        if event.dead:
            await self._letter(StageName.CLOSE, event_id)
        return event_id, ids

    async def frame(self, camera: str, frame: AFrame) -> int:
        """Add a frame with a detection. Its number is none that an event has, so that messages cannot mean both."""
        number = 1000 + len(self._frames)
        path = self._made.media.write(camera, f"{number:064}", "jpg", b"picture")
        at = START - timedelta(days=frame.age)
        values = {"id": number, "camera_id": camera, "content_hash": f"{number:064}", "media_path": path}
        async with self._made.database.writing() as connection:
            await connection.execute(
                insert(frames).values(**values, captured_at=at, arrived_at=at, width=64, height=48, size_bytes=7)
            )
            box = {"x": 1, "y": 1, "width": 1, "height": 1}
            await connection.execute(
                insert(detections).values(frame_id=number, ordinal=0, label="cat", confidence=0.9, **box)
            )
            if frame.has_file_elsewhere:
                await connection.execute(
                    insert(arrivals).values(
                        path=f"{camera}/{number}.jpg", size=7, modified_ns=1, arrived_at=at, frame_id=number
                    )
                )
        if frame.waits:
            await self._message(frame.waits, number)
        if frame.dead:
            await self._letter(frame.dead, number)
        self._frames.append((camera, number))
        return number

    async def last_pictures(self) -> set[int]:
        """Make the newest frames so far the cameras' last pictures."""
        last = dict(self._frames)
        async with self._made.database.writing() as connection:
            for camera, number in last.items():
                await connection.execute(update(cameras).where(cameras.c.id == camera).values(last_frame_id=number))
        return set(last.values())

    async def _message(self, stage: StageName, subject_id: int) -> None:
        values = {"stage": stage.value, "subject_id": subject_id, "camera_id": "front", "attempts": 0}
        async with self._made.database.writing() as connection:
            await connection.execute(insert(messages).values(**values, available_at=START, enqueued_at=START))

    async def _letter(self, stage: StageName, subject_id: int) -> None:
        values = {"stage": stage.value, "subject_id": subject_id, "camera_id": "front", "attempts": 6, "reason": "x"}
        async with self._made.database.writing() as connection:
            await connection.execute(insert(dead_letters).values(**values, enqueued_at=START, died_at=START))


async def _assert_left(made: Home, stay_events: set[int], stay_frames: set[int]) -> None:
    async with made.database.reading() as connection:
        assert set((await connection.execute(select(events.c.id))).scalars()) == stay_events
        left = {row.id: row.media_path for row in await connection.execute(select(frames))}
        assert set(left) == stay_frames
        assert (await connection.execute(text("PRAGMA foreign_key_check"))).all() == []
        last = select(cameras.c.last_event_id).where(cameras.c.last_event_id.is_not(None))
        assert set((await connection.execute(last)).scalars()) <= stay_events
    assert all(made.media.size(path) for path in left.values())
