# SPDX-License-Identifier: AGPL-3.0-or-later
"""From pictures to events: they open, go on, escalate and end, at exact times, and everything is told."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from inference_server.core.announcement import Announcement, AnnouncementKind
from inference_server.core.assessment import RiskLevel
from inference_server.core.camera import camera_name
from inference_server.core.detection import Box, Detection, Label
from inference_server.core.event import EndReason, Event
from inference_server.settings import BatchSettings
from inference_server.storage import cameras, messages
from tests.support.bench import CAMERA, Bench, a_person, bench
from tests.support.home import START, MovableClock

ADDED, UPDATED = AnnouncementKind.CAMERA_ADDED, AnnouncementKind.CAMERA_UPDATED
DETECTED, CHANGED = AnnouncementKind.EVENT_DETECTED, AnnouncementKind.EVENT_UPDATED
ESCALATED, ENDED = AnnouncementKind.EVENT_ESCALATED, AnnouncementKind.EVENT_ENDED

IDLE = timedelta(seconds=30)
WINDOW = timedelta(seconds=90)


def _after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def _event(told: Announcement) -> Event:
    assert told.event is not None
    return told.event


async def _ends(bench: Bench) -> list[tuple[float, float, EndReason | None]]:
    """Return start, end (seconds after the beginning of the test) and reason of each event; an open one ends at -1."""
    return [
        (
            (event.started_at - START).total_seconds(),
            (event.ended_at - START).total_seconds() if event.ended_at else -1,
            event.end_reason,
        )
        for event in await bench.events()
    ]


async def test_a_picture_with_a_person_opens_an_event(a_bench: Bench) -> None:
    await a_bench.see(a_person(0.9))
    added, detected = await a_bench.told()
    assert (added.kind, detected.kind) == (ADDED, DETECTED)
    event = _event(detected)
    assert [event] == await a_bench.events()
    assert (event.camera_id, event.started_at, event.last_detection_at) == (CAMERA, START, START)
    assert (event.frame_count, len(event.tracks), event.is_open) == (1, 1, True)
    assert event.assessment.score == 20
    assert detected.camera == await a_bench.state()
    assert detected.camera is not None
    assert (detected.camera.score, detected.camera.occupied_by) == (20, {"person"})
    assert (detected.camera.open_event_id, detected.camera.last_event_id) == (event.id, event.id)
    assert set((await a_bench.detections()).values()) == {event.id}


async def test_an_empty_picture_only_updates_the_camera(a_bench: Bench) -> None:
    await a_bench.see()
    _, updated = await a_bench.told()
    assert updated.kind is UPDATED
    assert updated.event is None
    assert updated.camera is not None
    assert (updated.camera.score, updated.camera.camera.last_frame_at, updated.camera.last_frame_id) == (0, START, 1)
    assert await a_bench.events() == []


async def test_an_empty_picture_neither_extends_nor_ends_an_event(a_bench: Bench) -> None:
    await a_bench.see(a_person())
    a_bench.clock.move(seconds=20)
    await a_bench.see()
    assert (await a_bench.told())[-1].kind is UPDATED
    (event,) = await a_bench.events()
    assert (event.last_detection_at, event.frame_count, event.is_open) == (START, 1, True)


async def test_a_further_picture_changes_the_event_and_keeps_the_best_frame(a_bench: Bench) -> None:
    for seconds, confidence in ((0, 0.6), (1, 0.95), (2, 0.7)):
        await a_bench.see(a_person(confidence), at=_after(seconds))
    assert [item.kind for item in await a_bench.told()] == [ADDED, DETECTED, CHANGED, CHANGED]
    (event,) = await a_bench.events()
    assert (event.frame_count, event.best_frame_id, event.last_detection_at) == (3, 2, _after(2))
    (track,) = event.tracks
    assert (track.frames, track.confidence, track.last_seen_at) == (3, 0.95, _after(2))


async def test_a_rising_level_is_told_once_with_the_level_before(a_bench: Bench) -> None:
    for seconds in range(0, 80, 10):
        a_bench.clock.time = _after(seconds)
        await a_bench.see(a_person())
    told = await a_bench.told()
    assert [item.kind for item in told] == [ADDED, DETECTED, *[CHANGED] * 5, ESCALATED, CHANGED]
    escalated = told[7]
    assert _event(escalated).assessment.score == 30
    assert escalated.previous_level is RiskLevel.LOW
    assert escalated.camera is not None
    assert escalated.camera.score == 30


async def test_the_homes_time_zone_decides_what_night_is(tmp_path: Path) -> None:
    async with bench(tmp_path, zone=ZoneInfo("Asia/Tokyo")) as in_tokyo:
        in_tokyo.clock.time = START.replace(hour=14)  # 23:00 in Tokyo
        await in_tokyo.see(a_person())
        (event,) = await in_tokyo.events()
    assert event.assessment.score == 35
    assert "23:00" in event.assessment.reasoning


async def test_an_event_ends_when_nothing_was_seen_for_the_idle_time_and_not_before(a_bench: Bench) -> None:
    await a_bench.see(a_person())
    await a_bench.told()
    a_bench.clock.time = START + IDLE - timedelta(microseconds=1)
    await a_bench.work()
    assert await a_bench.told() == []
    a_bench.clock.time = START + IDLE
    await a_bench.work()
    (ended,) = await a_bench.told()
    assert ended.kind is ENDED
    assert (_event(ended).ended_at, _event(ended).end_reason) == (START + IDLE, EndReason.IDLE)
    assert ended.camera is not None
    assert (ended.camera.score, ended.camera.open_event_id, ended.camera.occupied_by) == (0, None, frozenset())
    assert ended.camera.last_event_id == _event(ended).id
    assert (await a_bench.broker.status()).depth == 0


async def test_an_end_that_is_noticed_late_still_has_its_exact_time(a_bench: Bench) -> None:
    await a_bench.see(a_person())
    a_bench.clock.move(hours=8)
    await a_bench.work()
    assert await _ends(a_bench) == [(0, 30, EndReason.IDLE)]


async def test_each_detection_moves_the_end(a_bench: Bench) -> None:
    await a_bench.see(a_person())
    a_bench.clock.time = _after(29)
    await a_bench.see(a_person())
    a_bench.clock.time = _after(30)
    await a_bench.work()
    assert await _ends(a_bench) == [(0, -1, None)]
    a_bench.clock.time = _after(59)
    await a_bench.work()
    assert await _ends(a_bench) == [(0, 59, EndReason.IDLE)]


async def test_a_picture_at_the_very_end_still_belongs_to_the_event(a_bench: Bench) -> None:
    await a_bench.take(a_bench.picture(a_person()), a_bench.picture(a_person(), at=START + IDLE))
    a_bench.clock.time = START + IDLE
    await a_bench.work()
    (event,) = await a_bench.events()
    assert event.frame_count == 2


async def test_an_event_ends_at_its_window_however_much_goes_on(a_bench: Bench) -> None:
    for seconds in range(0, 120, 10):
        a_bench.clock.time = _after(seconds)
        await a_bench.see(a_person())
    assert await _ends(a_bench) == [(0, 90, EndReason.WINDOW), (100, -1, None)]


async def test_an_event_ends_when_it_is_full(tmp_path: Path) -> None:
    async with bench(tmp_path, batch=BatchSettings(max_frames=3)) as small:
        for seconds in range(7):
            small.clock.time = _after(seconds)
            await small.see(a_person())
        assert await _ends(small) == [(0, 2, EndReason.SIZE), (3, 5, EndReason.SIZE), (6, -1, None)]
        kinds = [item.kind for item in await small.told()]
        assert kinds == [ADDED, *[DETECTED, CHANGED, CHANGED, ENDED] * 2, DETECTED]
        small.clock.move(hours=1)
        await small.work()
        assert [item.kind for item in await small.told()] == [ENDED]


async def test_an_event_of_one_frame_that_is_full_opens_and_ends_at_once(tmp_path: Path) -> None:
    async with bench(tmp_path, batch=BatchSettings(max_frames=1)) as single:
        await single.see(a_person())
        assert [item.kind for item in await single.told()] == [ADDED, DETECTED, ENDED]
        assert await _ends(single) == [(0, 0, EndReason.SIZE)]


async def test_a_timer_survives_a_restart(tmp_path: Path) -> None:
    clock = MovableClock()
    async with bench(tmp_path, clock) as before:
        await before.see(a_person())
        await before.told()
    clock.time = START + IDLE - timedelta(seconds=1)
    async with bench(tmp_path, clock) as after:
        await after.broker.recover()
        await after.work()
        assert (await after.told())[-1].kind is DETECTED
        clock.time = START + IDLE
        await after.work()
        assert [item.kind for item in await after.told()] == [ENDED]
        assert await _ends(after) == [(0, 30, EndReason.IDLE)]


async def test_an_event_that_began_before_the_clock_was_set_back_ends(a_bench: Bench) -> None:
    await a_bench.see(a_person())
    await a_bench.told()
    a_bench.clock.time = START - timedelta(days=1)
    await a_bench.work()
    assert [item.kind for item in await a_bench.told()] == [ENDED]
    assert (await a_bench.state()).open_event_id is None


async def test_an_event_goes_on_after_a_restart(tmp_path: Path) -> None:
    clock = MovableClock()
    async with bench(tmp_path, clock) as before:
        await before.see(a_person(0.95))
    clock.time = _after(10)
    async with bench(tmp_path, clock) as after:
        after._pictures = 100
        await after.see(a_person(0.5))
        (event,) = await after.events()
    assert (event.frame_count, event.best_frame_id, len(event.tracks)) == (2, 1, 1)


async def test_a_backlog_is_split_by_the_times_of_its_pictures(a_bench: Bench) -> None:
    seconds = [0, 10, 20, 100, 105, 300, 310, 320, 330, 340, 350, 360, 370, 380, 390, 400]
    await a_bench.take(*[a_bench.picture(a_person(), at=_after(at)) for at in seconds])
    a_bench.clock.move(hours=10)
    await a_bench.work()
    assert await _ends(a_bench) == [
        (0, 50, EndReason.IDLE),
        (100, 135, EndReason.IDLE),
        (300, 390, EndReason.WINDOW),
        (400, 430, EndReason.IDLE),
    ]
    kinds = [item.kind for item in await a_bench.told()]
    assert kinds == [ADDED, *[DETECTED, ENDED] * 3, DETECTED, ENDED]


async def test_a_backlog_gives_the_same_events_whatever_the_size_of_its_groups(tmp_path: Path) -> None:
    ends = []
    for size in (1, 3, 40):
        async with bench(tmp_path / str(size)) as made:
            made.gather.batch_size = size
            await made.take(*[made.picture(a_person(), at=_after(at)) for at in range(0, 400, 7)])
            made.clock.move(hours=1)
            await made.work()
            ends.append([(event.started_at, event.ended_at, event.frame_count) for event in await made.events()])
    assert ends[0] == ends[1] == ends[2]


async def test_an_event_does_not_end_while_pictures_of_its_camera_wait(a_bench: Bench) -> None:
    await a_bench.see(a_person())
    await a_bench.take(a_bench.picture(a_person(), at=_after(20)))
    a_bench.clock.time = _after(40)
    await a_bench.work(a_bench.close)
    await a_bench.work(a_bench.detect)
    a_bench.clock.move(seconds=1)
    await a_bench.work(a_bench.close)
    assert await _ends(a_bench) == [(0, -1, None)]
    await a_bench.work(a_bench.gather)
    a_bench.clock.time = _after(50)
    await a_bench.work()
    assert await _ends(a_bench) == [(0, 50, EndReason.IDLE)]


async def test_pictures_of_another_camera_do_not_hold_an_event_open(a_bench: Bench) -> None:
    await a_bench.see(a_person())
    await a_bench.take(a_bench.picture(a_person(), camera="garden", at=_after(20)))
    a_bench.clock.time = _after(40)
    await a_bench.work(a_bench.close)
    assert await _ends(a_bench) == [(0, 30, EndReason.IDLE)]


async def test_a_timer_that_looked_often_has_not_used_up_its_attempts(a_bench: Bench) -> None:
    await a_bench.see(a_person())
    await a_bench.take(a_bench.picture())
    for seconds in range(40, 60):
        a_bench.clock.time = _after(seconds)
        await a_bench.work(a_bench.close)
    a_bench.clock.move(seconds=1)
    (timer,) = await a_bench.broker.claim(a_bench.close.name, 10)
    assert timer.attempts == 1


async def test_cameras_have_their_own_events(a_bench: Bench) -> None:
    bus = Detection(Label.BUS, 0.8, Box(0, 0, 30, 30))
    await a_bench.take(
        a_bench.picture(a_person(), camera="front"), a_bench.picture(bus, camera="back"), a_bench.picture(camera="side")
    )
    await a_bench.work()
    one, other = sorted(await a_bench.events(), key=lambda event: event.camera_id)
    assert (one.camera_id, one.assessment.summary) == ("back", "A bus by day")
    assert (other.camera_id, other.assessment.summary) == ("front", "A person by day")
    assert (await a_bench.state("side")).open_event_id is None


async def test_a_late_picture_joins_the_open_event_without_stretching_it(a_bench: Bench) -> None:
    await a_bench.see(a_person(), at=_after(100))
    await a_bench.see(a_person(), at=_after(20))
    (event,) = await a_bench.events()
    assert (event.started_at, event.last_detection_at, event.frame_count) == (_after(100), _after(100), 2)
    await a_bench.see(a_person(), at=_after(101))
    (event,) = await a_bench.events()
    assert {factor.name for factor in event.assessment.factors} == {"person_seen"}
    assert min(track.first_seen_at for track in event.tracks) == _after(100)


async def test_a_late_picture_does_not_make_an_event_that_overlaps_the_one_before(a_bench: Bench) -> None:
    await a_bench.see(a_person(), at=_after(0))
    await a_bench.see(a_person(), at=_after(20))
    a_bench.clock.time = _after(50)
    await a_bench.work()
    await a_bench.see(a_person(), at=_after(10))
    first, second = await a_bench.events()
    assert first.ended_at == _after(50)
    assert second.started_at >= first.ended_at
    assert second.last_detection_at >= second.started_at


async def test_an_older_picture_does_not_become_the_cameras_newest(a_bench: Bench) -> None:
    await a_bench.see(at=_after(10))
    newest = (await a_bench.state()).last_frame_id
    await a_bench.see(at=_after(0))
    state = await a_bench.state()
    assert (state.last_frame_id, state.camera.last_frame_at) == (newest, _after(10))


async def test_without_a_detector_a_camera_is_unknown_and_its_pictures_wait(tmp_path: Path) -> None:
    async with bench(tmp_path, detector=False) as blind:
        await blind.take(blind.picture(a_person()))
        assert (await blind.state()).score is None
        assert (await blind.told())[0].camera == await blind.state()
        assert (await blind.broker.status()).depth == 1
        await blind.load_detector()
        await blind.work()
        assert (await blind.state()).score == 20


async def test_the_same_content_twice_is_one_frame(a_bench: Bench) -> None:
    await a_bench.take(a_bench.picture(a_person(), number=7), a_bench.picture(a_person(), number=7))
    await a_bench.take(a_bench.picture(a_person(), number=7, at=_after(5)))
    await a_bench.work()
    (event,) = await a_bench.events()
    assert event.frame_count == 1
    assert a_bench.detector.calls == [[7]]


async def test_the_same_content_on_two_cameras_is_two_frames(a_bench: Bench) -> None:
    await a_bench.take(a_bench.picture(a_person(), number=7), a_bench.picture(a_person(), number=7, camera="garden"))
    await a_bench.work()
    assert len(await a_bench.events()) == 2


async def test_an_intake_that_fails_leaves_nothing(a_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    picture = a_bench.picture(a_person())
    with monkeypatch.context() as patch:
        patch.setattr(messages, "add", fail)
        with pytest.raises(OSError, match="No space left"):
            await a_bench.take(picture)
    async with a_bench.database.reading() as connection:
        assert await cameras.states(connection, judged=True) == ()
    assert await a_bench.told() == []
    await a_bench.take(picture)
    await a_bench.work()
    assert [item.kind for item in await a_bench.told()] == [ADDED, DETECTED]


async def test_a_new_camera_is_announced_once(a_bench: Bench) -> None:
    seen = a_bench.announced.count
    await a_bench.take(a_bench.picture(), a_bench.picture())
    assert a_bench.announced.count > seen
    await a_bench.take(a_bench.picture())
    (added,) = await a_bench.told()
    assert added.kind is ADDED
    assert added.camera is not None
    assert added.camera.camera.name == camera_name(CAMERA) == "Front door"


async def test_a_removed_camera_comes_back_with_its_next_picture(a_bench: Bench) -> None:
    await a_bench.see()
    async with a_bench.database.writing() as connection:
        await cameras.remove(connection, CAMERA, START)
    await a_bench.told()
    await a_bench.see(a_person())
    assert [item.kind for item in await a_bench.told()] == [ADDED, DETECTED]


async def test_what_still_waits_for_a_removed_camera_is_done_in_silence(a_bench: Bench) -> None:
    await a_bench.take(a_bench.picture(a_person()))
    async with a_bench.database.writing() as connection:
        await cameras.remove(connection, CAMERA, START)
    await a_bench.told()
    await a_bench.work()
    a_bench.clock.move(hours=1)
    await a_bench.work()
    assert await a_bench.told() == []
    assert await _ends(a_bench) == [(0, 30, EndReason.IDLE)]


async def test_a_folder_of_broken_unicode_becomes_a_camera(a_bench: Bench) -> None:
    folder = b"\xff\xfe".decode("utf-8", "surrogateescape")
    await a_bench.take(replace(a_bench.picture(camera="camera_12345678"), folder=folder))
    assert (await a_bench.state("camera_12345678")).camera.name.startswith("camera_")
