# SPDX-License-Identifier: AGPL-3.0-or-later
"""Redis goes away, forgets and lies about the past while pictures pour in: it holds nothing that can be lost."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.house import House, house, tells
from tests.support.services import PostgreSql, Redis, running_redis

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(params=[False, True], ids=["forgetful", "durable"])
def own(request: pytest.FixtureRequest) -> Iterator[Redis]:
    """Give a Redis that no other test uses: one that forgets all in a restart, and one that keeps a file."""
    with running_redis(durable=request.param) as server:
        yield server


@pytest.fixture
def forgetful() -> Iterator[Redis]:
    """Give a Redis that no other test uses."""
    with running_redis() as server:
        yield server


@pytest.fixture
async def home(request: pytest.FixtureRequest, postgresql: PostgreSql, tmp_path: Path) -> AsyncIterator[House]:
    """Give two servers on it."""
    name = "own" if "own" in request.fixturenames else "forgetful"
    redis: Redis = request.getfixturevalue(name)
    async with house(tmp_path, database=postgresql.migrated_database(), redis_url=redis.url, workers=2) as made:
        yield made


async def _away(home: House, redis: Redis, number: signal.Signals, seconds: float) -> None:
    await asyncio.to_thread(redis.stop, number)
    for index in range(2):
        told = await home.until_health(lambda told: tells(told.get("broker")) and tells(told.get("detect")), index)
        assert "HSI_REDIS_URL" in told["broker"]["remedy"]
        assert told["database"]["state"] == "ok"
    await asyncio.sleep(seconds)
    await asyncio.to_thread(redis.start)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_nothing_is_lost_when_redis_is_restarted(home: House, own: Redis, number: signal.Signals) -> None:
    home.start(lease_seconds=3)
    async with home.pouring():
        await home.until_up()
        await home.until_judged()
        await _away(home, own, number, 0)
    await home.well_again()


async def _absent(home: House, redis: Redis) -> None:
    await _away(home, redis, signal.SIGKILL, 10)


async def _hanging(_home: House, redis: Redis) -> None:
    """Let it hang for longer than anybody waits, and then go on as if nothing had been."""
    with redis.hanging():
        await asyncio.sleep(12)


async def _flushed(_home: House, redis: Redis) -> None:
    for _ in range(8):
        await asyncio.to_thread(redis.client, "flushall")
        await asyncio.sleep(random.uniform(0.05, 0.8))


async def _streams_deleted(_home: House, redis: Redis) -> None:
    for stage in ("detect", "gather", "close"):
        (name,) = (await asyncio.to_thread(redis.client, "keys", f"hsi:*:{stage}")).split()
        await asyncio.to_thread(redis.client, "del", name)
        await asyncio.sleep(0.7)


async def _connections_cut(_home: House, redis: Redis) -> None:
    for _ in range(30):
        await asyncio.to_thread(redis.client, "client", "kill", "type", "normal")
        await asyncio.sleep(0.1)


async def _older_file(home: House, redis: Redis) -> None:
    """Restart with the state of some while ago, as from a copy of its file."""
    await asyncio.to_thread(redis.client, "save")
    await home.until_judged(20)
    await asyncio.to_thread(redis.stop, signal.SIGKILL)
    await asyncio.to_thread(redis.start)


WAYS = [_absent, _hanging, _flushed, _streams_deleted, _connections_cut, _older_file]


@pytest.mark.parametrize("way", WAYS)
async def test_nothing_is_lost_when_redis(
    home: House, forgetful: Redis, way: Callable[[House, Redis], Awaitable[None]]
) -> None:
    home.start(lease_seconds=3)
    async with home.pouring():
        await home.until_up()
        await home.until_judged()
        await way(home, forgetful)
    await home.well_again()


async def test_servers_that_start_before_it_admit_and_say_what_is_missing(home: House, forgetful: Redis) -> None:
    await asyncio.to_thread(forgetful.stop)
    home.start()
    async with home.pouring():
        told = await home.until_health(lambda told: tells(told.get("broker")) and "ingest" in told)
        assert told["ingest"]["state"] == "ok"
        async with asyncio.timeout(60):
            while (await home.balanced()).pending == 0:  # noqa: ASYNC110 - another process admits
                await asyncio.sleep(0.1)
        await asyncio.to_thread(forgetful.start)
    await home.well_again()


async def test_a_wrong_password_is_told_and_the_right_one_lets_go_on(home: House, forgetful: Redis) -> None:
    await asyncio.to_thread(forgetful.client, "config", "set", "requirepass", "secret")
    home.start()
    async with home.pouring():
        told = await home.until_health(lambda told: tells(told.get("broker")))
        assert "does not let this server in" in told["broker"]["last_error"]
        assert "password" in told["broker"]["remedy"]
        await asyncio.to_thread(forgetful.client, "-a", "secret", "config", "set", "requirepass", "")
    await home.well_again()
