# SPDX-License-Identifier: AGPL-3.0-or-later
"""A parked car makes one event, through the pipeline, on either database, across restarts and repeated deliveries."""

from datetime import timedelta
from pathlib import Path

from inference_server.core.detection import Box, Detection, Label, LeftOut
from inference_server.core.frame import FrameSource
from inference_server.settings import StationarySettings
from inference_server.storage import frames, stationary
from tests.support.bench import CAMERA, Bench, a_person, bench
from tests.support.home import MovableClock

CAR = Detection(Label.CAR, 0.8, Box(30, 20, 20, 12))


async def _let_it_stand(made: Bench, minutes: int) -> None:
    for _ in range(minutes):
        made.clock.move(minutes=1)
        await made.see(CAR)


async def test_one_event_when_it_comes_then_silence(a_bench: Bench) -> None:
    await a_bench.see(CAR)
    await _let_it_stand(a_bench, 20)
    (event,) = await a_bench.events()
    assert event.frame_count == 1
    assert event.ended_at is not None
    async with a_bench.database.reading() as connection:
        (item,) = await stationary.stationary(connection, CAMERA)
        assert await stationary.count(connection) == 1
    assert item.sightings == 21


async def test_it_prolongs_the_event_it_came_in_and_no_other(a_bench: Bench) -> None:
    await a_bench.see(CAR)
    for _ in range(4):
        a_bench.clock.move(seconds=20)
        await a_bench.see(CAR)
    await _let_it_stand(a_bench, 3)
    (event,) = await a_bench.events()
    assert event.frame_count == 5
    a_bench.clock.move(minutes=1)
    await a_bench.see(CAR, a_person())
    a_bench.clock.move(seconds=20)
    await a_bench.see(CAR)
    a_bench.clock.move(seconds=11)
    await a_bench.work()
    visit = (await a_bench.events())[-1]
    assert visit.ended_at == visit.started_at + timedelta(seconds=30)
    assert [track.label for track in visit.tracks] == [Label.PERSON]
    assert [factor.name for factor in visit.assessment.factors] == ["person_seen"]
    async with a_bench.database.reading() as connection:
        (sighting,) = await frames.sightings_of_event(connection, visit.id)
    assert [found.left_out for found in sighting.detections] == [LeftOut.STATIONARY, None]


async def test_it_stays_three_days_leaves_and_another_one_comes(a_bench: Bench) -> None:
    a_bench._pictures = 60  # so that all are of one hue
    await a_bench.see(CAR)
    for number in range(72):
        a_bench.clock.move(hours=1)
        await a_bench.see(*([Detection(Label.TRUCK, 0.6, CAR.box)] if number % 9 == 8 else [CAR]))
    (event,) = await a_bench.events()
    async with a_bench.database.reading() as connection:
        (item,) = await stationary.stationary(connection, CAMERA)
    assert (item.first_seen_at, item.sightings) == (event.started_at, 73)
    for _ in range(12):
        a_bench.clock.move(minutes=1)
        await a_bench.see()
    async with a_bench.database.reading() as connection:
        assert await stationary.count(connection) == 0
    await a_bench.see(CAR)
    assert [event.started_at for event in await a_bench.events()] == [event.started_at, a_bench.clock.now()]


async def test_a_statue_makes_no_more_events_and_somebody_before_it_does(tmp_path: Path) -> None:
    statue = Detection(Label.PERSON, 0.7, Box(30, 20, 6, 16))
    async with bench(tmp_path, stationary=StationarySettings(sightings=2, person_minutes=10)) as made:
        for _ in range(12):
            await made.see(statue)
            made.clock.move(minutes=1)
        before = len(await made.events())
        for _ in range(5):
            await made.see(statue)
            made.clock.move(minutes=1)
        assert len(await made.events()) == before
        await made.see(statue, a_person())
        visit = (await made.events())[-1]
        assert (len(await made.events()), len(visit.tracks)) == (before + 1, 1)


async def test_it_makes_one_again_when_it_moves(a_bench: Bench) -> None:
    await a_bench.see(CAR)
    await _let_it_stand(a_bench, 10)
    a_bench.clock.move(minutes=1)
    await a_bench.see(Detection(Label.CAR, 0.8, Box(5, 30, 20, 12)))
    assert len(await a_bench.events()) == 2


async def test_a_new_worker_knows_it_and_a_picture_that_comes_twice_changes_nothing(tmp_path: Path) -> None:
    clock = MovableClock()
    async with bench(tmp_path, clock) as made:
        await made.see(CAR)
        await _let_it_stand(made, 10)
        scripted = made.detector
    async with bench(tmp_path, clock, scripted=scripted) as made:
        made._pictures = 100
        clock.move(minutes=1)
        await made.take(made.picture(CAR))
        await made.work(made.detect)
        claimed = await made.broker.claim(made.gather.name, 1)
        assert len(claimed) == 1
        await made.broker.recover()
        await made.work()
        assert len(await made.events()) == 1
        async with made.database.reading() as connection:
            (item,) = await stationary.stationary(connection, CAMERA)
        assert item.sightings == 12


async def test_imported_pictures_of_a_parked_car_are_one_event(a_bench: Bench) -> None:
    at = a_bench.clock.now() - timedelta(days=100)
    now = a_bench.clock.now()
    old = [
        a_bench.picture(CAR, at=at + timedelta(minutes=number), arrived_at=now, source=FrameSource.IMPORT)
        for number in range(12)
    ]
    await a_bench.take(*old)
    await a_bench.work()
    assert [event.started_at for event in await a_bench.events()] == [at]


async def test_how_long_is_a_setting(tmp_path: Path) -> None:
    async with bench(tmp_path, stationary=StationarySettings(sightings=2, minutes=1)) as made:
        await made.see(CAR)
        await _let_it_stand(made, 1)
        async with made.database.reading() as connection:
            assert await stationary.count(connection) == 1
