# SPDX-License-Identifier: AGPL-3.0-or-later
"""Zones through the pipeline: what is ignored makes no event, and an event says where it happens."""

from datetime import timedelta
from pathlib import Path

from inference_server.core.camera import Camera
from inference_server.core.detection import LeftOut, ZoneType
from inference_server.core.zone import ZoneShape, rectangle
from inference_server.storage import cameras, frames, zones
from tests.support.bench import CAMERA, Bench, a_person, bench

LEFT, RIGHT = rectangle(0, 0, 0.5, 1), rectangle(0.5, 0, 1, 1)


async def _zone(made: Bench, shape: ZoneShape) -> None:
    async with made.database.writing() as connection:
        await cameras.add(connection, Camera(CAMERA, "Front door", made.clock.now()))
        await zones.add(connection, CAMERA, shape)


async def test_an_event_says_where_somebody_is(a_bench: Bench) -> None:
    door = ZoneShape(name="Front door", type=ZoneType.ENTRY, points=LEFT, loitering_seconds=20)
    await _zone(a_bench, door)
    await a_bench.see(a_person(x=10))
    (event,) = await a_bench.events()
    assert event.assessment.summary == 'A person at the entry "Front door" by day'
    a_bench.clock.move(seconds=20)
    await a_bench.see(a_person(x=11))
    (event,) = await a_bench.events()
    assert [factor.name for factor in event.assessment.factors] == ["person_seen", "in_entry", "loitering_in_zone"]
    (visit,) = event.tracks[0].zones
    assert (visit.name, visit.seconds, visit.loitering) == ("Front door", 20, True)


async def test_what_is_ignored_starts_and_prolongs_nothing(a_bench: Bench) -> None:
    await _zone(a_bench, ZoneShape(name="Street", type=ZoneType.IGNORE, points=RIGHT))
    await a_bench.see(a_person(x=50))
    assert await a_bench.events() == []
    await a_bench.see(a_person(x=10), a_person(x=50))
    a_bench.clock.move(seconds=20)
    await a_bench.see(a_person(x=50))
    a_bench.clock.move(seconds=11)
    await a_bench.work()
    (event,) = await a_bench.events()
    assert event.ended_at == event.started_at + timedelta(seconds=30)
    assert len(event.tracks) == 1
    async with a_bench.database.reading() as connection:
        (sighting,) = await frames.sightings_of_event(connection, event.id)
    assert [found.left_out for found in sighting.detections] == [None, LeftOut.IGNORED]


async def test_another_worker_goes_by_a_new_zone_at_once_and_they_survive_a_restart(tmp_path: Path) -> None:
    async with bench(tmp_path) as made, bench(tmp_path, made.clock, scripted=made.detector) as other:
        await made.see(a_person(x=50))
        await _zone(other, ZoneShape(name="Street", type=ZoneType.IGNORE, points=RIGHT))
        made.clock.move(minutes=2)
        await made.see(a_person(x=50))
        assert len(await made.events()) == 1
    async with bench(tmp_path, made.clock, scripted=made.detector) as again:
        again._pictures = 100
        await again.see(a_person(x=50))
        assert len(await again.events()) == 1
