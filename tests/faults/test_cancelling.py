# SPDX-License-Identifier: AGPL-3.0-or-later
"""Work on the database is cancelled at any moment, as every stop does: the next one finds it free."""

import asyncio
import random
from pathlib import Path

from sqlalchemy import URL, func, insert, select

from inference_server.core.clock import SystemClock
from inference_server.storage.database import Database
from inference_server.storage.tables import tokens

ROUNDS = 60
AT_ONCE_SECONDS = 5.0


async def test_a_cancelled_write_leaves_the_database_to_the_next_one(tmp_path: Path, where: URL | None) -> None:
    database = Database(where or tmp_path / "hsi.db")
    await database.open()
    numbers = iter(range(1_000_000))

    async def write() -> None:
        async with database.writing() as connection:
            values = {"name": "x", "digest": str(next(numbers)), "scope": "read", "created_at": SystemClock().now()}
            await connection.execute(insert(tokens).values(**values))
            await connection.execute(select(func.count()).select_from(tokens))

    async def write_on() -> None:
        while True:
            await write()

    for _ in range(ROUNDS):
        tasks = [asyncio.create_task(write_on()) for _ in range(random.randint(1, 4))]
        await asyncio.sleep(random.uniform(0, 0.03))
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(AT_ONCE_SECONDS):
            await write()
        assert all(isinstance(end, asyncio.CancelledError) for end in ends)
    await database.close()
