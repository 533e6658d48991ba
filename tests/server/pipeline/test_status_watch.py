# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is looked after every few seconds: the queue, the database and what was refused."""

import asyncio

import pytest

from inference_server.core.frame import Refusal, RefusalReason
from inference_server.core.message import Failure, StageName
from inference_server.core.signal import Signal
from inference_server.ingest.admission import RefusedFile
from inference_server.ingest.backpressure import Backpressure
from inference_server.observability.health import ComponentHealth, HealthState
from inference_server.pipeline import status_watch
from inference_server.pipeline.status_watch import StatusWatch
from inference_server.storage import dead_letters
from inference_server.storage.arrivals import FileVersion
from tests.support.bench import Bench
from tests.support.home import START


@pytest.fixture
def changed() -> Signal:
    """Give the signal that tells of another queue."""
    return Signal()


@pytest.fixture
def backpressure() -> Backpressure:
    """Give what keeps pictures out while the queue is full."""
    return Backpressure()


@pytest.fixture
def watch(a_bench: Bench, changed: Signal, backpressure: Backpressure) -> StatusWatch:
    """Give a watch on the pipeline."""
    parts = {"database": a_bench.database, "broker": a_bench.broker, "health": a_bench.health, "clock": a_bench.clock}
    return StatusWatch(changed=changed, backpressure=backpressure, most_waiting=5, **parts)  # type: ignore[arg-type]


def _component(bench: Bench, name: str) -> ComponentHealth:
    return next(component for component in bench.health.components if component.name == name)


async def test_waiting_work_and_dead_letters_are_reported(a_bench: Bench, watch: StatusWatch) -> None:
    await a_bench.take(a_bench.picture(), a_bench.picture())
    await watch._check_database()
    queue = _component(a_bench, "queue")
    assert (queue.state, queue.details) == (
        HealthState.OK,
        {"waiting": 2, "live": 2, "dead_letters": 0, "discarded": 0},
    )
    (message,) = await a_bench.broker.claim(StageName.DETECT, 1)
    await a_bench.broker.bury(message, Failure("broken"))
    await watch._check_database()
    queue = _component(a_bench, "queue")
    assert (queue.state, queue.details) == (
        HealthState.DEGRADED,
        {"waiting": 1, "live": 1, "dead_letters": 1, "discarded": 0},
    )
    assert queue.remedy is not None
    for way in ("GET /api/dead_letters", "hsi dead-letters list", "hsi dead-letters replay --all"):
        assert way in queue.remedy
    async with a_bench.database.writing() as connection:
        await dead_letters.discard(connection, [1], START)
    await watch._check_database()
    queue = _component(a_bench, "queue")
    assert (queue.state, queue.details) == (
        HealthState.OK,
        {"waiting": 1, "live": 1, "dead_letters": 0, "discarded": 1},
    )


async def test_a_full_queue_lets_nothing_in_until_a_fifth_is_done(
    a_bench: Bench, watch: StatusWatch, backpressure: Backpressure
) -> None:
    await a_bench.take(*[a_bench.picture() for _ in range(5)])
    await watch._check_database()
    assert backpressure.reason is not None
    queue = _component(a_bench, "queue")
    assert (queue.state, queue.last_error) == (HealthState.DEGRADED, "The queue is full.")
    assert queue.still_works is not None
    messages = await a_bench.broker.claim(StageName.DETECT, 2)
    async with a_bench.broker.transaction() as transaction:
        await transaction.complete(messages[:1])
    await watch._check_database()
    assert backpressure.reason is not None
    async with a_bench.broker.transaction() as transaction:
        await transaction.complete(messages[1:])
    await watch._check_database()
    assert backpressure.reason is None
    assert _component(a_bench, "queue").state is HealthState.OK


async def test_many_live_pictures_keep_old_ones_out(
    a_bench: Bench, watch: StatusWatch, backpressure: Backpressure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_watch, "BUSY_FROM", 1)
    await a_bench.take(a_bench.picture(), a_bench.picture())
    await watch._check_database()
    waiting = asyncio.create_task(backpressure.until_idle())
    await asyncio.sleep(0)
    assert not waiting.done()
    await a_bench.work()
    await watch._check_database()
    await asyncio.wait_for(waiting, 10)


async def test_only_another_queue_is_told(a_bench: Bench, watch: StatusWatch, changed: Signal) -> None:
    await watch._check_database()
    seen = changed.count
    await watch._check_database()
    assert changed.count == seen
    await a_bench.take(a_bench.picture())
    await watch._check_database()
    assert changed.count == seen + 1


async def test_refusals_of_the_last_day_are_counted(a_bench: Bench, watch: StatusWatch) -> None:
    now = a_bench.clock.now()
    refusal = Refusal("front/1.jpg", "front", RefusalReason.CORRUPT, "It ends too early.", now)
    await a_bench.intake.take([RefusedFile(FileVersion("front/1.jpg", 5, 1), refusal)])
    await watch._check_database()
    assert _component(a_bench, "admission").details == {"refused_in_the_last_day": 1}
    a_bench.clock.move(days=1, seconds=1)
    await watch._check_database()
    assert _component(a_bench, "admission").details == {"refused_in_the_last_day": 0}


async def test_a_database_that_fails_is_reported_until_it_answers_again(
    a_bench: Bench, watch: StatusWatch, changed: Signal, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = asyncio.Event()

    async def fail() -> None:
        failed.set()
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(status_watch, "INTERVAL_SECONDS", 0.01)
    with monkeypatch.context() as patch:
        patch.setattr(a_bench.broker, "status", fail)
        running = asyncio.create_task(watch.run())
        await failed.wait()
        await asyncio.sleep(0)
        assert _component(a_bench, "database").state is HealthState.DOWN
        assert _component(a_bench, "database").remedy is not None
    async with asyncio.timeout(10):
        await changed.wait(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert _component(a_bench, "database").state is HealthState.OK
