# SPDX-License-Identifier: AGPL-3.0-or-later
"""The broker's contract. Every implementation is one more entry of BROKERS."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from inference_server.core.message import Failure, Message, Priority, StageName, Work
from inference_server.core.status import QueueStatus
from inference_server.observability.health import HealthBoard
from inference_server.pipeline.broker import Broker
from inference_server.pipeline.redis_broker import RedisBroker
from inference_server.pipeline.sql_broker import LEASE, SqlBroker
from inference_server.pipeline.streams import Streams
from inference_server.storage import dead_letters as dead_letters_of
from inference_server.storage.database import Database
from inference_server.storage.messages import MessageTakenError
from inference_server.storage.tables import dead_letters
from tests.support.home import START, MovableClock
from tests.support.services import PostgreSql, Redis

DETECT, GATHER, CLOSE = StageName.DETECT, StageName.GATHER, StageName.CLOSE
PATIENCE_SECONDS = 10
REDIS_LEASE = timedelta(seconds=0.3)
"""Redis measures how long a worker was silent by its own clock."""


@dataclass
class Queue:
    """A broker with the database whose transactions it takes part in."""

    database: Database
    clock: MovableClock
    broker: Broker
    redis: Redis | None = None

    async def publish(self, *work: Work) -> None:
        """Publish in a transaction of its own."""
        async with self.broker.transaction() as transaction:
            await transaction.publish(work)

    async def complete(self, *messages: Message) -> None:
        """Complete in a transaction of its own."""
        async with self.broker.transaction() as transaction:
            await transaction.complete(messages)

    async def claim(self, stage: StageName = DETECT, limit: int = 10) -> list[Message]:
        """Claim whatever is due."""
        if isinstance(self.broker, RedisBroker):
            await self.broker.deliver()
        return await self.broker.claim(stage, limit)

    async def subjects(self, stage: StageName = DETECT, limit: int = 10) -> list[int]:
        """Claim and return the subjects of what was claimed."""
        return [message.work.subject_id for message in await self.claim(stage, limit)]

    @asynccontextmanager
    async def another_worker(self) -> AsyncIterator["Queue"]:
        """Give the same queue as another worker sees it."""
        async with _broker(self.database, self.clock, self.redis, worker="two") as broker:
            yield Queue(self.database, self.clock, broker, self.redis)

    async def let_the_lease_end(self) -> None:
        """Let so much time pass that a worker which was not heard of counts as gone."""
        if isinstance(self.broker, RedisBroker):
            await asyncio.sleep(1.5 * REDIS_LEASE.total_seconds())
        else:
            self.clock.move(seconds=LEASE.total_seconds() + 1)


KINDS = ("sqlite", "postgresql", "redis")


@pytest.fixture(params=KINDS)
async def queue(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Queue]:
    """Give each broker with an empty queue."""
    kind, clock = request.param, MovableClock()
    postgresql: PostgreSql | None = None if kind == "sqlite" else request.getfixturevalue("postgresql")
    database = Database(postgresql.migrated_database() if postgresql else tmp_path / "hsi.db")
    await database.open()
    redis: Redis | None = request.getfixturevalue("redis") if kind == "redis" else None
    async with _broker(database, clock, redis) as broker:
        yield Queue(database, clock, broker, redis)
    await database.close()


@asynccontextmanager
async def _broker(
    database: Database, clock: MovableClock, redis: Redis | None, worker: str = "one"
) -> AsyncIterator[Broker]:
    if redis is None:
        yield SqlBroker(database, clock, worker=worker)
        return
    streams = Streams(redis.url, prefix=f"test:{database.url.database}", worker=worker)
    broker = RedisBroker(database, clock, streams=streams, health=HealthBoard(clock), worker=worker, lease=REDIS_LEASE)
    await broker.deliver()
    yield broker
    await streams.close()


def _work(
    subject: int = 1, stage: StageName = DETECT, camera: str = "front", priority: int = Priority.LIVE, **later: float
) -> Work:
    return Work(stage, subject, camera, START + timedelta(**later), priority)


async def test_what_is_published_is_claimed_and_then_done(queue: Queue) -> None:
    await queue.publish(_work(7))
    (message,) = await queue.claim(DETECT, 10)
    assert (message.work, message.attempts, message.enqueued_at) == (_work(7), 1, START)
    assert await queue.broker.status() == QueueStatus(depth=1, dead_letters=0, live=1)
    await queue.complete(message)
    assert await queue.broker.status() == QueueStatus(depth=0, dead_letters=0)
    queue.clock.move(days=1)
    assert await queue.subjects() == []


async def test_a_rolled_back_transaction_publishes_and_completes_nothing(queue: Queue) -> None:
    await queue.publish(_work(1))
    (message,) = await queue.claim(DETECT, 10)

    async def fail() -> None:
        async with queue.broker.transaction() as transaction:
            await transaction.publish([_work(2)])
            await transaction.complete([message])
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
    (first,) = await queue.claim()
    async with queue.another_worker() as other:
        assert await other.subjects() == []
        await queue.let_the_lease_end()
        (again,) = await other.claim()
        assert (again.id, again.attempts) == (first.id, 2)
        await other.complete(again)
    with pytest.raises(MessageTakenError):
        await queue.complete(first)
    await queue.broker.forget([first])
    assert await queue.broker.status() == QueueStatus(0, 0)


async def test_a_worker_that_is_heard_of_keeps_what_it_works_on(queue: Queue) -> None:
    await queue.publish(_work(1))
    (message,) = await queue.claim()
    running = asyncio.create_task(queue.broker.run())
    async with queue.another_worker() as other:
        if isinstance(queue.broker, SqlBroker) and not isinstance(queue.broker, RedisBroker):
            queue.clock.move(seconds=LEASE.total_seconds() - 1)
            await queue.broker.renew()  # what `run` does every ten seconds
            queue.clock.move(seconds=LEASE.total_seconds() - 1)
        else:
            await queue.let_the_lease_end()
        assert await other.subjects() == []
    running.cancel()
    await queue.complete(message)


async def test_whoever_completes_first_has_done_it_and_the_other_changes_nothing(queue: Queue) -> None:
    await queue.publish(_work(1))
    (message,) = await queue.claim()
    await queue.complete(message)

    async def once_more() -> None:
        async with queue.broker.transaction() as transaction:
            await transaction.publish([_work(2)])
            await transaction.complete([message])

    with pytest.raises(MessageTakenError):
        await once_more()
    assert await queue.broker.status() == QueueStatus(0, 0)


async def test_cameras_take_turns_however_many_pictures_one_of_them_sent(queue: Queue) -> None:
    await queue.publish(*[_work(subject, camera="busy") for subject in range(6)])
    await queue.complete(*await queue.claim(limit=2))
    await queue.publish(_work(100, camera="quiet"), _work(101, camera="quiet"), _work(200, camera="other"))
    if isinstance(queue.broker, RedisBroker):
        return  # what is in the stream already stays in front: at most the window
    assert await queue.subjects(limit=3) == [2, 100, 200]
    assert await queue.subjects(limit=9) == [3, 101, 4, 5]


async def test_old_pictures_wait_for_live_ones(queue: Queue) -> None:
    await queue.publish(*[_work(subject, priority=Priority.HISTORY, camera="old") for subject in range(3)], _work(9))
    assert await queue.subjects(limit=2) == [9, 0]
    async with queue.database.reading() as connection:
        assert not await queue.broker.frames_wait(connection, "old")
    assert await queue.broker.status() == QueueStatus(depth=4, dead_letters=0, live=1)


async def test_dead_letters_go_back_to_their_stage_and_remember_how_often(queue: Queue) -> None:
    await queue.publish(_work(1), _work(2))
    for message in await queue.claim():
        await queue.broker.bury(message, Failure("broken", "detector"))
    for replays in (1, 2):
        async with queue.database.reading() as connection:
            ids = await dead_letters_of.oldest_of(connection, "detector", replays_below=9, limit=9)
            assert await dead_letters_of.oldest_of(connection, "detector", replays_below=replays - 1, limit=9) == ()
        assert await queue.broker.replay(ids) == 2
        assert await queue.broker.replay(ids) == 0
        again = await queue.claim()
        assert [(message.work.subject_id, message.attempts) for message in again] == [(1, 1), (2, 1)]
        for message in again:
            await queue.broker.bury(message, Failure("broken", "detector"))
    async with queue.database.reading() as connection:
        page = await dead_letters_of.find(connection, limit=9)
    assert [letter.replays for letter in page.items] == [2, 2]


async def test_two_who_claim_at_once_never_get_the_same(queue: Queue) -> None:
    await queue.publish(*[_work(subject) for subject in range(40)])
    claimed = await asyncio.gather(*(queue.subjects(limit=7) for _ in range(8)))
    assert sorted(subject for part in claimed for subject in part) == list(range(40))


async def test_what_a_crashed_process_had_claimed_is_taken_back(queue: Queue) -> None:
    await queue.publish(_work(1), _work(2))
    await queue.subjects(limit=1)
    assert await queue.broker.recover() == 1
    assert await queue.broker.recover() == 0
    assert sorted(await queue.subjects()) == [1, 2]


async def test_work_for_later_waits_for_its_time(queue: Queue) -> None:
    await queue.publish(_work(1, seconds=30))
    queue.clock.time = START + timedelta(seconds=30, microseconds=-1)
    assert await queue.subjects() == []
    queue.clock.time = START + timedelta(seconds=30)
    assert await queue.subjects() == [1]


async def test_what_was_published_before_the_clock_was_set_back_does_not_wait(queue: Queue) -> None:
    await queue.publish(_work(1, days=1), _work(2, minutes=2))
    assert await queue.subjects() == [1]


async def test_a_retry_comes_back_after_its_delay_and_counts(queue: Queue) -> None:
    await queue.publish(_work(1))
    (message,) = await queue.claim(DETECT, 1)
    await queue.broker.retry(message, "no luck\0\udcff", timedelta(seconds=4))
    queue.clock.move(seconds=3)
    assert await queue.subjects() == []
    queue.clock.move(seconds=1)
    (again,) = await queue.claim(DETECT, 1)
    assert (again.id, again.attempts, again.enqueued_at) == (message.id, 2, START)


async def test_a_buried_message_is_a_dead_letter_with_its_reason(queue: Queue) -> None:
    await queue.publish(_work(1))
    (message,) = await queue.claim(DETECT, 1)
    queue.clock.move(seconds=9)
    await queue.broker.bury(message, Failure("x" * 5000, "detector", "trace"))
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
        (message,) = await queue.claim(DETECT, 1)
        await queue.broker.bury(message, Failure(reason))
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
    (again,) = await queue.claim(CLOSE, 1)
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
    (message,) = await queue.claim(GATHER, 1)
    assert await wait("front")
    await queue.complete(message)
    assert not await wait("front")


async def test_timers_do_not_count_as_waiting_work(queue: Queue) -> None:
    await queue.publish(_work(1, CLOSE), _work(1, DETECT), _work(2, GATHER))
    assert await queue.broker.status() == QueueStatus(depth=2, dead_letters=0, live=2)


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
    (message,) = await queue.claim(DETECT, 1)
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
            messages = await queue.claim(DETECT, 5)
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


async def test_what_is_wished_waits_once_and_at_most_becomes_more_urgent(queue: Queue) -> None:
    async def wish(*work: Work) -> None:
        async with queue.broker.transaction() as transaction:
            await transaction.wish(work)

    analyse = StageName.ANALYSE
    await wish(_work(1, analyse, "street", 80), _work(2, analyse, "yard", 60), _work(3, analyse, "yard", 60))
    await wish(_work(1, analyse, "street", 90))
    assert await queue.broker.status() == QueueStatus(depth=0, dead_letters=0)
    (first,) = await queue.claim(analyse, 1)
    await wish(_work(3, analyse, "yard", 20), _work(first.work.subject_id, analyse, "yard", 10))
    await queue.complete(first)
    (second,) = await queue.claim(analyse, 1)
    await queue.complete(second)
    (third,) = await queue.claim(analyse, 1)
    await queue.complete(third)
    assert {message.work.subject_id for message in (first, second)} == {2, 3}
    assert third.work.subject_id == 1
    assert await queue.subjects(analyse) == []


async def test_work_that_holds_no_picture_up_is_not_waited_for(queue: Queue) -> None:
    async with queue.broker.transaction() as transaction:
        await transaction.wish([_work(1, StageName.ANALYSE, priority=0)])
        assert not await queue.broker.frames_wait(transaction.connection, "front")
