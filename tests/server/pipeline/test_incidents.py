# SPDX-License-Identifier: AGPL-3.0-or-later
"""Incidents through the pipeline: one story over several cameras, told as it goes on, and over to the second."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random

import numpy as np
import pytest
from sqlalchemy import URL, update

from inference_server.core.announcement import Announcement, AnnouncementKind
from inference_server.core.assessment import AssessmentSource
from inference_server.core.camera import Camera, CameraSettings
from inference_server.core.context import CameraPlace
from inference_server.core.frame import FrameSource
from inference_server.core.incident import Incident
from inference_server.detection.appearance import look_of
from inference_server.detection.detector import Picture
from inference_server.pipeline.incidents import Changed
from inference_server.pipeline.redis_broker import RedisBroker
from inference_server.pipeline.stage import Stage
from inference_server.pipeline.streams import Streams
from inference_server.storage import camera_settings, cameras, events, incidents, retention, trash
from inference_server.storage.events import EventChange
from inference_server.storage.retention import expired_events
from inference_server.storage.tables import detections
from tests.support.bench import CAMERA, Bench, a_person, bench
from tests.support.services import PostgreSql, Redis

STARTED, UPDATED, ENDED, REMOVED = (
    AnnouncementKind.INCIDENT_STARTED,
    AnnouncementKind.INCIDENT_UPDATED,
    AnnouncementKind.INCIDENT_ENDED,
    AnnouncementKind.INCIDENT_REMOVED,
)
WAY = {
    "street": CameraPlace.STREET,
    "drive": CameraPlace.DRIVEWAY,
    "garden": CameraPlace.YARD,
    "door": CameraPlace.ENTRANCE,
}


@pytest.fixture
async def a_way(a_bench: Bench) -> Bench:
    """Give a pipeline whose cameras look at the way in, and one at something else."""
    await _place(a_bench)
    return a_bench


async def _place(made: Bench) -> None:
    async with made.database.writing() as connection:
        for camera_id, place in {**WAY, "shed": CameraPlace.OTHER}.items():
            await cameras.add(connection, Camera(camera_id, camera_id.title(), made.clock.now()))
            await camera_settings.change(connection, camera_id, CameraSettings(place=place))


async def _incidents_told(made: Bench) -> list[Announcement]:
    return [item for item in await made.told_all() if item.kind.is_about_incidents]


async def _stories(made: Bench) -> set[tuple[str, ...]]:
    """Return the cameras of each incident, whose events all name it."""
    found, events = await made.incidents(), await made.events()
    named = {event.id: event.incident_id for event in events}
    assert named == {event_id: one.id for one in found for event_id in one.event_ids}
    for one in found:
        mine = [event for event in events if event.incident_id == one.id]
        assert one.score == max(event.assessment.score for event in mine)
        assert one.started_at == min(event.started_at for event in mine)
        assert one.last_at == max(event.last_detection_at for event in mine)
    return {one.cameras for one in found}


async def _cross(made: Bench, *on: str, pause: float = 40) -> None:
    for camera_id in on:
        await made.see(a_person(), camera=camera_id)
        made.clock.move(seconds=pause)


async def test_who_crosses_three_cameras_is_one_incident_told_in_place(a_way: Bench) -> None:
    await _cross(a_way, "drive", "door", "drive")
    (incident,) = await a_way.incidents()
    assert await _stories(a_way) == {("drive", "door")}
    assert incident.title == "A person: Drive, Door"
    assert incident.summary == "08:00 Drive: a person; 08:00 Door: a person; 08:01 Drive: a person."
    told = await _incidents_told(a_way)
    assert [item.kind for item in told] == [STARTED, UPDATED, UPDATED]
    assert {item.incident.id for item in told if item.incident} == {incident.id}


async def test_an_event_names_its_incident_in_what_is_told_of_it(a_way: Bench) -> None:
    await _cross(a_way, "drive")
    a_way.clock.move(minutes=2)
    await a_way.work()
    told = [item.event for item in await a_way.told() if item.event]
    (incident,) = await a_way.incidents()
    assert len(told) == 2
    assert {event.incident_id for event in told} == {incident.id}


async def test_two_who_have_nothing_to_do_with_each_other_are_two(a_way: Bench) -> None:
    await _cross(a_way, "drive", "shed", "door", "shed", pause=30)
    assert await _stories(a_way) == {("drive", "door"), ("shed",)}


async def test_it_is_over_when_nothing_new_happened_for_a_while_and_not_before(a_way: Bench) -> None:
    await _cross(a_way, "drive", "door", pause=20)
    last = a_way.clock.now() - timedelta(seconds=20)
    await a_way.told_all()
    a_way.clock.time = last + timedelta(minutes=4)
    await a_way.work()
    pause = await a_way.ending.look()
    assert pause == timedelta(seconds=30)
    a_way.clock.time = last + timedelta(minutes=5, seconds=-2)
    assert await a_way.ending.look() == timedelta(seconds=2)
    assert await _incidents_told(a_way) == []
    a_way.clock.time = last + timedelta(minutes=5)
    await a_way.ending.look()
    (ended,) = await _incidents_told(a_way)
    assert (ended.kind, ended.incident) == (ENDED, (await a_way.incidents())[0])
    assert ended.incident is not None
    assert ended.incident.ended_at == last + timedelta(minutes=5)
    await a_way.ending.look()
    assert await _incidents_told(a_way) == []
    assert await a_way.ending.look() == timedelta(seconds=30)


async def test_pictures_of_now_and_of_long_ago_that_come_together_have_their_own(a_way: Bench) -> None:
    before = a_way.clock.now() - timedelta(days=20)
    await a_way.take(
        a_way.picture(a_person(), camera="drive", at=before, source=FrameSource.IMPORT),
        a_way.picture(a_person(), camera="door", at=before + timedelta(seconds=30), source=FrameSource.IMPORT),
        a_way.picture(a_person(), camera="drive"),
    )
    await a_way.work()
    assert await _stories(a_way) == {("drive", "door"), ("drive",)}
    assert [item.kind for item in await _incidents_told(a_way)] == [STARTED]


async def test_pictures_that_wait_decide_whether_it_is_over(a_way: Bench) -> None:
    await _cross(a_way, "drive", pause=60)
    await a_way.work()
    await a_way.take(a_way.picture(a_person(), camera="drive"))
    a_way.clock.move(minutes=10)
    await a_way.ending.look()
    assert (await a_way.incidents())[0].is_open
    await a_way.work()
    await a_way.ending.look()
    (incident,) = await a_way.incidents()
    assert len(incident.event_ids) == 2
    assert incident.ended_at == incident.last_at + timedelta(minutes=5)


async def test_pictures_that_come_late_give_it_as_much_more_time(a_way: Bench) -> None:
    taken = a_way.clock.now()
    a_way.clock.move(seconds=50)
    await a_way.take(a_way.picture(a_person(), camera="drive", at=taken, arrived_at=a_way.clock.now()))
    await a_way.work()
    a_way.clock.time = taken + timedelta(minutes=5, seconds=49)
    await a_way.work()
    await a_way.ending.look()
    assert (await a_way.incidents())[0].is_open
    a_way.clock.move(seconds=1)
    await a_way.ending.look()
    assert not (await a_way.incidents())[0].is_open


async def test_an_incident_survives_a_restart_and_ends_on_time(tmp_path: Path) -> None:
    async with bench(tmp_path) as made:
        await _place(made)
        await _cross(made, "drive")
        clock, scripted = made.clock, made.detector
    async with bench(tmp_path, clock, scripted=scripted) as made:
        made._pictures = 100
        await _cross(made, "door")
        assert await _stories(made) == {("drive", "door")}
        clock, scripted = made.clock, made.detector
    clock.move(hours=1)
    async with bench(tmp_path, clock, scripted=scripted) as made:
        await made.work()
        await made.ending.look()
        (incident,) = await made.incidents()
        assert incident.ended_at == incident.last_at + timedelta(minutes=5)


async def test_a_clock_that_went_back_leaves_nothing_open_for_ever(a_way: Bench) -> None:
    a_way.clock.move(days=300)
    await _cross(a_way, "drive")
    a_way.clock.move(days=-300)
    await a_way.work()
    a_way.clock.move(minutes=3)
    await a_way.work()
    await a_way.ending.look()
    assert not any(one.is_open for one in await a_way.incidents())


async def test_a_late_picture_joins_what_seemed_to_be_two(a_way: Bench) -> None:
    begin = a_way.clock.now()
    await a_way.see(a_person(), camera="drive")
    a_way.clock.move(seconds=200)
    await a_way.see(a_person(), camera="door")
    assert await _stories(a_way) == {("drive",), ("door",)}
    await a_way.told_all()
    between = begin + timedelta(seconds=100)
    a_way.clock.move(seconds=400)
    await a_way.take(a_way.picture(a_person(), camera="garden", at=between, arrived_at=a_way.clock.now()))
    await a_way.work()
    assert await _stories(a_way) == {("drive", "garden", "door")}
    first, second = (item for item in await _incidents_told(a_way))
    assert {first.kind, second.kind} == {UPDATED, REMOVED}


async def test_imported_pictures_make_incidents_that_nobody_is_told_of(a_way: Bench) -> None:
    at = a_way.clock.now() - timedelta(days=3)
    for number, camera_id in enumerate(WAY):
        taken = at + timedelta(seconds=40 * number)
        await a_way.take(a_way.picture(a_person(), camera=camera_id, at=taken, source=FrameSource.IMPORT))
    await a_way.work()
    assert await _stories(a_way) == {("street",), ("drive", "garden", "door")}
    assert all(one.ended_at == one.last_at + timedelta(minutes=5) for one in await a_way.incidents())
    assert await _incidents_told(a_way) == []


async def test_whatever_the_order_of_the_pictures_the_stories_are_the_same(tmp_path: Path) -> None:
    random = Random(5)
    shown = [(random.choice([*WAY, "shed"]), random.randrange(0, 1200)) for _ in range(24)]
    seen: list[set[frozenset[tuple[str, int]]]] = []
    for run in range(3):
        order = shown[:]
        random.shuffle(order)
        async with bench(tmp_path / str(run)) as made:
            await _place(made)
            begin = made.clock.now()
            made.clock.move(minutes=40)
            for camera_id, seconds in order:
                at = begin + timedelta(seconds=seconds)
                await made.take(made.picture(a_person(), camera=camera_id, at=at, source=FrameSource.IMPORT))
            await made.work()
            seen.append(await _partition(made))
    assert len(seen[0]) > 1
    assert seen[0] == seen[1] == seen[2]


async def _partition(made: Bench) -> set[frozenset[tuple[str, int]]]:
    events = {event.id: event for event in await made.events()}
    return {
        frozenset((events[id_].camera_id, round(events[id_].started_at.timestamp())) for id_ in one.event_ids)
        for one in await made.incidents()
    }


async def test_several_workers_at_a_time_make_one_story(tmp_path: Path, where: URL | None) -> None:
    async with (
        bench(tmp_path, where=where) as one,
        bench(tmp_path, one.clock, where=where, scripted=one.detector) as two,
    ):
        await _place(one)
        for number in range(6):
            camera_id = ("drive", "door")[number % 2]
            await one.take(one.picture(a_person(), camera=camera_id))
            one.clock.move(seconds=20)
        await one.work(one.detect)
        messages = [await made.broker.claim(made.gather.name, 3) for made in (one, two)]
        assert all(messages)
        await asyncio.gather(*(made.gather.consume(part) for made, part in zip((one, two), messages, strict=True)))
        await one.work()
        assert set(map(frozenset, await _stories(one))) == {frozenset({"drive", "door"})}


async def test_pictures_that_redis_delivers_hold_an_incident_open_too(
    tmp_path: Path, postgresql: PostgreSql, redis: Redis
) -> None:
    async with bench(tmp_path, where=postgresql.migrated_database()) as made:
        await _place(made)
        streams = Streams(redis.url, prefix=f"test:{made.database.url.database}", worker="one")
        broker = RedisBroker(made.database, made.clock, streams=streams, health=made.health, worker="one")
        stages = (made.detect, made.gather, made.close)
        for part in (made.intake, *stages):
            part._broker = broker
        await _cross(made, "drive")
        await _deliver(broker, stages)
        await made.take(made.picture(a_person(), camera="door"))
        await broker.deliver()
        held = await broker.claim(made.detect.name, 1)  # a worker is at it
        made.clock.move(minutes=10)
        await _deliver(broker, [made.close])
        await made.ending.look()
        (incident,) = await made.incidents()
        assert (len(held), incident.is_open) == (1, True)
        await made.detect.consume(held)
        await _deliver(broker, stages)
        await made.ending.look()
        await streams.close()
        (incident,) = await made.incidents()
        assert incident.cameras == ("drive", "door")
        assert incident.ended_at == incident.last_at + timedelta(minutes=5)


async def _deliver(broker: RedisBroker, stages: Sequence[Stage]) -> None:
    for stage in stages:
        await broker.deliver()
        while messages := await broker.claim(stage.name, stage.batch_size):
            await stage.consume(messages)
            await broker.deliver()


async def test_the_trash_and_the_cleanup_keep_incidents_true(a_way: Bench) -> None:
    await _cross(a_way, "drive", "door")
    a_way.clock.move(minutes=10)
    await a_way.work()
    await a_way.ending.look()
    drive, door = await a_way.events()
    before = (await a_way.incidents())[0]
    async with a_way.database.writing() as connection:
        change = await trash.put(connection, drive, a_way.clock.now())
    assert change is not None
    assert change.after is not None
    assert change.after.cameras == ("door",)
    async with a_way.database.writing() as connection:
        gone = await trash.put(connection, door, a_way.clock.now())
    assert gone is not None
    assert gone.after is None
    assert await a_way.incidents() == []
    async with a_way.database.writing() as connection:
        for event in (door, drive):
            await trash.restore(connection, event.id)
    assert await a_way.incidents() == [before]
    a_way.clock.move(days=40)
    async with a_way.database.writing() as connection:
        wanted = expired_events(range(101), a_way.clock.now())
        await retention.delete_event(connection, drive.id, wanted)
    (left,) = await a_way.incidents()
    assert (left.cameras, left.event_ids) == (("door",), (door.id,))
    async with a_way.database.writing() as connection:
        await retention.delete_event(connection, door.id, wanted)
        assert await incidents.members_of(connection, [before.id]) == {before.id: set()}
    assert await a_way.incidents() == []


async def test_a_later_verdict_refines_the_story_and_opens_nothing_again(a_way: Bench) -> None:
    await _cross(a_way, "drive")
    a_way.clock.move(minutes=10)
    await a_way.work()
    await a_way.ending.look()
    await a_way.told_all()
    (before,), (event,) = await a_way.incidents(), await a_way.events()
    summary = "A courier brings a parcel."
    verdict = replace(event.assessment, score=5, summary=summary, source=AssessmentSource.MODEL, verified=True)
    change = EventChange(
        event.last_detection_at, event.frame_count, event.best_frame_id, event.best_confidence, event.tracks, verdict
    )
    async with a_way.database.writing() as connection:
        judged = await events.change(connection, event, change)
        outcome = await a_way.keeper.take(connection, [Changed(judged, live=False)])
    (after,) = await a_way.incidents()
    assert after == replace(before, score=5, verified=True, summary="08:00 Drive: A courier brings a parcel.")
    assert [(item.kind, item.incident) for item in outcome.told] == [(UPDATED, after)]


async def test_a_rising_score_is_told_and_the_highest_counts(a_way: Bench) -> None:
    await _cross(a_way, "drive")
    await a_way.told_all()
    await _cross(a_way, "door", "door", pause=15)
    told = await _incidents_told(a_way)
    scores = [item.incident.score for item in told if item.incident]
    assert scores == sorted(scores)
    await _stories(a_way)


def _of(found: Sequence[Incident], camera_id: str) -> Incident:
    return next(one for one in found if camera_id in one.cameras)


async def test_cameras_without_a_place_stay_for_themselves(a_bench: Bench) -> None:
    await _cross(a_bench, CAMERA, "elsewhere")
    found = await a_bench.incidents()
    assert _of(found, CAMERA) != _of(found, "elsewhere")


def _wearing(colour: tuple[int, int, int]) -> bytes:
    picture = Picture(np.full((48, 64, 3), colour, np.uint8), 64, 48)
    return look_of(picture, a_person().box)


@pytest.mark.parametrize(("second", "together"), [((220, 20, 20), True), ((20, 20, 220), False)])
async def test_looks_tell_one_from_another(a_way: Bench, second: tuple[int, int, int], together: bool) -> None:
    for camera_id, colour in (("drive", (220, 20, 20)), ("door", second)):
        await a_way.take(a_way.picture(a_person(), camera=camera_id))
        await a_way.work(a_way.detect)
        async with a_way.database.writing() as connection:
            worn = update(detections).where(detections.c.event_id.is_(None)).values(appearance=_wearing(colour))
            await connection.execute(worn)
        await a_way.work()
        a_way.clock.move(seconds=60)
    assert (len(await a_way.incidents()) == 1) is together
