# SPDX-License-Identifier: AGPL-3.0-or-later
"""Wrong camera clocks, late uploads and imported pictures: what happens now stays one story."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from inference_server.core.announcement import Announcement, AnnouncementKind
from inference_server.core.detection import Detection
from inference_server.core.event import EndReason, Event
from inference_server.core.frame import FrameSource, TimeSource
from inference_server.core.message import Priority
from inference_server.ingest.admission import AdmittedFile, Arriving, Gate
from inference_server.ingest.camera_reader import CameraReader
from inference_server.ingest.known_cameras import KnownCameras
from inference_server.observability.health import HealthState
from inference_server.storage import cameras, frames
from tests.support.bench import CAMERA, Bench, a_person
from tests.support.home import START
from tests.support.pictures import TINY_ALLOWED, plain_png

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SECOND = timedelta(seconds=1)
DETECTED, UPDATED = AnnouncementKind.EVENT_DETECTED, AnnouncementKind.EVENT_UPDATED
ENDED = AnnouncementKind.EVENT_ENDED


class Camera:
    """A camera that uploads files named after its own clock."""

    def __init__(self, made: Bench, behind: timedelta = timedelta(0)) -> None:
        """Take by how much its clock is behind."""
        self._bench = made
        self.behind = behind
        self.known = KnownCameras(ZoneInfo("UTC"))
        self._gate = Gate(made.media, TINY_ALLOWED, self.known)
        self._number = 1000

    async def send(self, *seen: Detection, taken: datetime | None = None, upload: float = 1.5) -> AdmittedFile:
        """Take a picture now (or upload one that was taken before) and let the server do all work that it makes."""
        taken_at = taken or self._bench.clock.now()
        self._bench.clock.move(seconds=upload)
        self._number += 1
        self._bench.detector.script[self._number] = seen or (a_person(),)
        outcome = self._gate.admit(
            Arriving(
                content=plain_png(self._number),
                camera_id=CAMERA,
                folder=CAMERA,
                name=f"{taken_at - self.behind:%Y-%m-%dT%H-%M-%S.%f}.png",
                arrived_at=self._bench.clock.now(),
                source=FrameSource.FOLDER,
            )
        )
        await self._bench.take(outcome)
        await self._bench.work()
        return outcome


def _span(event: Event) -> tuple[float, float, float | None]:
    """Return when an event started, last saw something and ended, in seconds after the start."""
    ended = None if event.ended_at is None else (event.ended_at - START).total_seconds()
    return (event.started_at - START).total_seconds(), (event.last_detection_at - START).total_seconds(), ended


def _kinds(told: Sequence[Announcement]) -> list[tuple[AnnouncementKind, int | None]]:
    return [(item.kind, item.event.id if item.event else None) for item in told]


@pytest.mark.parametrize(
    "behind", [0 * HOUR, 20 * SECOND, -20 * SECOND, HOUR, -HOUR, DAY, -DAY, 7305 * DAY, -7305 * DAY], ids=str
)
async def test_a_live_camera_with_any_clock_makes_one_event_of_now(a_bench: Bench, behind: timedelta) -> None:
    camera = Camera(a_bench, behind)
    for _ in range(12):
        await camera.send()
        a_bench.clock.move(seconds=2)
        (event,) = await a_bench.events()
        assert event.is_open
    (event,) = await a_bench.events()
    started, last, _ = _span(event)
    assert -1 <= started <= 5
    assert 35 <= last <= 42
    a_bench.clock.move(seconds=40)
    await a_bench.work()
    (event,) = await a_bench.events()
    assert event.end_reason is EndReason.IDLE
    assert (await a_bench.state()).open_event_id is None
    assert _span(event)[2] == last + 30


async def test_a_clock_that_was_right_and_jumps_is_followed_within_a_minute(a_bench: Bench) -> None:
    camera = Camera(a_bench)
    await camera.send()
    a_bench.clock.move(minutes=10)
    camera.behind = HOUR
    for _ in range(30):
        await camera.send()
        a_bench.clock.move(seconds=3)
    outcome = await camera.send()
    assert timedelta(0) <= outcome.arrived_at - outcome.captured_at <= 3 * SECOND
    assert (await a_bench.events())[-1].is_open


async def test_a_wrong_clock_is_said_in_health_and_known_after_a_restart(a_bench: Bench) -> None:
    camera = Camera(a_bench, HOUR + 5 * 60 * SECOND)
    for _ in range(6):
        await camera.send()
        a_bench.clock.move(seconds=3)
    reader = CameraReader(a_bench.database, camera.known, a_bench.health)
    await reader.read()
    (report,) = [component for component in a_bench.health.components if component.name == "cameras"]
    assert report.state is HealthState.DEGRADED
    assert report.last_error == f"The clock of {CAMERA} is 1 h 5 min behind."
    assert "hsi cameras set" in str(report.remedy)
    restarted = Camera(a_bench, camera.behind)
    restarted._number = 2000
    await CameraReader(a_bench.database, restarted.known, a_bench.health).read()
    outcome = await restarted.send()
    assert outcome.time_source is TimeSource.FILE_NAME
    assert outcome.arrived_at - outcome.captured_at <= 3 * SECOND
    restarted.behind = timedelta(0)
    await restarted.send()
    await reader.read()
    (report,) = [component for component in a_bench.health.components if component.name == "cameras"]
    assert report.state is HealthState.OK


async def test_a_removed_camera_has_no_clock_to_complain_of(a_bench: Bench) -> None:
    camera = Camera(a_bench, DAY)
    for _ in range(6):
        await camera.send()
        a_bench.clock.move(seconds=3)
    async with a_bench.database.writing() as connection:
        assert set(await cameras.clock_offsets(connection)) == {CAMERA}
        await cameras.remove(connection, CAMERA, a_bench.clock.now())
        assert await cameras.clock_offsets(connection) == {}


async def test_a_buffer_that_empties_after_an_outage_becomes_events_of_its_own_times(a_bench: Bench) -> None:
    camera = Camera(a_bench)
    await camera.send()
    a_bench.clock.move(minutes=20)
    await a_bench.work()
    await a_bench.told()
    buffered = [START + timedelta(minutes=5, seconds=10 * number) for number in range(3)]
    for taken in buffered:
        await camera.send(taken=taken, upload=0.2)
    second = (await a_bench.events())[1]
    assert _span(second) == (300, 320, None)
    assert _kinds(await a_bench.told()) == [(DETECTED, second.id), (UPDATED, second.id), (UPDATED, second.id)]
    a_bench.clock.move(seconds=31)
    await a_bench.work()
    assert _span((await a_bench.events())[-1]) == (300, 320, 350)


async def test_a_buffer_that_empties_while_something_happens_does_not_disturb_that(a_bench: Bench) -> None:
    camera = Camera(a_bench)
    await camera.send()
    a_bench.clock.move(minutes=20)
    await a_bench.work()
    await camera.send()
    await a_bench.told()
    live = (await a_bench.events())[-1]
    for number in range(4):
        await camera.send(a_person(0.5 + number / 10), taken=START + timedelta(minutes=5, seconds=number), upload=0.2)
        await camera.send()
    _, past, live_now = await a_bench.events()
    assert (live_now.id, live_now.is_open, live_now.frame_count) == (live.id, True, 5)
    assert _span(past) == (300, 303, 333)
    assert past.frame_count == 4
    told = await a_bench.told()
    kinds = _kinds(told)
    assert [kind for kind in kinds if kind[1] == past.id] == [(DETECTED, past.id), (ENDED, past.id)] + [
        (UPDATED, past.id)
    ] * 3
    assert [kind for kind in kinds if kind[1] == live.id] == [(UPDATED, live.id)] * 4
    assert all(item.camera and item.camera.open_event_id == live.id for item in told)
    assert (await a_bench.state()).last_event_id == live.id


async def _import(made: Bench, *days_and_seconds: tuple[float, float], work: bool = True) -> None:
    for days, seconds in days_and_seconds:
        at = START - timedelta(days=days) + timedelta(seconds=seconds)
        await made.take(made.picture(a_person(), at=at, arrived_at=at + HOUR, source=FrameSource.IMPORT))
    if work:
        await made.work()


async def test_imported_pictures_become_events_of_their_times_and_nobody_is_told(a_bench: Bench) -> None:
    await a_bench.see()
    await a_bench.told()
    await _import(a_bench, (30, 0), (30, 20), (29, 0), (30, 40), (30, 200))
    spans = sorted(_span(event) for event in await a_bench.events())
    month, later = -30 * 86_400, -29 * 86_400
    assert spans == [
        (month, month + 40, month + 70),
        (month + 200, month + 200, month + 230),
        (later, later, later + 30),
    ]
    assert await a_bench.told() == []
    state = await a_bench.state()
    assert (state.open_event_id, state.last_event_id, state.camera.last_frame_at) == (None, None, START)
    assert set((await a_bench.detections()).values()) == {event.id for event in await a_bench.events()}


async def test_imported_pictures_of_an_event_in_any_order_and_number_make_full_events(a_bench: Bench) -> None:
    await _import(a_bench, *[(30, second) for second in (40, 0, 20, 60, 10, 30, 50)])
    events = await a_bench.events()
    assert sum(event.frame_count for event in events) == 7
    assert all(not event.is_open for event in events)
    await _import(a_bench, *[(10, number) for number in range(60)])
    assert max(event.frame_count for event in await a_bench.events()) == 50


async def test_an_import_neither_joins_nor_ends_nor_delays_what_happens_now(a_bench: Bench) -> None:
    await a_bench.see(a_person())
    await _import(a_bench, (30, 0), (0, -10), (0, -3500))
    live = (await a_bench.events())[-1]
    assert (live.is_open, live.frame_count) == (True, 1)
    await _import(a_bench, (20, 0), (20, 5), work=False)
    a_bench.clock.move(seconds=30)
    await a_bench.work(a_bench.close)
    ended = (await a_bench.events())[-1]
    assert (ended.id, ended.is_open, _span(ended)[2]) == (live.id, False, 30)
    assert (await a_bench.broker.status()).live == 0
    assert (await a_bench.broker.status()).depth == 2
    await a_bench.work()
    assert len([event for event in await a_bench.events() if event.is_open]) == 0


async def test_live_pictures_are_judged_before_imported_ones(a_bench: Bench) -> None:
    await _import(a_bench, (30, 0), work=False)
    await a_bench.take(a_bench.picture(a_person()))
    messages = await a_bench.broker.claim(a_bench.detect.name, 10)
    assert [message.work.priority for message in messages] == [Priority.LIVE, Priority.HISTORY]


async def test_what_told_the_time_and_how_large_a_picture_is_are_stored(a_bench: Bench) -> None:
    outcome = await Camera(a_bench).send()
    async with a_bench.database.reading() as connection:
        frame_id = await frames.find_id(connection, CAMERA, outcome.picture.content_hash)
        assert frame_id is not None
        frame = await frames.get(connection, frame_id)
    assert frame is not None
    assert (frame.source, frame.time_source) == (FrameSource.FOLDER, TimeSource.FILE_NAME)
    assert (frame.captured_at, frame.arrived_at) == (START, START + 1.5 * SECOND)
