# SPDX-License-Identifier: AGPL-3.0-or-later
"""Habits through the pipeline: hours are counted once, and an event says what was expected."""

from pathlib import Path
from zoneinfo import ZoneInfo

from inference_server.core.baseline import Habit
from inference_server.core.detection import Category
from inference_server.pipeline.habits import HabitLearning
from inference_server.storage import baselines
from tests.support.bench import CAMERA, Bench, a_person, bench

UTC_ZONE = ZoneInfo("UTC")


def _learning(made: Bench, *, judges: bool = True) -> HabitLearning:
    return HabitLearning(made.database, made.clock, judges=lambda: judges, zone=UTC_ZONE)


async def _an_hour(made: Bench, learning: HabitLearning, *, people_at: tuple[int, ...] = ()) -> None:
    for minute in range(60):
        if minute in people_at:
            await made.see(a_person())
        await learning.look()
        made.clock.move(minutes=1)
        await made.work()


async def _habits(made: Bench) -> list[Habit]:
    async with made.database.reading() as connection:
        return [habit for habit in await baselines.of_camera(connection, CAMERA) if habit.category is Category.PERSON]


async def _to_the_hour(made: Bench) -> None:
    now = made.clock.now()
    made.clock.move(seconds=3600 - now.minute * 60 - now.second)


async def test_an_hour_that_was_watched_is_learnt_once_by_any_of_several_processes(tmp_path: Path) -> None:
    async with bench(tmp_path) as made, bench(tmp_path, made.clock, scripted=made.detector) as other:
        await _to_the_hour(made)
        mine, theirs = _learning(made), _learning(other)
        for minute in range(60):
            if minute in {5, 30, 31}:
                await made.see(a_person())
            await mine.look()
            await theirs.look()
            made.clock.move(minutes=1)
            await made.work()
        assert await _habits(made) == []
        made.clock.move(minutes=11)
        await mine.look()
        await theirs.look()
        (habit,) = await _habits(made)
        assert (habit.objects, habit.hours) == (3.0, 1.0)


async def test_an_hour_without_a_detector_is_not_an_hour_without_people(a_bench: Bench) -> None:
    await a_bench.see(a_person())
    await _to_the_hour(a_bench)
    blind = _learning(a_bench, judges=False)
    await _an_hour(a_bench, blind)
    a_bench.clock.move(minutes=11)
    await blind.look()
    late = _learning(a_bench)  # a server that was started in the middle of an hour
    a_bench.clock.move(minutes=20)
    for _ in range(60):
        await late.look()
        a_bench.clock.move(minutes=1)
    assert await _habits(a_bench) == []


async def test_an_event_says_what_was_expected(a_bench: Bench) -> None:
    await a_bench.see(a_person())
    await _to_the_hour(a_bench)
    learning = _learning(a_bench)
    for _ in range(4):  # four days without anybody at this hour
        await _an_hour(a_bench, learning)
        a_bench.clock.move(minutes=11)
        await learning.look()
        a_bench.clock.move(hours=23, minutes=-11)
    await a_bench.see(a_person())
    latest = max(await a_bench.events(), key=lambda event: event.id)
    (unusual,) = (factor for factor in latest.assessment.factors if factor.name == "unusual")
    assert unusual.points > 0
    assert unusual.evidence.startswith("1 people in this hour, 0.0 expected")
