# SPDX-License-Identifier: AGPL-3.0-or-later
"""The broker's contract. Every implementation is one more entry of BROKERS."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from inference_server.core.clock import Clock
from inference_server.core.status import QueueStatus
from inference_server.pipeline.broker import Broker, Message, StageName, Work
from inference_server.pipeline.sql_broker import LEASE, SqlBroker
from inference_server.storage.database import Database
from inference_server.storage.tables import dead_letters
from tests.support.home import START, MovableClock

BROKERS: dict[str, Callable[[Database, Clock], Broker]] = {"sql": SqlBroker}
DETECT, GATHER, CLOSE = StageName.DETECT, StageName.GATHER, StageName.CLOSE
PATIENCE_SECONDS = 10


@dataclass
class Queue:
    """A broker with the database whose transactions it takes part in."""

    database: Database
    clock: MovableClock
    broker: Broker

    async def publish(self, *work: Work) -> None:
        """Publish in a transaction of its own and notify."""
        async with self.database.writing() as connection:
            await self.broker.publish(connection, work)
        self.broker.notify()

    async def complete(self, *messages: Message) -> None:
        """Complete in a transaction of its own."""
        async with self.database.writing() as connection:
            await self.broker.complete(connection, messages)

    async def subjects(self, stage: StageName = DETECT, limit: int = 10) -> list[int]:
        """Claim and return the subjects of what was claimed."""
        return [message.work.subject_id for message in await self.broker.claim(stage, limit)]


@pytest.fixture(params=sorted(BROKERS))
async def queue(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Queue]:
    """Give each broker with an empty queue."""
    database, clock = Database(tmp_path / "hsi.db"), MovableClock()
    await database.open()
    yield Queue(database, clock, BROKERS[request.param](database, clock))
    await database.close()


def _work(subject: int = 1, stage: StageName = DETECT, camera: str = "front", **later: float) -> Work:
    return Work(stage, subject, camera, START + timedelta(**later))


async def test_what_is_published_is_claimed_and_then_done(queue: Queue) -> None:
    await queue.publish(_work(7))
    (message,) = await queue.broker.claim(DETECT, 10)
    assert (message.work, message.attempts, message.enqueued_at) == (_work(7), 1, START)
    assert await queue.broker.status() == QueueStatus(depth=1, dead_letters=0)
    await queue.complete(message)
    assert await queue.broker.status() == QueueStatus(depth=0, dead_letters=0)
    queue.clock.move(days=1)
    assert await queue.subjects() == []


async def test_a_rolled_back_transaction_publishes_and_completes_nothing(queue: Queue) -> None:
    await queue.publish(_work(1))
    (message,) = await queue.broker.claim(DETECT, 10)

    async def fail() -> None:
        async with queue.database.writing() as connection:
            await queue.broker.publish(connection, [_work(2)])
            await queue.broker.complete(connection, [message])
            raise RuntimeError("rolled back")

    with pytest.raises(RuntimeError):
        await fail()
    assert await queue.broker.recover() == 1
    assert await queue.subjects() == [1]


async def test_the_oldest_comes_first_up_to_the_limit(queue: Queue) -> None:
    for subject in (3, 1, 2):
        await queue.publish(_work(subject))
    assert await queue.subjects(limit=2) == [3, 1]
    assert await queue.subjects(limit=2) == [2]


async def test_each_stage_gets_its_own_messages(queue: Queue) -> None:
    await queue.publish(_work(1, DETECT), _work(1, GATHER))
    assert await queue.subjects(GATHER) == [1]
    assert await queue.subjects(CLOSE) == []
    assert await queue.subjects(DETECT) == [1]


async def test_a_claimed_message_is_kept_from_others_for_its_lease(queue: Queue) -> None:
    await queue.publish(_work(1))
    await queue.subjects()
    queue.clock.time = START + LEASE
    assert await queue.subjects() == []
    queue.clock.move(seconds=1)
    (again,) = await queue.broker.claim(DETECT, 10)
    assert again.attempts == 2


async def test_two_who_claim_at_once_never_get_the_same(queue: Queue) -> None:
    await queue.publish(*[_work(subject) for subject in range(40)])
    claimed = await asyncio.gather(*(queue.subjects(limit=7) for _ in range(8)))
    assert sorted(subject for part in claimed for subject in part) == list(range(40))


async def test_what_a_crashed_process_had_claimed_is_taken_back(queue: Queue) -> None:
    await queue.publish(_work(1), _work(2))
    await queue.subjects(limit=1)
    assert await queue.broker.recover() == 1
    assert await queue.broker.recover() == 0
    assert await queue.subjects() == [1, 2]


async def test_work_for_later_waits_for_its_time(queue: Queue) -> None:
    await queue.publish(_work(1, seconds=30))
    queue.clock.time = START + timedelta(seconds=30, microseconds=-1)
    assert await queue.subjects() == []
    queue.clock.time = START + timedelta(seconds=30)
    assert await queue.subjects() == [1]


async def test_what_was_published_before_the_clock_was_set_back_does_not_wait(queue: Queue) -> None:
    await queue.publish(_work(1, days=1), _work(2, minutes=30))
    assert await queue.subjects() == [1]


async def test_a_retry_comes_back_after_its_delay_and_counts(queue: Queue) -> None:
    await queue.publish(_work(1))
    (message,) = await queue.broker.claim(DETECT, 1)
    await queue.broker.retry(message, "no luck", timedelta(seconds=4))
    queue.clock.move(seconds=3)
    assert await queue.subjects() == []
    queue.clock.move(seconds=1)
    (again,) = await queue.broker.claim(DETECT, 1)
    assert (again.id, again.attempts, again.enqueued_at) == (message.id, 2, START)


async def test_a_buried_message_is_a_dead_letter_with_its_reason(queue: Queue) -> None:
    await queue.publish(_work(1))
    (message,) = await queue.broker.claim(DETECT, 1)
    queue.clock.move(seconds=9)
    await queue.broker.bury(message, "x" * 5000)
    assert await queue.broker.status() == QueueStatus(depth=0, dead_letters=1)
    queue.clock.move(days=1)
    assert await queue.subjects() == []
    async with queue.database.reading() as connection:
        (letter,) = (await connection.execute(select(dead_letters))).all()
        assert not await queue.broker.frames_wait(connection, "front")
    assert (letter.stage, letter.subject_id, letter.camera_id, letter.attempts) == ("detect", 1, "front", 1)
    assert (letter.enqueued_at, letter.died_at) == (START, START + timedelta(seconds=9))
    assert letter.reason == "x" * len(letter.reason) != ""


async def test_work_that_dies_twice_is_one_dead_letter(queue: Queue) -> None:
    for reason in ("first", "second"):
        await queue.publish(_work(1))
        (message,) = await queue.broker.claim(DETECT, 1)
        await queue.broker.bury(message, reason)
    async with queue.database.reading() as connection:
        assert (await connection.execute(select(dead_letters.c.reason))).scalars().all() == ["second"]


async def test_publishing_again_moves_the_time_and_makes_no_second_message(queue: Queue) -> None:
    await queue.publish(_work(1, CLOSE, seconds=10))
    await queue.publish(_work(1, CLOSE, seconds=20))
    queue.clock.move(seconds=15)
    assert await queue.subjects(CLOSE) == []
    queue.clock.move(seconds=5)
    assert await queue.subjects(CLOSE) == [1]


async def test_publishing_again_what_is_claimed_gives_it_back_fresh(queue: Queue) -> None:
    await queue.publish(_work(1, CLOSE))
    await queue.subjects(CLOSE)
    await queue.publish(_work(1, CLOSE, seconds=1))
    assert await queue.subjects(CLOSE) == []
    queue.clock.move(seconds=1)
    (again,) = await queue.broker.claim(CLOSE, 1)
    assert again.attempts == 1


async def test_publishing_nothing_is_nothing(queue: Queue) -> None:
    await queue.publish()
    assert await queue.broker.status() == QueueStatus(0, 0)


async def test_frames_of_a_camera_wait_until_they_have_left_every_stage(queue: Queue) -> None:
    async def wait(camera: str) -> bool:
        async with queue.database.reading() as connection:
            return await queue.broker.frames_wait(connection, camera)

    await queue.publish(_work(9, CLOSE))
    assert not await wait("front")
    await queue.publish(_work(1, GATHER, seconds=60))
    assert await wait("front")
    assert not await wait("back")
    queue.clock.move(seconds=60)
    (message,) = await queue.broker.claim(GATHER, 1)
    assert await wait("front")
    await queue.complete(message)
    assert not await wait("front")


async def test_timers_do_not_count_as_waiting_work(queue: Queue) -> None:
    await queue.publish(_work(1, CLOSE), _work(1, DETECT), _work(2, GATHER))
    assert await queue.broker.status() == QueueStatus(depth=2, dead_letters=0)


async def test_a_wait_ends_at_once_when_work_is_there(queue: Queue) -> None:
    await queue.publish(_work(1))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await queue.broker.wait(DETECT)


async def test_a_wait_ends_when_work_is_published(queue: Queue) -> None:
    waiting = asyncio.create_task(queue.broker.wait(DETECT))
    await queue.publish(_work(1, GATHER))
    await queue.publish(_work(1, DETECT))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await waiting
    assert await queue.subjects() == [1]


async def test_a_wait_ends_when_a_message_is_given_back(queue: Queue) -> None:
    await queue.publish(_work(1))
    (message,) = await queue.broker.claim(DETECT, 1)
    waiting = asyncio.create_task(queue.broker.wait(DETECT))
    await queue.broker.retry(message, "no luck", timedelta(0))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await waiting
    assert await queue.subjects() == [1]


async def test_a_wait_ends_when_the_next_work_is_due(queue: Queue) -> None:
    await queue.publish(_work(1, milliseconds=30), _work(2, hours=1))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await queue.broker.wait(DETECT)


async def test_no_wake_up_is_lost_between_many_publishers_and_a_consumer(queue: Queue) -> None:
    done: list[int] = []

    async def consume() -> None:
        while len(done) < 60:
            await queue.broker.wait(DETECT)
            messages = await queue.broker.claim(DETECT, 5)
            await queue.complete(*messages)
            done.extend(message.work.subject_id for message in messages)

    async def produce(first: int) -> None:
        for subject in range(first, first + 20):
            await queue.publish(_work(subject))

    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as tasks:
        tasks.create_task(consume())
        for first in (0, 20, 40):
            tasks.create_task(produce(first))
    assert sorted(done) == list(range(60))
