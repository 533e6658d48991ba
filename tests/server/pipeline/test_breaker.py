# SPDX-License-Identifier: AGPL-3.0-or-later
"""The circuit breaker by itself, and a detector that hangs, fails, lies and recovers in the pipeline."""

import asyncio
import gc
import math
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from inference_server.core.detection import Box, Detection, Label
from inference_server.core.message import Failure, StageName
from inference_server.core.status import DetectorState
from inference_server.observability.health import ComponentHealth, HealthState
from inference_server.pipeline import detect as detect_module
from inference_server.pipeline import replay as replay_module
from inference_server.pipeline import stage as stage_module
from inference_server.pipeline.breaker import FAILURES, BreakerState, CircuitBreaker, ServiceDownError
from inference_server.pipeline.inference import MOST_STUCK, HungError, InferenceThreads
from inference_server.pipeline.replay import MOST_REPLAYS, AutomaticReplay
from inference_server.pipeline.retry import MAX_ATTEMPTS
from inference_server.pipeline.stage import run_stage
from inference_server.storage import dead_letters, frames
from tests.support.bench import Bench, a_person
from tests.support.virtual_time import in_virtual_time

PATIENCE_SECONDS = 20


def _failed(breaker: CircuitBreaker, times: int = FAILURES) -> None:
    for subject in range(times):
        breaker.begin()
        breaker.failed("it said no", [subject])


async def test_some_failures_in_a_row_open_it() -> None:
    moves: list[BreakerState] = []
    breaker = CircuitBreaker("detector", lambda: moves.append(breaker.state))
    _failed(breaker, FAILURES - 1)
    breaker.begin()
    breaker.succeeded()
    _failed(breaker, FAILURES - 1)
    assert breaker.is_closed
    _failed(breaker, 1)
    assert moves == [BreakerState.OPEN]
    with pytest.raises(ServiceDownError, match="detector is down: it said no"):
        breaker.begin()


async def test_failures_at_one_picture_are_that_pictures_own() -> None:
    breaker = CircuitBreaker("detector")
    for _ in range(9 * FAILURES):
        breaker.begin()
        breaker.failed("it said no", [7])
    assert breaker.is_closed
    seen = breaker.recovered.count
    breaker.succeeded()
    assert breaker.recovered.count == seen + 1


def test_after_a_while_one_call_tries_it_and_decides() -> None:
    async def main() -> None:
        loop, breaker = asyncio.get_running_loop(), CircuitBreaker("detector", recovery_seconds=30)
        _failed(breaker)
        opened_at = loop.time()
        await breaker.ready()
        assert loop.time() - opened_at == pytest.approx(30)
        breaker.begin()
        assert breaker.state is BreakerState.HALF_OPEN
        with pytest.raises(ServiceDownError):
            breaker.begin()
        waiting = asyncio.create_task(breaker.ready())
        await asyncio.sleep(1)
        assert not waiting.done()
        breaker.failed("again", [1])
        failed_at = loop.time()
        await waiting
        assert loop.time() - failed_at == pytest.approx(30)
        breaker.begin()
        breaker.left_open()
        await breaker.ready()
        seen = breaker.recovered.count
        breaker.begin()
        breaker.succeeded()
        assert breaker.is_closed
        assert breaker.recovered.count == seen + 1

    in_virtual_time(main())


async def test_calls_that_fail_side_by_side_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    def fail(given: int) -> int:
        raise ValueError(given)

    with pytest.raises(ValueError, match="1"):
        await InferenceThreads(2).run_all(fail, [1, 2], 10)
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_calls_that_hang_are_left_behind_and_the_next_ones_work() -> None:
    threads, release = InferenceThreads(2), threading.Event()

    def work(given: int) -> int:
        if given < 0:
            release.wait()
        return given

    assert await threads.run_all(work, [1, 2], 10) == [1, 2]
    with pytest.raises(HungError, match="no answer"):
        await threads.run_all(work, [1, -1], 0.05)
    assert await threads.run_all(work, [3], 10) == [3]
    while threads.stuck < MOST_STUCK:
        with pytest.raises(HungError):
            await threads.run_all(work, [-1], 0.01)
    with pytest.raises(HungError, match="restart the server"):
        await threads.run_all(work, [1], 10)
    threads.stop()
    release.set()


async def test_memory_goes_back_when_nothing_was_called_for_a_while() -> None:
    rested = threading.Event()
    threads = InferenceThreads(1, rest=rested.set, rest_seconds=0)
    assert not rested.is_set()
    assert await threads.run_all(abs, [-1], 10) == [1]
    assert await asyncio.to_thread(rested.wait, 10)
    threads.stop()


def _component(bench: Bench, name: str) -> ComponentHealth:
    return next(component for component in bench.health.components if component.name == name)


@asynccontextmanager
async def _running(bench: Bench) -> AsyncIterator[None]:
    tasks = [
        asyncio.create_task(run_stage(stage, bench.broker, bench.health))
        for stage in (bench.detect, bench.detect, bench.gather, bench.close)
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _until_judged(bench: Bench, frames: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while sum(event.frame_count for event in await bench.events()) < frames:
            bench.clock.move(seconds=1)  # what was tried goes behind the others for a minute
            await asyncio.sleep(0.02)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call a detector hung after a moment."""
    monkeypatch.setattr(detect_module, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(detect_module, "PATIENCE_PER_PICTURE_SECONDS", 0.0)


LIES: dict[str, Any] = {
    "no answer": None,
    "too few results": [],
    "no number": [[Detection(Label.PERSON, math.nan, Box(1, 1, 2, 2))]],
    "more than certain": [[Detection(Label.PERSON, 7.0, Box(1, 1, 2, 2))]],
    "an endless box": [[Detection(Label.PERSON, 0.5, Box(1, 1, math.inf, 2))]],
    "elsewhere": [[Detection(Label.PERSON, 0.5, Box(900, 900, 5, 5))]],
}


@pytest.mark.parametrize("kind", ["fails", "hangs", *LIES])
async def test_a_detector_that_is_down_makes_pictures_wait_and_cameras_unknown(
    a_bench: Bench, impatient: None, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    release, breaker = threading.Event(), a_bench.judging.breaker
    monkeypatch.setattr(breaker, "_recovery_seconds", 0.3)
    monkeypatch.setattr(breaker, "_limit", 2)
    works = a_bench.detector.detect

    def detect(pictures: Any) -> Any:
        if kind == "fails":
            raise RuntimeError("CUDA is gone")
        if kind == "hangs":
            release.wait()
        return LIES.get(kind)

    monkeypatch.setattr(a_bench.detector, "detect", detect)
    await a_bench.take(*[a_bench.picture(a_person(), camera=f"camera_{number}") for number in range(6)])
    async with _running(a_bench):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while a_bench.judging.status.judges:  # noqa: ASYNC110 - stages run beside
                await asyncio.sleep(0.02)
        assert a_bench.judging.status.state is DetectorState.DOWN
        health = _component(a_bench, "detector")
        assert health.state is HealthState.DOWN
        assert health.last_error
        assert health.still_works
        assert health.remedy
        status = await a_bench.broker.status()
        assert (status.depth, status.dead_letters) == (6, 0)
        monkeypatch.setattr(a_bench.detector, "detect", works)
        await _until_judged(a_bench, 6)
    release.set()
    assert a_bench.judging.status.judges
    assert _component(a_bench, "detector").state is HealthState.OK
    assert [event.frame_count for event in await a_bench.events()] == [1] * 6
    assert (await a_bench.broker.status()).dead_letters == 0


async def test_a_box_over_the_edge_is_cut_there(a_bench: Bench) -> None:
    await a_bench.see(Detection(Label.PERSON, 0.9, Box(-5, 30, 20, 100)))
    async with a_bench.database.reading() as connection:
        (event,) = await a_bench.events()
        (sighting,) = await frames.sightings_of_event(connection, event.id)
    assert sighting.detections[0].box == Box(0, 30, 15, 18)


async def test_what_died_of_the_detector_is_replayed_when_it_works_again(
    a_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_module, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(replay_module, "AT_ONCE", 2)
    pictures = [a_bench.picture(fails=RuntimeError("CUDA hiccup")) for _ in range(5)]
    await a_bench.take(*pictures)
    breaker = a_bench.judging.breaker
    monkeypatch.setattr(breaker, "_limit", 10_000)
    for _ in range(MAX_ATTEMPTS):
        a_bench.clock.move(minutes=5)
        messages = await a_bench.broker.claim(StageName.DETECT, 32)
        await stage_module._consume(a_bench.detect, a_bench.broker, messages)
    assert (await a_bench.broker.status()).dead_letters == 5
    for number in a_bench.detector.script:
        a_bench.detector.script[number] = (a_person(),)
    replaying = asyncio.create_task(AutomaticReplay(a_bench.database, a_bench.broker, breaker).run())
    async with _running(a_bench):
        await _until_judged(a_bench, 5)
    replaying.cancel()
    status = await a_bench.broker.status()
    assert (status.depth, status.dead_letters) == (0, 0)


async def test_what_fails_after_every_replay_waits_for_somebody(a_bench: Bench) -> None:
    await a_bench.take(a_bench.picture())
    replaying = AutomaticReplay(a_bench.database, a_bench.broker, a_bench.judging.breaker)
    for _ in range(MOST_REPLAYS + 1):
        (message,) = await a_bench.broker.claim(StageName.DETECT, 1)
        await a_bench.broker.bury(message, Failure("it kills the detector", "detector"))
        await replaying._replay_some()
    assert (await a_bench.broker.status()).dead_letters == 1
    async with a_bench.database.reading() as connection:
        (letter,) = (await dead_letters.find(connection, limit=9, cursor=None)).items
    assert letter.replays == MOST_REPLAYS
