# SPDX-License-Identifier: AGPL-3.0-or-later
"""The clock is set while the server runs, by a day or an hour, forward or back: nothing waits for the old time."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.faults.house import House, house
from tests.support.services import PostgreSql, Redis

DAY, HOUR = 86400, 3600
SOON_SECONDS = 45.0
"""Waiters look at the clock again after half a minute."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(params=["sqlite", "redis"])
async def home(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    """Give one server on SQLite, or two on PostgreSQL and Redis."""
    if request.param == "sqlite":
        async with house(tmp_path / "home") as made:
            yield made
        return
    postgresql: PostgreSql = request.getfixturevalue("postgresql")
    redis: Redis = request.getfixturevalue("redis")
    url = postgresql.migrated_database()
    async with house(tmp_path / "home", database=url, redis_url=redis.url, workers=2) as made:
        yield made


@pytest.mark.parametrize("jumps", [(-DAY, 0), (0, -DAY), (0, -HOUR), (-HOUR, 0, -DAY, 0)], ids=str)
async def test_no_picture_and_no_event_waits_for_the_time_before_a_jump(
    home: House, tmp_path: Path, jumps: tuple[int, ...]
) -> None:
    """The files' own times are right, so that a clock which goes forward to them has been behind before."""
    clock = tmp_path / "clock"
    clock.write_text(str(jumps[0]))
    home.start(clock=clock, detector_seconds=0.05)
    async with home.pouring(pictures=60, pause=0.03):
        await home.until_up()
        for jump in jumps[1:]:
            await home.until_judged(15)
            new = clock.with_suffix(".new")
            new.write_text(str(jump))
            new.rename(clock)
        await home.until_judged(15)
    began = time.monotonic()
    await home.done()
    assert time.monotonic() - began < SOON_SECONDS
    await home.until_ok()
    await home.stopped()
    ledger = await home.assert_balance()
    assert len(ledger.frames) > 30


async def test_nothing_that_is_new_is_cleaned_up_after_a_jump_of_a_day(tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text(str(-DAY))
    async with house(tmp_path / "home") as home:
        home.start(clock=clock)
        async with home.pouring(pictures=20):
            await home.until_judged(10)
        await home.done()
        await home.stopped()
        clock.write_text(str(DAY))
        home.start(clock=clock)
        await home.until_up()
        await asyncio.sleep(1)
        await home.well_again()
