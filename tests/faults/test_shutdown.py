# SPDX-License-Identifier: AGPL-3.0-or-later
"""A server that is asked to stop ends within ten seconds and well, whatever it is doing, and leaves nothing claimed."""

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from inference_server.core.message import StageName
from tests.faults.house import House, house
from tests.faults.ledger import draw_up
from tests.support.services import PostgreSql, Redis, running_postgresql, running_redis

LIMIT_SECONDS = 10.0
ROUNDS = 6

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(params=["sqlite", "postgresql", "redis"])
async def home(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    """Give one server on SQLite, two on PostgreSQL, or two on PostgreSQL and Redis."""
    if request.param == "sqlite":
        async with house(tmp_path) as made:
            yield made
        return
    postgresql: PostgreSql = request.getfixturevalue("postgresql")
    redis: Redis | None = request.getfixturevalue("redis") if request.param == "redis" else None
    url = postgresql.migrated_database()
    async with house(tmp_path, database=url, redis_url=redis.url if redis else None, workers=2) as made:
        yield made


async def _stop(home: House, numbers: Sequence[signal.Signals] = (signal.SIGTERM,), pause: float = 0.0) -> None:
    """Send every server these signals, and check that each ends in time and well."""
    began = time.monotonic()
    ends = [asyncio.create_task(server.ended()) for server in home.servers]
    for number in numbers:
        for server, end in zip(home.servers, ends, strict=True):
            if not end.done():
                server.send(number)
        await asyncio.sleep(pause)
    codes = await asyncio.gather(*ends)
    seconds = time.monotonic() - began
    assert not any(codes), (codes, home.last_words())
    assert seconds < LIMIT_SECONDS, home.last_words()


async def _nothing_is_claimed(home: House, redis: Redis | None) -> None:
    assert (await draw_up(home.database)).leased == 0
    if redis is not None:
        for stage in StageName:
            names = await asyncio.to_thread(redis.client, "keys", f"hsi:*:{stage}")
            for name in names.split():
                pending = await asyncio.to_thread(redis.client, "xpending", name, "workers")
                assert pending.splitlines()[:1] in ([], ["0"]), (name, pending)


async def test_it_ends_in_time_at_any_moment_and_the_next_start_goes_on(
    home: House, request: pytest.FixtureRequest
) -> None:
    redis = request.getfixturevalue("redis") if "HSI_REDIS_URL" in home.servers[0].settings else None
    if redis is not None:
        await asyncio.to_thread(redis.client, "flushall")
    async with home.pouring(pictures=150, pause=0.03):
        for _ in range(ROUNDS):
            home.start()
            await home.until_up()
            await asyncio.sleep(random.uniform(0, 0.8))
            await _stop(home)
            await _nothing_is_claimed(home, redis)
            await home.balanced()
    home.start()
    await home.well_again()


@pytest.mark.parametrize(
    "numbers",
    [
        [signal.SIGINT],
        [signal.SIGTERM] * 2,
        [signal.SIGINT] * 2,
        [signal.SIGTERM, signal.SIGINT] * 40,
    ],
    ids=["int", "term twice", "int twice", "impatient"],
)
async def test_signals_of_every_kind_and_number_end_it_well(tmp_path: Path, numbers: list[signal.Signals]) -> None:
    async with house(tmp_path) as home:
        home.start()
        async with home.pouring():
            await home.until_up()
            await home.until_judged()
            await _stop(home, numbers, pause=0.01)
        home.start()
        await home.well_again()


async def test_a_signal_while_it_starts_ends_it(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        async with home.pouring(pictures=20):
            for delay in (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5):
                home.start()
                await asyncio.sleep(delay)
                began = time.monotonic()
                code = await home.servers[0].stop()
                assert code in {0, -signal.SIGTERM}, home.last_words()  # before it has begun the signal ends it
                assert time.monotonic() - began < LIMIT_SECONDS
        home.start()
        await home.well_again()


async def test_a_hanging_detector_does_not_keep_it(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        home.start(detector_seconds=3600)
        home.cameras.send(30)
        await home.until_up()
        async with asyncio.timeout(60):
            while not (await home.balanced()).leased:  # noqa: ASYNC110 - another process claims
                await asyncio.sleep(0.1)
        await _stop(home)
        await _nothing_is_claimed(home, None)
        home.start()
        await home.well_again()


async def test_a_hanging_database_does_not_keep_it(tmp_path: Path) -> None:
    with running_postgresql() as postgresql:
        async with house(tmp_path, database=postgresql.migrated_database(), workers=2) as home:
            home.start()
            async with home.pouring():
                await home.until_up()
                await home.until_judged()
                with postgresql.hanging():
                    await home.until_health(lambda told: "no answer" in str(told["database"]["last_error"]))
                    await _stop(home)
            home.start()
            await home.well_again()


async def test_a_hanging_redis_does_not_keep_it(tmp_path: Path, postgresql: PostgreSql) -> None:
    url = postgresql.migrated_database()
    with running_redis() as redis:
        async with house(tmp_path, database=url, redis_url=redis.url, workers=2) as home:
            home.start()
            async with home.pouring():
                await home.until_up()
                await home.until_judged()
                with redis.hanging():
                    await asyncio.sleep(1)
                    await _stop(home)
            home.start()
            await home.well_again()
