# SPDX-License-Identifier: AGPL-3.0-or-later
"""The loop that feeds a stage: one bad message stops no other, and none is lost."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise

import pytest
from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError, OperationalError

from inference_server.core.message import Message, StageName, Work
from inference_server.observability.health import ComponentHealth, HealthState
from inference_server.pipeline import stage as stage_module
from inference_server.pipeline.retry import (
    FIRST_DELAY_SECONDS,
    LONGEST_DELAY_SECONDS,
    MAX_ATTEMPTS,
    MAX_DELIVERIES,
    PermanentError,
    retry_delay,
)
from inference_server.pipeline.stage import Stage, run_stage
from inference_server.storage.database import STORAGE_FAILURES
from inference_server.storage.messages import MessageTakenError
from inference_server.storage.tables import dead_letters, messages
from tests.support.bench import Bench, a_person
from tests.support.home import START

PATIENCE_SECONDS = 20


@dataclass
class FaultyStage:
    """Does work by completing it; each subject fails as often as there are errors for it."""

    bench: Bench
    errors: dict[int, list[Exception]] = field(default_factory=dict)
    batches: list[list[int]] = field(default_factory=list)
    done: list[int] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    name: StageName = StageName.DETECT
    batch_size: int = 4
    lanes: int = 1

    async def ready(self) -> None:
        """Be ready."""

    async def consume(self, messages: Sequence[Message]) -> None:
        """Fail if one of the subjects has an error left; else complete all."""
        subjects = [message.work.subject_id for message in messages]
        async with self.changed:
            self.batches.append(subjects)
            self.changed.notify_all()
        for subject in subjects:
            if self.errors.get(subject):
                raise self.errors[subject][0] if len(messages) > 1 else self.errors[subject].pop(0)
        async with self.bench.broker.transaction() as transaction:
            await transaction.complete(messages)
        async with self.changed:
            self.done += subjects
            self.changed.notify_all()

    async def until(self, true: Callable[[], bool]) -> None:
        """Return when the condition holds; it is looked at after each batch."""
        async with asyncio.timeout(PATIENCE_SECONDS), self.changed:
            await self.changed.wait_for(true)


@pytest.fixture
def faulty(a_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> FaultyStage:
    """Give a stage whose retries cost no time."""
    monkeypatch.setattr(stage_module, "STORAGE_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(stage_module, "retry_delay", lambda _attempts: timedelta(0))
    return FaultyStage(a_bench)


@asynccontextmanager
async def _running(bench: Bench, stage: Stage) -> AsyncIterator[None]:
    task = asyncio.create_task(run_stage(stage, bench.broker, bench.health))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _publish(bench: Bench, *subjects: int) -> None:
    async with bench.broker.transaction() as transaction:
        await transaction.publish([Work(StageName.DETECT, subject, "front", START) for subject in subjects])


async def _letters(bench: Bench) -> list[tuple[int, int, str]]:
    async with bench.database.reading() as connection:
        rows = await connection.execute(select(dead_letters).order_by(dead_letters.c.subject_id))
        return [(row.subject_id, row.attempts, row.reason) for row in rows]


def _stage_health(bench: Bench) -> ComponentHealth:
    return next(component for component in bench.health.components if component.name == StageName.DETECT)


async def test_messages_are_taken_together_in_order(a_bench: Bench, faulty: FaultyStage) -> None:
    await _publish(a_bench, *range(6))
    async with _running(a_bench, faulty):
        await faulty.until(lambda: len(faulty.done) == 6)
    assert faulty.batches == [[0, 1, 2, 3], [4, 5]]


async def test_one_bad_message_does_not_stop_the_others(a_bench: Bench, faulty: FaultyStage) -> None:
    faulty.errors[1] = [PermanentError("broken for good")]
    await _publish(a_bench, *range(6))
    async with _running(a_bench, faulty):
        await faulty.until(lambda: len(faulty.done) == 5)
    assert faulty.done == [0, 2, 3, 4, 5]
    assert await _letters(a_bench) == [(1, 1, "PermanentError: broken for good")]
    assert (await a_bench.broker.status()).depth == 0


async def test_a_dead_letter_keeps_the_trace_with_its_causes(a_bench: Bench, faulty: FaultyStage) -> None:
    error = PermanentError("broken for good")
    error.__cause__ = ZeroDivisionError("the cause")
    faulty.errors[1] = [error]
    await _publish(a_bench, 1, 2)
    async with _running(a_bench, faulty):
        await faulty.until(lambda: faulty.done == [2])
    async with a_bench.database.reading() as connection:
        (trace,) = (await connection.execute(select(dead_letters.c.trace))).scalars()
    assert trace.startswith("ZeroDivisionError: the cause\n")
    assert "in consume\n" in trace
    assert trace.endswith("PermanentError: broken for good\n")


async def test_a_passing_failure_is_tried_again(a_bench: Bench, faulty: FaultyStage) -> None:
    faulty.errors[1] = [RuntimeError("just now")] * (MAX_ATTEMPTS - 1)
    await _publish(a_bench, 1)
    async with _running(a_bench, faulty):
        await faulty.until(lambda: faulty.done == [1])
    assert len(faulty.batches) == MAX_ATTEMPTS
    assert await _letters(a_bench) == []


async def test_a_failure_that_does_not_pass_becomes_a_dead_letter(a_bench: Bench, faulty: FaultyStage) -> None:
    faulty.errors[1] = [RuntimeError("again")] * 99
    await _publish(a_bench, 1)
    async with _running(a_bench, faulty):
        await faulty.until(lambda: len(faulty.batches) == MAX_ATTEMPTS)
        await _publish(a_bench, 2)
        await faulty.until(lambda: faulty.done == [2])
    assert await _letters(a_bench) == [(1, MAX_ATTEMPTS, "RuntimeError: again")]


async def test_what_kills_the_process_again_and_again_is_worked_on_alone_and_then_given_up(
    a_bench: Bench, faulty: FaultyStage
) -> None:
    await _publish(a_bench, 1, 2)
    for _ in range(MAX_DELIVERIES - 1):
        assert len(await a_bench.broker.claim(StageName.DETECT, 4)) == 2
        await a_bench.broker.recover()
    async with _running(a_bench, faulty):
        await faulty.until(lambda: len(faulty.done) == 2)
    assert faulty.batches == [[1], [2]]
    await _publish(a_bench, 3)
    for _ in range(MAX_DELIVERIES):
        await a_bench.broker.claim(StageName.DETECT, 4)
        await a_bench.broker.recover()
    async with _running(a_bench, faulty):
        await _publish(a_bench, 4)
        await faulty.until(lambda: 4 in faulty.done)
    (letter,) = await _letters(a_bench)
    assert letter[:2] == (3, MAX_DELIVERIES + 1)
    assert "stopped" in letter[2]


async def test_what_waits_beside_a_killer_is_not_blamed_for_it(a_bench: Bench, faulty: FaultyStage) -> None:
    await _publish(a_bench, 1, 2, 3)
    for _ in range(MAX_DELIVERIES):
        await stage_module._claim(faulty, a_bench.broker)
        await a_bench.broker.recover()
    async with _running(a_bench, faulty):
        await faulty.until(lambda: len(faulty.done) == 2)
    assert faulty.done == [2, 3]
    assert [letter[0] for letter in await _letters(a_bench)] == [1]


@pytest.mark.parametrize(
    "failure",
    [OSError(28, "No space left on device"), OperationalError("INSERT", {}, Exception("database or disk is full"))],
)
async def test_a_storage_failure_makes_all_wait_in_their_order(
    a_bench: Bench, faulty: FaultyStage, failure: Exception
) -> None:
    assert isinstance(failure, STORAGE_FAILURES)
    faulty.batch_size = 1
    faulty.errors[1] = [failure] * (MAX_ATTEMPTS + 3)
    await _publish(a_bench, 1, 2)
    async with _running(a_bench, faulty):
        await faulty.until(lambda: len(faulty.batches) > MAX_ATTEMPTS)
        assert _stage_health(a_bench).state is HealthState.DOWN
        assert _stage_health(a_bench).remedy is not None
        await _publish(a_bench, 3)
        await faulty.until(lambda: len(faulty.done) == 3)
    assert faulty.done == [1, 2, 3]
    assert await _letters(a_bench) == []


async def test_a_storage_failure_halfway_repeats_nothing_that_is_done(a_bench: Bench, faulty: FaultyStage) -> None:
    faulty.errors = {1: [PermanentError("broken")], 2: [OSError(28, "No space left on device")]}
    await _publish(a_bench, 0, 1, 2, 3)
    async with _running(a_bench, faulty):
        await faulty.until(lambda: len(faulty.done) == 3)
    assert faulty.done == [0, 2, 3]
    assert [letter[0] for letter in await _letters(a_bench)] == [1]


async def test_a_broken_rule_of_the_database_is_no_storage_failure(a_bench: Bench, faulty: FaultyStage) -> None:
    faulty.errors[1] = [IntegrityError("INSERT", {}, Exception("UNIQUE constraint failed"))] * 99
    await _publish(a_bench, 1, 2)
    async with _running(a_bench, faulty):
        await faulty.until(lambda: len(faulty.batches) > MAX_ATTEMPTS)
        await _publish(a_bench, 3)
        await faulty.until(lambda: len(faulty.done) == 2)
    assert [letter[0] for letter in await _letters(a_bench)] == [1]


async def test_a_cancelled_stage_leaves_its_messages_to_the_next_start(a_bench: Bench, faulty: FaultyStage) -> None:
    await _publish(a_bench, 1)
    await a_bench.broker.claim(StageName.DETECT, 1)
    assert await a_bench.broker.recover() == 1
    async with _running(a_bench, faulty):
        await faulty.until(lambda: faulty.done == [1])


def test_the_delays_double_up_to_a_limit_and_differ() -> None:
    for attempts in range(1, 20):
        ceiling = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** (attempts - 1))
        delays = [retry_delay(attempts).total_seconds() for _ in range(50)]
        assert all(ceiling / 2 <= delay <= ceiling for delay in delays)
        assert len(set(delays)) > 1
    assert all(retry_delay(early) <= retry_delay(later) for early, later in pairwise([1, 3, 5, 20]))


async def _detect_all(bench: Bench) -> None:
    """Do, as the loop does, all that is available to the detect stage."""
    while messages := await bench.broker.claim(bench.detect.name, bench.detect.batch_size):
        await stage_module._consume(bench.detect, bench.broker, messages)


async def test_pictures_of_several_cameras_are_detected_together(a_bench: Bench) -> None:
    await a_bench.take(*[a_bench.picture(a_person(), camera=f"camera_{number % 3}") for number in range(10)])
    await a_bench.work(a_bench.detect)
    assert a_bench.detector.calls == [[*range(1, 11)]]


async def test_a_picture_that_is_gone_is_a_dead_letter_and_the_others_are_judged(a_bench: Bench) -> None:
    good, gone = a_bench.picture(a_person()), a_bench.picture(a_person())
    await a_bench.take(good, gone)
    (a_bench.media.root / gone.media_path).unlink()
    await _detect_all(a_bench)
    ((_, _, reason),) = await _letters(a_bench)
    assert "is gone from the media folder" in reason
    await a_bench.work()
    assert [event.frame_count for event in await a_bench.events()] == [1]


async def test_a_picture_that_is_damaged_on_disk_is_a_dead_letter(a_bench: Bench) -> None:
    damaged = a_bench.picture(a_person())
    await a_bench.take(damaged)
    (a_bench.media.root / damaged.media_path).write_bytes(b"damaged")
    await _detect_all(a_bench)
    ((_, attempts, reason),) = await _letters(a_bench)
    assert attempts == 1
    assert "cannot be decoded" in reason


async def test_one_picture_that_cannot_be_read_does_not_make_all_wait(
    a_bench: Bench, faulty: FaultyStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = a_bench.picture(a_person())
    await a_bench.take(bad, a_bench.picture(a_person()))
    path = a_bench.media.root / bad.media_path
    path.unlink()
    path.mkdir()
    await _detect_all(a_bench)
    ((_, attempts, reason),) = await _letters(a_bench)
    assert attempts == MAX_ATTEMPTS
    assert "cannot be read" in reason


async def test_a_detector_that_fails_at_one_picture_judges_the_others(a_bench: Bench, faulty: FaultyStage) -> None:
    await a_bench.take(a_bench.picture(a_person()), a_bench.picture(fails=RuntimeError("a wrong shape")))
    await _detect_all(a_bench)
    assert [reason for _, _, reason in await _letters(a_bench)] == ["RuntimeError: a wrong shape"]
    await a_bench.work()
    assert len(await a_bench.events()) == 1


async def test_what_another_worker_took_over_is_not_given_up(
    a_bench: Bench, faulty: FaultyStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    worked_on: asyncio.Queue[int] = asyncio.Queue()

    async def consume(taken: Sequence[Message]) -> None:
        async with a_bench.database.writing() as connection:
            await connection.execute(delete(messages).where(messages.c.id.in_([message.id for message in taken])))
        await worked_on.put(taken[0].work.subject_id)
        raise PermanentError("nobody can judge this")

    monkeypatch.setattr(faulty, "consume", consume)
    async with _running(a_bench, faulty), asyncio.timeout(PATIENCE_SECONDS):
        for subject in (1, 2):
            await _publish(a_bench, subject)
            assert await worked_on.get() == subject
    assert await _letters(a_bench) == []


async def test_a_frame_that_was_detected_twice_keeps_one_set_of_detections(a_bench: Bench) -> None:
    await a_bench.take(a_bench.picture(a_person(), a_person(x=40)))
    (message,) = await a_bench.broker.claim(StageName.DETECT, 1)
    await a_bench.detect.consume([message])
    with pytest.raises(MessageTakenError):
        await a_bench.detect.consume([message])
    await a_bench.work()
    assert len(await a_bench.detections()) == 2
    (event,) = await a_bench.events()
    assert (event.frame_count, len(event.tracks)) == (1, 2)
