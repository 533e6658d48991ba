# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is deleted when, on both databases, and what never is."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select, update

from inference_server.core.announcement import AnnouncementKind
from inference_server.core.assessment import LevelThresholds, RiskLevel, scores_of
from inference_server.core.cleanup import Amount, CleanupBusyError, CleanupReport
from inference_server.core.context import CameraPlace
from inference_server.core.feedback import Experience, FeedbackKind, Opinion, Signature
from inference_server.core.message import StageName, Work
from inference_server.observability.health import HealthState
from inference_server.pipeline import housekeeping
from inference_server.pipeline.limits import cleanup_moments, is_due
from inference_server.pipeline.upkeep import Upkeep
from inference_server.settings import IngestSettings, RetentionSettings, WatchRoot
from inference_server.storage import (
    announcements,
    arrivals,
    cameras,
    chores,
    events,
    feedback,
    frames,
    messages,
    orphans,
)
from inference_server.storage.arrivals import FileVersion
from inference_server.storage.retention import FRAMES_AT_ONCE
from inference_server.storage.tables import arrivals as arrival_table
from inference_server.storage.tables import clips, dead_letters, detections
from inference_server.storage.tables import events as event_table
from inference_server.storage.tables import frames as frame_table
from inference_server.storage.tables import messages as message_table
from tests.support.home import BUS, PERSON, START, Home, home
from tests.support.services import PostgreSql

type MakeHome = Callable[..., AbstractAsyncContextManager[Home]]

DAILY = RetentionSettings(
    low=1, medium=2, high=3, critical=4, frames_days=1, clips_days=1, originals="prune", originals_days=1, trash_days=1
)
LEVELS = {RiskLevel.LOW: 10, RiskLevel.MEDIUM: 35, RiskLevel.HIGH: 70, RiskLevel.CRITICAL: 90}


@pytest.fixture(params=["sqlite", "postgresql"])
def make_home(request: pytest.FixtureRequest, tmp_path: Path) -> MakeHome:
    """Give a function that makes homes on one kind of database."""

    def make(retention: RetentionSettings = DAILY) -> AbstractAsyncContextManager[Home]:
        if request.param == "sqlite":
            return home(tmp_path, retention=retention)
        server: PostgreSql = request.getfixturevalue("postgresql")
        return home(tmp_path, server.database(), retention)

    return make


@pytest.fixture
async def a_home(make_home: MakeHome) -> AsyncIterator[Home]:
    """Give a home with a camera whose newest picture is of no interest."""
    async with make_home() as made:
        await made.camera()
        yield made


async def _clean(made: Home) -> CleanupReport:
    """Clean up after a newer picture has come, and compare with what was planned."""
    await made.frame()
    planned = await made.upkeep.accounts.plan()
    done = await made.upkeep.housekeeping.clean()
    assert (planned.events, planned.frames, planned.clips) == (done.events, done.frames, done.clips)
    assert (planned.originals, planned.trash, planned.orphans) == (done.originals, done.trash, done.orphans)
    assert (planned.missing, planned.warning) == (done.missing, done.warning)
    return done


async def _frames(made: Home) -> dict[int, str]:
    async with made.database.reading() as connection:
        return {row.id: row.media_path for row in await connection.execute(select(frame_table))}


async def _event_ids(made: Home) -> list[int]:
    async with made.database.reading() as connection:
        page = await events.find(connection, events.EventFilter(), limit=100, cursor=None)
    return [event.id for event in page.items]


async def _kinds(made: Home) -> list[AnnouncementKind]:
    async with made.database.reading() as connection:
        found = await announcements.after(connection, 0, limit=100)
    assert found is not None
    return [item.announcement.kind for item in found]


async def test_each_level_is_kept_for_its_own_days(a_home: Home) -> None:
    made = {level: await a_home.ended_event(score=score) for level, score in LEVELS.items()}
    left = [event.id for event in made.values()]
    for level in LEVELS:
        a_home.later(days=1, seconds=1)
        sizes = {id_: a_home.media.size(path) for id_, path in (await _frames(a_home)).items()}
        report = await _clean(a_home)
        gone = left.pop(0)
        assert report.events[level] == Amount(1, sizes[made[level].best_frame_id] or 0)
        assert sum(amount.count for amount in report.events.values()) == 1
        assert await _event_ids(a_home) == left[::-1]
        assert made[level].best_frame_id not in await _frames(a_home)
        assert gone == made[level].id


async def test_zero_days_are_for_ever(make_home: MakeHome) -> None:
    for_ever = RetentionSettings(low=0, medium=0, high=0, critical=0, frames_days=0, clips_days=0, trash_days=0)
    async with make_home(for_ever) as made:
        await made.camera()
        kept = [await made.ended_event(score=score) for score in LEVELS.values()]
        await made.thrown_away()
        frame_id = await made.frame()
        made.later(days=4000)
        assert (await _clean(made)).bytes == 0
        assert len(await _event_ids(made)) == len(kept)
        assert frame_id in await _frames(made)


async def test_frames_of_no_event_go_with_their_files_and_their_originals_are_not_admitted_again(a_home: Home) -> None:
    frame_id = await a_home.frame(detections=(BUS,))
    original = await a_home.original(frame_id, "front_door/1.jpg")
    path = (await _frames(a_home))[frame_id]
    size = a_home.media.size(path)
    a_home.later(days=1)
    assert (await _clean(a_home)).frames == Amount()  # not yet older than a day
    a_home.later(seconds=1)
    async with a_home.database.writing() as connection:  # as if only this one were old enough
        await connection.execute(update(arrival_table).values(modified_ns=1))
    assert (await _clean(a_home)).frames == Amount(1, size or 0)
    assert frame_id not in await _frames(a_home)
    assert a_home.media.size(path) is None
    assert original.exists()
    async with a_home.database.reading() as connection:
        seen = FileVersion("front_door/1.jpg", 100, 1)
        assert await arrivals.unseen(connection, [seen]) == []
        row = (await connection.execute(select(arrival_table))).one()
    assert (row.frame_id, row.refusal_reason) == (None, None)


async def test_an_events_frames_go_with_it_and_its_best_one_never_before(a_home: Home) -> None:
    event = await a_home.ended_event(score=10)
    others = [await a_home.frame(detections=(PERSON,)) for _ in range(250)]
    async with a_home.database.writing() as connection:
        await frames.give_to_event(connection, others, event.id)
    a_home.later(days=1, seconds=1)
    await a_home.frame()
    step = a_home.upkeep.cleaner.frames(a_home.clock.now())
    assert [amount async for amount in step] == []
    report = await _clean(a_home)
    assert report.events[RiskLevel.LOW].count == 1
    assert not set(await _frames(a_home)) & {event.best_frame_id, *others}
    async with a_home.database.reading() as connection:
        assert (await connection.execute(select(func.count()).select_from(detections))).scalar_one() == 0


async def test_a_cleanup_that_breaks_off_within_an_event_leaves_what_the_event_shows(
    a_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = await a_home.ended_event(score=10)
    others = [await a_home.frame(detections=(PERSON,)) for _ in range(150)]
    async with a_home.database.writing() as connection:
        await frames.give_to_event(connection, others, event.id)
    await a_home.frame()
    a_home.later(days=1, seconds=1)

    def fail(_path: str) -> int | None:
        raise RuntimeError("the plug is pulled")

    with monkeypatch.context() as patch:
        patch.setattr(a_home.media, "delete", fail)
        with pytest.raises(RuntimeError, match="plug"):
            await a_home.upkeep.housekeeping.clean()
    left = await _frames(a_home)
    assert event.best_frame_id in left
    assert 0 < len(set(others) & set(left)) < 150
    assert await _event_ids(a_home) == [event.id]

    report = await _clean(a_home)
    assert report.events[RiskLevel.LOW].count == 1
    assert await _event_ids(a_home) == []
    assert report.orphans.count == FRAMES_AT_ONCE  # the files of the piece that was broken off, older than a day by now
    assert set(a_home.media.root.rglob("*.jpg")) == {
        a_home.media.root / path for path in (await _frames(a_home)).values()
    }


async def test_the_cameras_last_picture_stays_also_without_its_event(a_home: Home) -> None:
    event = await a_home.ended_event(score=10)
    a_home.later(days=30)
    report = await a_home.upkeep.housekeeping.clean()
    assert report.events[RiskLevel.LOW].count == 1
    assert await _event_ids(a_home) == []
    assert list(await _frames(a_home)) == [event.best_frame_id]
    async with a_home.database.reading() as connection:
        latest = await frames.latest(connection, "front_door")
        assert latest is not None
        assert a_home.media.read(latest.media_path)
        assert (await connection.execute(select(func.count()).select_from(detections))).scalar_one() == 0
    a_home.later(seconds=1)
    assert (await _clean(a_home)).frames.count == 1  # now there is a newer one


async def test_an_open_event_and_what_is_still_to_be_worked_on_stay(a_home: Home) -> None:
    a_home.clock.move(days=-40)
    open_event = await a_home.event(score=10)
    await a_home.camera("garden")
    frame_waits, frame_dead = await a_home.frame("garden"), await a_home.frame("garden")
    event_waits, event_dead = await a_home.ended_event("garden"), await a_home.ended_event("garden")
    frame_of_event_dead = await a_home.ended_event("garden")
    trash_dead = await a_home.thrown_away("garden")
    await a_home.frame("garden")
    now = a_home.clock.now()
    work = [(StageName.DETECT, frame_waits), (StageName.CLOSE, event_waits.id)]
    dead = [
        (StageName.GATHER, frame_dead),
        (StageName.CLOSE, event_dead.id),
        (StageName.GATHER, frame_of_event_dead.best_frame_id),
        (StageName.CLOSE, trash_dead.id),
    ]
    async with a_home.database.writing() as connection:
        await messages.add(connection, [Work(stage, id_, "garden", now) for stage, id_ in work], now)
        for stage, id_ in dead:
            letter = {"stage": stage.value, "subject_id": id_, "camera_id": "garden", "reason": "broken", "attempts": 6}
            await connection.execute(dead_letters.insert().values(**letter, enqueued_at=now, died_at=now))
    a_home.later(days=40)
    report = await _clean(a_home)
    assert sum(amount.count for amount in report.events.values()) == report.trash.count == 0
    assert report.frames.count == 0
    assert {frame_waits, frame_dead, open_event.best_frame_id, trash_dead.best_frame_id} <= set(await _frames(a_home))
    assert (await a_home.upkeep.housekeeping.empty_trash()).count == 0

    async with a_home.database.writing() as connection:
        await connection.execute(dead_letters.delete())
        await connection.execute(message_table.delete())
    report = await _clean(a_home)
    assert report.events[RiskLevel.MEDIUM].count == 3
    assert (report.trash.count, report.frames.count) == (1, 2)
    assert await _event_ids(a_home) == [open_event.id]


async def test_what_was_discarded_keeps_nothing_and_goes_with_what_it_accounts_for(a_home: Home) -> None:
    frame_id, event = await a_home.frame(), await a_home.ended_event(score=10)
    kept = await a_home.frame()
    now = a_home.clock.now()
    async with a_home.database.writing() as connection:
        for stage, id_ in ((StageName.DETECT, frame_id), (StageName.CLOSE, event.id), (StageName.DETECT, kept)):
            letter = {"stage": stage.value, "subject_id": id_, "camera_id": "garden", "reason": "broken", "attempts": 6}
            times = {"enqueued_at": now, "died_at": now, "discarded_at": now}
            await connection.execute(dead_letters.insert().values(**letter, **times))
    a_home.later(days=1, seconds=1)
    report = await a_home.upkeep.housekeeping.clean()
    assert (report.frames.count, report.events[RiskLevel.LOW].count) == (1, 1)
    async with a_home.database.reading() as connection:
        assert (await connection.execute(select(dead_letters.c.subject_id))).scalars().all() == [kept]


async def test_a_camera_whose_clock_is_wrong_loses_nothing_before_its_time(a_home: Home) -> None:
    event, frame_id = await a_home.ended_event(), await a_home.frame()
    await a_home.frame()
    async with a_home.database.writing() as connection:
        await connection.execute(update(frame_table).values(captured_at=datetime(2000, 1, 1, tzinfo=UTC)))
        await connection.execute(update(event_table).values(started_at=datetime(2000, 1, 1, tzinfo=UTC)))
    a_home.later(hours=23)
    assert (await _clean(a_home)).bytes == 0
    async with a_home.database.writing() as connection:
        await connection.execute(update(frame_table).values(captured_at=datetime(2099, 1, 1, tzinfo=UTC)))
        await connection.execute(update(event_table).values(started_at=datetime(2099, 1, 1, tzinfo=UTC)))
    a_home.later(days=2)
    await _clean(a_home)
    assert not {event.best_frame_id, frame_id} & set(await _frames(a_home))


async def test_the_trash_is_purged_after_its_days(a_home: Home) -> None:
    event = await a_home.thrown_away(score=90)
    a_home.later(hours=23)
    assert (await _clean(a_home)).trash.count == 0
    a_home.later(hours=2)
    size = a_home.media.size((await _frames(a_home))[event.best_frame_id])
    assert (await _clean(a_home)).trash == Amount(1, size or 0)
    assert event.best_frame_id not in await _frames(a_home)


async def test_only_the_removal_of_a_cameras_last_event_is_told(a_home: Home) -> None:
    first, second = await a_home.ended_event(score=10), await a_home.ended_event(score=35)
    a_home.later(days=1, seconds=1)
    seen = a_home.announced.count
    await _clean(a_home)
    assert (await _kinds(a_home), a_home.announced.count) == ([], seen)
    a_home.later(days=1)
    await _clean(a_home)
    async with a_home.database.reading() as connection:
        (told,) = await announcements.after(connection, 0, limit=10) or ()
        state = await cameras.state(connection, "front_door", judged=True)
    assert told.announcement.kind is AnnouncementKind.EVENT_REMOVED
    assert (told.announcement.removed_event_id, told.announcement.event) == (second.id, None)
    assert told.announcement.camera == state
    assert state is not None
    assert state.last_event_id is None
    assert a_home.announced.count == seen + 1
    assert first.id != second.id


async def test_originals_go_only_where_the_owner_wants_it_and_only_unchanged(a_home: Home) -> None:
    ids = [await a_home.frame() for _ in range(6)]
    names = ["same.jpg", "changed.jpg", "touched.jpg", "linked.jpg", "below/link.jpg", "no_copy.jpg"]
    files = [await a_home.original(id_, f"front_door/{name}") for id_, name in zip(ids, names, strict=True)]
    same, changed, touched, linked, below, no_copy = files
    outside = a_home.settings.data_dir / "outside"
    changed.write_bytes(b"another content")
    os.utime(touched, ns=(1, 1))
    linked.rename(outside)
    linked.symlink_to(outside)
    below.parent.rename(a_home.settings.data_dir / "elsewhere")
    below.parent.symlink_to(a_home.settings.data_dir / "elsewhere", target_is_directory=True)
    (a_home.media.root / (await _frames(a_home))[ids[-1]]).unlink()
    a_home.later(days=1, seconds=1)
    kept = Upkeep(
        a_home.settings.model_copy(update={"retention": RetentionSettings()}),
        a_home.database,
        a_home.media,
        announced=a_home.announced,
        health=a_home.health,
        clock=a_home.clock,
        judged=lambda: True,
    )
    assert (await kept.housekeeping.clean()).originals == Amount()
    assert same.exists()
    report = await _clean(a_home)
    assert report.originals == Amount(1, 100)
    assert not same.exists()
    assert all(file.exists() for file in (changed, touched, linked, below, no_copy, outside))
    async with a_home.database.reading() as connection:  # what went is not admitted again if it comes back
        row = (await connection.execute(select(arrival_table).where(arrival_table.c.path.like("%same.jpg")))).one()
        assert await arrivals.unseen(connection, [FileVersion(row.path, row.size, row.modified_ns)]) == []


async def test_originals_of_another_root_go_too(make_home: MakeHome, tmp_path: Path) -> None:
    async with make_home() as made:
        await made.camera()
        frame_id = await made.frame()
        file = tmp_path / "second" / "garden" / "1.jpg"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"content")
        strange = tmp_path / "third" / "1.jpg"
        strange.parent.mkdir()
        strange.write_bytes(b"content")
        async with made.database.writing() as connection:
            for path in (file, strange):
                version = FileVersion.of(str(path), path.lstat())
                await arrivals.record(connection, [arrivals.Arrival(version, START, "garden", frame_id)])
        ingest = IngestSettings(more_roots=(WatchRoot(path=tmp_path / "second"),))
        upkeep = Upkeep(
            made.settings.model_copy(update={"ingest": ingest}),
            made.database,
            made.media,
            announced=made.announced,
            health=made.health,
            clock=made.clock,
            judged=lambda: True,
        )
        made.later(days=1, seconds=1)
        assert (await upkeep.housekeeping.clean()).originals == Amount(1, 7)
        assert (file.exists(), strange.exists()) == (False, True)
        assert ("cameras", tmp_path / "second") in upkeep.places


async def test_an_original_with_a_name_that_is_no_text_goes_too(a_home: Home) -> None:
    frame_id = await a_home.frame()
    folder = a_home.settings.watch_folder / "front_door"
    folder.mkdir(parents=True)
    file = Path(os.fsdecode(os.fsencode(folder) + b"/t\xfcr.jpg"))
    file.write_bytes(b"content")
    version = FileVersion.of("front_door/t\\xfcr.jpg", file.lstat())
    async with a_home.database.writing() as connection:
        await arrivals.record(connection, [arrivals.Arrival(version, START, "front_door", frame_id)])
    a_home.later(days=1, seconds=1)
    assert (await _clean(a_home)).originals.count == 1
    assert not file.exists()


async def test_notes_about_files_that_are_gone_are_forgotten_and_others_never(make_home: MakeHome) -> None:
    async with make_home(RetentionSettings(arrivals_days=90)) as made:
        await made.camera()
        present = await made.original(await made.frame(), "front_door/present.jpg")
        await made.refuse("front_door/gone.jpg")
        await made.refuse("away/whose_folder_is_not_mounted.jpg")
        await made.refuse("not_in_a_camera.jpg")
        await made.refuse("/other/root/garden/1.jpg")
        await made.refuse("front_door/../front_door/gone.jpg")
        made.later(days=90)
        assert (await _clean(made)).arrivals == 0
        made.later(seconds=1)
        assert (await _clean(made)).arrivals == 1
        present.unlink()
        assert (await _clean(made)).arrivals == 1
        async with made.database.reading() as connection:
            left = set((await connection.execute(select(arrival_table.c.path))).scalars())
    assert left == {
        "away/whose_folder_is_not_mounted.jpg",
        "not_in_a_camera.jpg",
        "/other/root/garden/1.jpg",
        "front_door/../front_door/gone.jpg",
    }


async def test_a_clip_loses_its_file_after_its_days_and_goes_with_its_last_frame(make_home: MakeHome) -> None:
    async with make_home(RetentionSettings(low=3, frames_days=2, clips_days=1)) as made:
        await made.camera()
        shown, plain = await made.ended_event(score=10), await made.frame()
        for number, frame_id in enumerate((shown.best_frame_id, plain, None)):
            path = made.media.write("front_door", f"c{number}", "mp4", bytes(1000))
            async with made.database.writing() as connection:
                values = {
                    "id": number + 1,
                    "camera_id": "front_door",
                    "content_hash": f"c{number}",
                    "media_path": path,
                    "captured_at": START,
                    "arrived_at": START + timedelta(days=5 if number == 1 else 0),
                    "duration_seconds": 3.0,
                    "width": 64,
                    "height": 48,
                    "size_bytes": 1000,
                }
                await connection.execute(clips.insert().values(**values))
                of_clip = update(frame_table).where(frame_table.c.id == frame_id)
                await connection.execute(of_clip.values(clip_id=number + 1))

        async def kept() -> dict[int, bool]:
            async with made.database.reading() as connection:
                return {row.id: row.pruned_at is None for row in await connection.execute(select(clips))}

        await made.frame()
        made.later(days=1, seconds=1)
        assert (await made.upkeep.housekeeping.clean()).clips == Amount(2, 2000)
        assert await kept() == {1: False, 2: True}  # the third had no frames
        made.later(days=1)
        assert (await made.upkeep.housekeeping.clean()).frames.count == 1
        assert await kept() == {1: False}  # the second went with its only frame
        made.later(days=1)
        assert (await made.upkeep.housekeeping.clean()).events[RiskLevel.LOW].count == 1
        assert await kept() == {}
        assert list(made.media.root.rglob("*.mp4")) == []


async def test_a_clip_that_was_not_kept_at_all_goes_without_a_file(
    a_home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    clip_id = await a_home.clip(b"a video", "mp4", await a_home.frame())
    async with a_home.database.writing() as connection:
        await connection.execute(update(clips).values(pruned_at=START, media_path=""))
    a_home.later(days=1, seconds=1)
    assert (await _clean(a_home)).frames.count == 1
    async with a_home.database.reading() as connection:
        assert (await connection.execute(select(clips.c.id).where(clips.c.id == clip_id))).all() == []
    assert "cannot be deleted" not in caplog.text


async def test_orphans_are_deleted_when_they_are_a_day_old(a_home: Home) -> None:
    await a_home.frame()
    orphan = a_home.media.root / a_home.media.write("front_door", "abc", "jpg", b"of a crash")
    part = orphan.with_name(".half.part")
    part.write_bytes(b"half")
    strange = a_home.media.root / "nobody" / "a" / "b.txt"
    strange.parent.mkdir(parents=True)
    strange.write_bytes(b"strange")
    outside = a_home.settings.data_dir / "outside.txt"
    outside.write_bytes(b"stays")
    link = a_home.media.root / "nobody" / "link"
    link.symlink_to(outside)
    os.utime(link, (1, 1), follow_symlinks=False)
    assert (await _clean(a_home)).orphans.count == 1  # the link alone is old
    assert (outside.read_bytes(), link.is_symlink()) == (b"stays", False)
    a_home.later(hours=25)
    assert (await _clean(a_home)).orphans == Amount(3, len(b"of a crash" + b"half" + b"strange"))
    assert not orphan.exists() | part.exists() | strange.exists()


async def test_a_frame_whose_file_is_gone_is_noted_until_it_is_back(a_home: Home) -> None:
    frame_id, newest = await a_home.frame(), await a_home.frame()
    path = a_home.media.root / (await _frames(a_home))[newest]
    aside = path.rename(a_home.settings.data_dir / "aside.jpg")
    report = await a_home.upkeep.housekeeping.clean()
    assert report.missing == 1
    component = next(item for item in a_home.health.components if item.name == "cleanup")
    assert component.state is HealthState.DEGRADED
    assert component.last_error == "1 pictures have lost their files."
    async with a_home.database.reading() as connection:
        latest = await frames.latest(connection, "front_door")
    assert latest is not None
    assert latest.id == frame_id
    aside.rename(path)
    assert (await a_home.upkeep.housekeeping.clean()).missing == 0
    async with a_home.database.reading() as connection:
        latest = await frames.latest(connection, "front_door")
    assert latest is not None
    assert latest.id == newest


async def test_a_media_folder_that_does_not_fit_the_database_is_left_alone(a_home: Home) -> None:
    for number in range(101):
        a_home.media.write("front_door", f"{number:03}", "jpg", b"newer than the database")
    a_home.later(hours=25)
    report = await _clean(a_home)
    assert (report.orphans.count, report.warning is not None) == (0, True)
    assert "hsi orphans --delete" in (report.warning or "")
    assert len(list(a_home.media.root.rglob("???.jpg"))) == 101
    strays = await a_home.upkeep.cleaner.strays()
    assert (await a_home.upkeep.housekeeping.delete_orphans(strays)).count == 101


async def test_a_media_folder_that_is_away_is_not_taken_for_empty(a_home: Home) -> None:
    for _ in range(101):
        await a_home.frame()
    a_home.media.root.rename(a_home.settings.data_dir / "away")
    report = await a_home.upkeep.housekeeping.clean()
    assert (report.missing, report.warning is not None) == (101, True)
    async with a_home.database.reading() as connection:
        pruned = select(func.count()).select_from(frame_table).where(frame_table.c.pruned_at.is_not(None))
        assert (await connection.execute(pruned)).scalar_one() == 0


async def test_a_stop_does_not_wait_for_a_large_media_folder(a_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        a_home.media.write("front_door", f"{number:03}", "jpg", b"picture")
    looking, cancelled, ended = threading.Event(), threading.Event(), threading.Event()
    relative_to = Path.relative_to

    def slow(self: Path, other: Path) -> Path:
        looking.set()
        assert cancelled.wait(10)
        return relative_to(self, other)

    def noted(*arguments: object) -> object:
        try:
            return present_files(*arguments)  # type: ignore[arg-type]
        except InterruptedError:
            ended.set()
            raise

    present_files = orphans.present_files
    monkeypatch.setattr(orphans, "present_files", noted)
    scanning = asyncio.create_task(a_home.upkeep.cleaner.strays())
    with monkeypatch.context() as patch:
        patch.setattr(Path, "relative_to", slow)
        await asyncio.to_thread(looking.wait, 10)
        scanning.cancel()
        await asyncio.gather(scanning, return_exceptions=True)
        cancelled.set()
        assert await asyncio.to_thread(ended.wait, 10)


async def test_one_cleans_at_a_time_and_a_dead_one_not_for_ever(a_home: Home) -> None:
    now = a_home.clock.now()
    async with a_home.database.writing() as connection:
        assert await chores.take(connection, "cleanup", "another process", now)
    for cleaning in (a_home.upkeep.housekeeping.clean, a_home.upkeep.housekeeping.empty_trash):
        with pytest.raises(CleanupBusyError, match="Try again"):
            await cleaning()
    a_home.clock.move(minutes=5, seconds=1)
    await a_home.upkeep.housekeeping.clean()
    a_home.clock.move(days=-1)  # a clock that was put back must not keep everybody out for a day
    async with a_home.database.writing() as connection:
        assert await chores.take(connection, "cleanup", "another process", now)
    await a_home.upkeep.housekeeping.clean()


async def test_who_has_lost_its_turn_stops(a_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    frame_ids = [await a_home.frame() for _ in range(250)]
    a_home.later(days=1, seconds=1)
    delete = a_home.media.delete

    async def take_over() -> None:
        a_home.clock.move(minutes=6)
        async with a_home.database.writing() as connection:
            await chores.take(connection, "cleanup", "another process", a_home.clock.now())

    loop, overtaken = asyncio.get_running_loop(), False

    def slow(path: str) -> int | None:
        nonlocal overtaken
        if not overtaken:
            overtaken = True
            asyncio.run_coroutine_threadsafe(take_over(), loop).result()
        return delete(path)

    monkeypatch.setattr(a_home.media, "delete", slow)
    with pytest.raises(CleanupBusyError):
        await a_home.upkeep.housekeeping.clean()
    assert len(set(frame_ids) & set(await _frames(a_home))) == 250 - FRAMES_AT_ONCE


async def test_a_missed_night_is_made_up_for_and_a_done_one_is_not_repeated(
    a_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The home's clock shows 8:00 at the start; cleanup is at 3:00."""
    monkeypatch.setattr(housekeeping, "LOOK_SECONDS", 0.01)
    cleaned: list[datetime] = []
    looked = asyncio.Event()
    clean = a_home.upkeep.housekeeping.clean
    done_at = chores.done_at

    async def noted() -> CleanupReport:
        cleaned.append(a_home.clock.now())
        return await clean()

    async def seen(*arguments: object) -> datetime | None:
        looked.set()
        return await done_at(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(a_home.upkeep.housekeeping, "clean", noted)
    monkeypatch.setattr(chores, "done_at", seen)
    running = asyncio.create_task(a_home.upkeep.housekeeping.run())

    async def looks(times: int) -> None:
        for _ in range(times):
            looked.clear()
            async with asyncio.timeout(10):
                await looked.wait()

    await looks(3)
    assert len(cleaned) == 1  # never before
    a_home.clock.move(hours=18)  # 2:00
    await looks(2)
    assert len(cleaned) == 1
    a_home.clock.move(hours=1)  # 3:00
    await looks(3)
    assert len(cleaned) == 2
    a_home.clock.move(days=3)
    await looks(3)
    assert len(cleaned) == 3
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def _until_cleanup_is(made: Home, state: HealthState) -> None:
    async with asyncio.timeout(10):
        while all((item.name, item.state) != ("cleanup", state) for item in made.health.components):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_database_that_fails_is_said_and_tried_again(a_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "LOOK_SECONDS", 0.01)
    prune, failed = announcements.prune, asyncio.Event()

    async def fail(_connection: object) -> int:
        failed.set()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(announcements, "prune", fail)
    running = asyncio.create_task(a_home.upkeep.housekeeping.run())
    await failed.wait()
    await _until_cleanup_is(a_home, HealthState.DEGRADED)
    component = next(item for item in a_home.health.components if item.name == "cleanup")
    assert "No space left" in (component.last_error or "")
    monkeypatch.setattr(announcements, "prune", prune)
    await _until_cleanup_is(a_home, HealthState.OK)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_feedback_goes_when_it_is_two_years_old(a_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    await a_home.camera()
    event = await a_home.ended_event()
    like = Signature("front_door", CameraPlace.OTHER, None, False, frozenset())
    async with a_home.database.writing() as connection:
        await feedback.give(connection, event.id, Experience(Opinion(FeedbackKind.CORRECT), START, like, 20, False))
    monkeypatch.setattr(housekeeping, "LOOK_SECONDS", 0.01)
    for days, left in ((729, 1), (2, 0)):
        a_home.clock.move(days=days)
        a_home.health.report("cleanup", HealthState.DOWN)
        running = asyncio.create_task(a_home.upkeep.housekeeping.run())
        await _until_cleanup_is(a_home, HealthState.OK)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        async with a_home.database.reading() as connection:
            assert len(await feedback.experiences(connection)) == left


@given(
    st.integers(0, 20 * 366 * 86400).map(lambda seconds: START + timedelta(seconds=seconds)),
    st.integers(0, 23),
    st.sampled_from(
        ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Apia", "Australia/Lord_Howe"]
    ),
)
def test_a_day_has_one_moment_of_cleanup(now: datetime, hour: int, name: str) -> None:
    zone = ZoneInfo(name)
    last, following = cleanup_moments(now, hour, zone)
    assert last <= now < following
    assert timedelta(hours=22) <= following - last <= timedelta(hours=26)
    assert following.astimezone(zone).hour in {hour, (hour + 1) % 24}
    assert is_due(None, now, hour, zone)
    assert is_due(last - timedelta(seconds=1), now, hour, zone)
    assert is_due(now + timedelta(seconds=1), now, hour, zone)
    assert not is_due(last, now, hour, zone)
    assert not is_due(now, now, hour, zone)


@given(st.integers(1, 98), st.integers(1, 98), st.integers(1, 98))
def test_the_scores_of_the_levels_cover_everything_once(low: int, high: int, more: int) -> None:
    medium, high, critical = sorted({low, high + 1, more + 2, 99, 100})[:3]
    thresholds = LevelThresholds(medium, high, critical)
    assert [score for level in RiskLevel for score in scores_of(level, thresholds)] == list(range(101))
