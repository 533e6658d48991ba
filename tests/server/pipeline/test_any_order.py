# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whatever happens in whatever order: every picture is judged once, and the events and what is told of them agree."""

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from inference_server.core.announcement import Announcement, AnnouncementKind
from inference_server.core.event import Event
from inference_server.settings import BatchSettings
from inference_server.storage.database import Database
from inference_server.storage.tables import detections
from tests.support.bench import Bench, ScriptedDetector, a_person, bench
from tests.support.home import MovableClock

RULES = BatchSettings(idle_seconds=30, window_seconds=90, max_frames=5)
CAMERAS = ("front", "back")

type Step = tuple[str, float, float]
"""What happens: its name, the seconds that pass before, and how late or which it is."""

SEE = st.tuples(st.sampled_from(["see front", "see back", "see nothing"]), st.integers(0, 50), st.integers(0, 80))
DO = st.tuples(st.sampled_from(["detect", "gather", "close", "crash", "restart"]), st.integers(0, 100), st.just(0))
STEPS = st.lists(SEE | SEE | DO, min_size=3, max_size=40)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a database file with its tables, to be copied."""
    file = tmp_path_factory.mktemp("empty") / "hsi.db"

    async def make() -> None:
        database = Database(file)
        await database.open()
        await database.close()

    asyncio.run(make())
    return file


@settings(max_examples=30, deadline=None, phases=[Phase.generate], print_blob=False)
@given(STEPS)
def test_every_detection_has_one_event_and_every_event_one_story(empty: Path, steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(empty, folder)
        asyncio.run(_live_through(Path(folder), steps))


async def _live_through(folder: Path, steps: Sequence[Step]) -> None:
    clock, scripted, seen, left = MovableClock(), ScriptedDetector(), 0, list(steps)
    while left:
        async with bench(folder, clock, batch=RULES, scripted=scripted) as made:
            made._pictures = 1000 * (len(steps) - len(left) + 1)
            await made.broker.recover()
            while left and (step := left.pop(0))[0] != "restart":
                seen += await _do(made, step)
    async with bench(folder, clock, batch=RULES, scripted=scripted) as made:
        await made.broker.recover()
        await made.work()
        clock.move(hours=1)
        await made.work()
        await _check(made, seen)


async def _do(made: Bench, step: Step) -> int:
    """Do a step and return how many pictures with somebody on them came with it."""
    what, passes, late = step
    now = made.clock.move(seconds=passes)
    match what:
        case "see front" | "see back":
            at = now - timedelta(seconds=late)
            await made.take(made.picture(a_person(), camera=what.removeprefix("see "), at=at))
            return 1
        case "see nothing":
            await made.take(made.picture(camera="front"))
        case "crash":
            for stage in (made.detect, made.gather, made.close):
                await made.broker.claim(stage.name, 1)
            await made.broker.recover()
        case _:
            await made.work(getattr(made, what))
    return 0


async def _check(made: Bench, seen: int) -> None:
    events = await made.events()
    assert (await made.broker.status()).depth == (await made.broker.status()).dead_letters == 0
    owners = list((await made.detections()).values())
    assert len(owners) == seen
    assert None not in owners
    assert Counter(owners) == {event.id: event.frame_count for event in events}
    members = {event_id: one.id for one in await made.incidents() for event_id in one.event_ids}
    assert {event.id: event.incident_id for event in events} == members
    for camera in CAMERAS:
        _check_story([event for event in events if event.camera_id == camera])
    _check_told(events, await made.told())


def _check_story(events: Sequence[Event]) -> None:
    before = None
    for event in events:
        assert event.ended_at is not None
        assert event.started_at <= event.last_detection_at <= event.ended_at
        assert event.ended_at - event.started_at <= timedelta(seconds=RULES.window_seconds)
        assert 1 <= event.frame_count <= RULES.max_frames
        assert before is None or before <= event.started_at
        before = event.ended_at


def _check_told(events: Sequence[Event], told: Sequence[Announcement]) -> None:
    for event in events:
        of_event = [item for item in told if item.event and item.event.id == event.id]
        kinds = [item.kind for item in of_event]
        assert kinds[0] is AnnouncementKind.EVENT_DETECTED
        assert kinds[-1] is AnnouncementKind.EVENT_ENDED
        assert Counter(kinds)[AnnouncementKind.EVENT_DETECTED] == Counter(kinds)[AnnouncementKind.EVENT_ENDED] == 1
        assert of_event[-1].event == event
        for item in of_event:
            assert item.camera is not None
            assert item.camera.last_event_id == event.id
            assert (item.camera.open_event_id == event.id) is (item.kind is not AnnouncementKind.EVENT_ENDED)


async def test_the_check_itself_sees_a_detection_without_an_event(a_bench: Bench) -> None:
    await a_bench.take(a_bench.picture(a_person()))
    await a_bench.work(a_bench.detect)
    async with a_bench.database.reading() as connection:
        assert (await connection.execute(select(func.count()).select_from(detections))).scalar_one() == 1
    with pytest.raises(AssertionError):
        await _check(a_bench, 1)
