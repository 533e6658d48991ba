# SPDX-License-Identifier: AGPL-3.0-or-later
"""PostgreSQL goes away and comes back in every way while pictures pour in."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.faults.house import House, house, tells
from tests.support.services import PostgreSql, running_postgresql

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSql]:
    """Give a PostgreSQL that no other module uses."""
    with running_postgresql() as server:
        yield server


@pytest.fixture
def own(server: PostgreSql) -> PostgreSql:
    """Give it running, whatever the test before did."""
    if not server.running:
        server.start()
    return server


@pytest.fixture
async def home(own: PostgreSql, tmp_path: Path) -> AsyncIterator[House]:
    """Give two servers on it."""
    async with house(tmp_path, database=own.migrated_database(), workers=2) as made:
        yield made


async def _away(home: House, own: PostgreSql, number: signal.Signals, seconds: float) -> None:
    await asyncio.to_thread(own.stop, number)
    told = await home.until_health(lambda told: tells(told.get("database")) and tells(told.get("ingest")))
    assert "PostgreSQL" in told["database"]["remedy"]
    await home.until_health(lambda told: tells(told.get("detect")), index=1)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(own.start)


async def _restarted(home: House, own: PostgreSql) -> None:
    await _away(home, own, signal.SIGINT, 0)


async def _killed(home: House, own: PostgreSql) -> None:
    await _away(home, own, signal.SIGKILL, 0)


async def _absent(home: House, own: PostgreSql) -> None:
    await _away(home, own, signal.SIGINT, 10)


async def _every_session(home: House, function: str, times: int) -> None:
    sessions = f"FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"  # noqa: F541
    for _ in range(times):
        async with home.database.reading() as connection:
            await connection.execute(text(f"SELECT {function}(pid) {sessions}"))
        await asyncio.sleep(0.15)


async def _sessions_ended(home: House, _own: PostgreSql) -> None:
    await _every_session(home, "pg_terminate_backend", 30)


async def _statements_cancelled(home: House, _own: PostgreSql) -> None:
    await _every_session(home, "pg_cancel_backend", 60)


async def _tables_locked(home: House, _own: PostgreSql) -> None:
    """Keep everybody waiting, in an order in which nobody else locks: some have to give way."""
    for table in ("messages", "announcement_sequence", "cameras", "events") * 3:
        try:
            async with home.database.writing() as connection:
                await connection.execute(text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
                await asyncio.sleep(0.2)
                await connection.execute(text("LOCK TABLE frames, detections IN ACCESS EXCLUSIVE MODE"))
        except OSError:
            continue  # we were the one who gave way


WAYS = [_restarted, _killed, _absent, _sessions_ended, _statements_cancelled, _tables_locked]


@pytest.mark.parametrize("way", WAYS)
async def test_nothing_is_lost_when_postgresql(
    home: House, own: PostgreSql, way: Callable[[House, PostgreSql], Awaitable[None]]
) -> None:
    home.start()
    async with home.pouring():
        await home.until_up()
        await home.until_judged()
        await way(home, own)
    ledger = await home.well_again()
    assert ledger.judged > 30


async def test_servers_that_start_before_it_wait_for_it(home: House, own: PostgreSql) -> None:
    await asyncio.to_thread(own.stop)
    home.start()
    async with home.pouring():
        await asyncio.sleep(1)
        assert all(server.running for server in home.servers)
        await asyncio.to_thread(own.start)
    await home.well_again()


async def test_servers_start_while_it_comes_and_goes(home: House, own: PostgreSql) -> None:
    async with home.pouring():
        for _ in range(5):
            home.start()
            await asyncio.sleep(0.4)
            await asyncio.to_thread(own.stop, signal.SIGKILL)
            await asyncio.sleep(0.3)
            assert all(server.running for server in home.servers), home.last_words()
            for server in home.servers:
                await server.kill()
            await asyncio.to_thread(own.start)
        home.start()
    await home.well_again()
