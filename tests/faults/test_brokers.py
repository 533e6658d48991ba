# SPDX-License-Identifier: AGPL-3.0-or-later
"""What fails in the middle of the brokers' own steps: nothing stays claimed by nobody, nothing is sent nowhere."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.message import Message, StageName, Work
from inference_server.observability.health import HealthBoard
from inference_server.pipeline.breaker import ServiceDownError
from inference_server.pipeline.broker import BrokerDownError
from inference_server.pipeline.redis_broker import RedisBroker
from inference_server.pipeline.retry import SUSPECT_ATTEMPTS
from inference_server.pipeline.sql_broker import LEASE, Held, SqlBroker
from inference_server.pipeline.stage import run_stage
from inference_server.pipeline.streams import Streams
from inference_server.storage.database import Database, DatabaseDownError
from tests.support.home import START, MovableClock
from tests.support.services import PostgreSql, Redis

DETECT, CLOSE = StageName.DETECT, StageName.CLOSE
PATIENCE_SECONDS = 20

type Worker = Callable[[str], AbstractAsyncContextManager[RedisBroker]]


def _work(*subjects: int, stage: StageName = DETECT) -> list[Work]:
    return [Work(stage, subject, "front", START) for subject in subjects]


async def _publish(broker: SqlBroker, *work: Work) -> None:
    async with broker.transaction() as transaction:
        await transaction.publish(work)


async def _complete(broker: SqlBroker, *messages: Message) -> None:
    async with broker.transaction() as transaction:
        await transaction.complete(messages)


async def _let_the_lease_end(broker: SqlBroker, clock: MovableClock) -> None:
    """Let so much time pass that only what is being worked on is still kept."""
    for _ in range(2):
        clock.move(seconds=LEASE.total_seconds() * 2 / 3)
        await broker.renew()


@pytest.fixture
async def database(tmp_path: Path, where: URL | None) -> AsyncIterator[Database]:
    """Give an empty database of either kind."""
    made = Database(where or tmp_path / "hsi.db")
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def worker(postgresql: PostgreSql, redis: Redis) -> AsyncIterator[Worker]:
    """Give what makes workers on one database and one Redis."""
    database = Database(postgresql.migrated_database())

    @asynccontextmanager
    async def make(name: str) -> AsyncIterator[RedisBroker]:
        clock = MovableClock()
        streams = Streams(redis.url, prefix=f"test:{database.url.database}", worker=name)
        broker = RedisBroker(
            database, clock, streams=streams, health=HealthBoard(clock), worker=name, lease=timedelta(seconds=0.3)
        )
        await broker._check()
        yield broker
        await broker.close()

    yield make
    await database.close()


async def test_a_claim_whose_commit_was_not_heard_of_comes_back_after_its_lease(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = MovableClock()
    broker = SqlBroker(database, clock)
    await _publish(broker, *_work(1))
    writing = Database.writing

    @asynccontextmanager
    async def interrupted(self: Database) -> AsyncIterator[Any]:
        async with writing(self) as connection:
            yield connection
        raise DatabaseDownError("the connection was lost")

    monkeypatch.setattr(Database, "writing", interrupted)
    with pytest.raises(DatabaseDownError):
        await broker.claim(DETECT, 1)
    monkeypatch.undo()
    await _let_the_lease_end(broker, clock)
    assert [message.work.subject_id for message in await broker.claim(DETECT, 1)] == [1]


async def test_what_cannot_be_given_back_comes_back_after_its_lease(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = MovableClock()
    broker, health = SqlBroker(database, clock), HealthBoard(clock)
    await _publish(broker, *_work(1))
    asked = asyncio.Event()

    class Down:
        name, batch_size, lanes = DETECT, 1, 1

        async def ready(self) -> None:
            """Be ready."""

        async def consume(self, messages: Sequence[Message]) -> None:
            """Find the service down, and then the database."""
            monkeypatch.setattr(broker, "release", fail)
            raise ServiceDownError("not now")

    async def fail(_messages: list[Message]) -> None:
        asked.set()
        raise DatabaseDownError("the database is away")

    running = asyncio.create_task(run_stage(Down(), broker, health))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await asked.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    monkeypatch.undo()
    await _let_the_lease_end(broker, clock)
    assert len(await broker.claim(DETECT, 1)) == 1


async def test_suspects_that_cannot_be_told_apart_come_back_after_their_lease(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = MovableClock()
    broker = SqlBroker(database, clock)
    await _publish(broker, *_work(1, 2))
    for _ in range(SUSPECT_ATTEMPTS - 1):
        await broker.claim(DETECT, 2)
        await broker.recover()
    asked = asyncio.Event()

    async def fail(_messages: list[Message]) -> None:
        asked.set()
        raise DatabaseDownError("the database is away")

    class Idle:
        name, batch_size, lanes = DETECT, 2, 1

        async def ready(self) -> None:
            """Be ready."""

        async def consume(self, messages: Sequence[Message]) -> None:
            """Never be asked."""
            raise AssertionError(messages)

    monkeypatch.setattr(broker, "release", fail)
    running = asyncio.create_task(run_stage(Idle(), broker, HealthBoard(clock)))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await asked.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await _let_the_lease_end(broker, clock)
    assert len(await broker.claim(DETECT, 2)) == 2


async def test_a_stage_that_crashes_leaves_its_messages_to_their_lease(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = MovableClock()
    broker = SqlBroker(database, clock)
    await _publish(broker, *_work(1))

    class Failing:
        name, batch_size, lanes = DETECT, 1, 1

        async def ready(self) -> None:
            """Be ready."""

        async def consume(self, messages: Sequence[Message]) -> None:
            """Fail."""
            raise ZeroDivisionError

    async def fail(*_arguments: object) -> None:
        raise TypeError("an error in the product")

    monkeypatch.setattr(broker, "retry", fail)
    with pytest.raises(TypeError):
        await run_stage(Failing(), broker, HealthBoard(clock))
    await _let_the_lease_end(broker, clock)
    assert len(await broker.claim(DETECT, 1)) == 1


async def test_a_stream_that_was_deleted_by_hand_is_filled_again(worker: Worker) -> None:
    async with worker("one") as broker:
        await _publish(broker, *_work(1))
        await broker.deliver()
        await broker._streams._client.delete(broker._streams._stream(DETECT))
        broker._check_at = 0.0  # which `run` waits two seconds for
        await broker.deliver()
        assert [message.work.subject_id for message in await broker.claim(DETECT, 9)] == [1]


async def test_a_flush_while_the_streams_are_filled_is_noticed(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    async with worker("one") as broker:
        await _publish(broker, *_work(1))
        client, rebuilt = broker._streams._client, broker._streams.rebuilt

        async def flushed_before() -> None:
            await client.delete(*(broker._streams._stream(stage) for stage in StageName))
            await rebuilt()

        await client.delete(broker._streams._name("filled_by"))
        monkeypatch.setattr(broker._streams, "rebuilt", flushed_before)
        await broker._check()
        monkeypatch.undo()
        broker._check_at = 0.0
        await broker.deliver()
        assert len(await broker.claim(DETECT, 9)) == 1


async def test_what_is_sent_while_another_worker_empties_the_streams_is_sent_again(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with worker("one") as one, worker("two") as two:
        await _publish(one, *_work(1))
        sent, emptied, add = asyncio.Event(), asyncio.Event(), one._streams.add

        async def slowly(stage: StageName, items: Any) -> None:
            await add(stage, items)
            sent.set()
            await emptied.wait()

        monkeypatch.setattr(one._streams, "add", slowly)
        sending = asyncio.create_task(one._send())
        await sent.wait()
        await two._streams._client.delete(two._streams._name("filled_by"))
        checking = asyncio.create_task(two._check())
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await two._streams.lengths())[DETECT]:  # noqa: ASYNC110 - Redis tells nobody
                await asyncio.sleep(0.01)
        await asyncio.wait([checking], timeout=0.3)  # it would go on if nothing kept it
        emptied.set()
        await asyncio.gather(sending, checking)
        await two.deliver()
        assert [message.work.subject_id for message in await two.claim(DETECT, 9)] == [1]


async def test_a_worker_that_died_while_it_filled_the_streams_goes_on_when_it_is_back(worker: Worker) -> None:
    async with worker("one") as broker:
        await broker._streams._client.delete(broker._streams._name("filled_by"))
        assert await broker._streams.rebuild()
    async with worker("two") as other:
        assert not await other._streams.are_intact()
    async with worker("one") as again:
        assert await again._streams.are_intact()


async def test_streams_that_another_worker_has_just_filled_are_not_emptied_again(worker: Worker) -> None:
    async with worker("one") as one, worker("two") as two:
        await _publish(one, *_work(1))
        await one.deliver()
        assert not await two._streams.rebuild()
        assert (await one._streams.lengths())[DETECT] == 1
        await one._streams._client.delete(one._streams._name("filled_by"))
        assert await one._streams.rebuild()


async def test_a_worker_that_died_while_it_filled_the_streams_anew_hides_behind_nobody(worker: Worker) -> None:
    async with worker("one") as one:
        await _publish(one, *_work(1))
        await one.deliver()
        await one._streams._client.delete(one._streams._name("filled_by"))
        assert await one._streams.rebuild()
        async with worker("two") as two:
            await two._streams._client.delete(two._streams._name("rebuilding"))  # as a flush does
            assert await two._streams.rebuild()
        await one._streams.rebuilt()
        assert not await one._streams.are_intact()
    async with worker("two") as again:
        await again.deliver()
        assert len(await again.claim(DETECT, 9)) == 1


async def test_what_was_taken_stays_when_redis_fails_at_that_moment(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with worker("one") as broker:
        await _publish(broker, *_work(1))
        await broker.deliver()
        await broker.wait(DETECT)

        async def fail(*_arguments: object, **_named: object) -> None:
            raise BrokerDownError("Redis does not answer")

        monkeypatch.setattr(broker._streams, "read", fail)
        with pytest.raises(BrokerDownError):
            await broker.claim(DETECT, 9)
        monkeypatch.undo()
        assert [message.work.subject_id for message in await broker.claim(DETECT, 9)] == [1]


async def test_timers_that_are_set_anew_leave_nothing_in_the_stream(worker: Worker) -> None:
    async with worker("one") as one, worker("two") as two:
        for broker in (one, two, one, two):
            await _publish(broker, *_work(1, stage=CLOSE))
            await broker.deliver()
            (message,) = await broker.claim(CLOSE, 9)
            await _publish(broker, *_work(1, stage=CLOSE))
        await two.deliver()
        (message,) = await two.claim(CLOSE, 9)
        await _complete(two, message)
        assert (await one._streams.lengths())[CLOSE] == 0
        assert not one._held


async def test_what_is_claimed_anew_right_after_it_was_given_back_stays_claimed(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with worker("one") as one:
        await _publish(one, *_work(1))
        await one.deliver()
        again: list[Message] = []
        settle = one._settle

        async def late(ended: Sequence[Held]) -> None:
            await one.deliver()
            again.extend(await one.claim(DETECT, 9))
            await settle(ended)

        monkeypatch.setattr(one, "_settle", late)
        await one.release(await one.claim(DETECT, 9))
        monkeypatch.undo()
        (message,) = again
        assert (await one._streams.lengths())[DETECT] == 1
        assert list(one._held) == [message.id]
        await _complete(one, message)
        assert (await one._streams.lengths())[DETECT] == 0


async def test_what_is_claimed_right_after_it_was_published_stays_claimed(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with worker("one") as one, worker("two") as two:
        await one.deliver()
        writing, claimed = one._database.writing, []

        @asynccontextmanager
        async def committed_slowly() -> AsyncIterator[AsyncConnection]:
            async with writing() as connection:
                yield connection
            monkeypatch.undo()
            await two.deliver()
            claimed.extend(await one.claim(DETECT, 9))

        monkeypatch.setattr(one._database, "writing", committed_slowly)
        await _publish(one, *_work(1))
        assert len(claimed) == 1
        assert list(one._held) == [claimed[0].id]
        assert (await one._streams.lengths())[DETECT] == 1
