# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which roots were seen before, and since when."""

from datetime import timedelta
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import create_engine, select, text

from inference_server.storage import watch_roots
from inference_server.storage.database import Database, migration_config
from inference_server.storage.tables import watch_roots as roots_table
from inference_server.storage.watch_roots import FORMER_ROOT, KnownRoot
from tests.support.home import START, Home

LATER = START + timedelta(hours=1)


async def _see(home: Home, path: str, *, later: bool = False, main: bool = True) -> KnownRoot:
    async with home.database.writing() as connection:
        return await watch_roots.see(connection, path, LATER if later else START, main=main)


async def test_a_root_is_seen_first_once(a_home: Home) -> None:
    assert await _see(a_home, "/cameras") == KnownRoot(START, finished=False)
    assert await _see(a_home, "/cameras", later=True) == KnownRoot(START, finished=False)
    async with a_home.database.writing() as connection:
        await watch_roots.finish(connection, "/cameras", LATER)
    assert await _see(a_home, "/cameras", later=True) == KnownRoot(START, finished=True)
    assert await _see(a_home, "/other", later=True) == KnownRoot(LATER, finished=False)


async def test_the_main_root_takes_over_from_the_time_before_and_no_other_does(a_home: Home) -> None:
    async with a_home.database.writing() as connection:
        former = roots_table.insert().values(path=FORMER_ROOT, first_seen_at=START, finished_at=START)
        await connection.execute(former)
    assert await _see(a_home, "/nas", later=True, main=False) == KnownRoot(LATER, finished=False)
    assert await _see(a_home, "/cameras", later=True) == KnownRoot(START, finished=True)
    assert await _see(a_home, "/another", later=True) == KnownRoot(LATER, finished=False)


@pytest.mark.parametrize("arrivals", [0, 2])
async def test_a_database_of_before_knows_its_root_if_files_arrived(tmp_path: Path, arrivals: int) -> None:
    file = tmp_path / "hsi.db"
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        config = migration_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for number in range(arrivals):
            connection.execute(
                text("INSERT INTO arrivals (path, size, modified_ns, arrived_at) VALUES (:path, 1, 1, :at)"),
                {"path": f"front/{number}.jpg", "at": f"2026-11-2{number} 08:00:00.000000"},
            )
    engine.dispose()
    database = Database(file)
    await database.open()
    async with database.reading() as reading:
        rows = (await reading.execute(select(roots_table))).all()
    await database.close()
    assert [(row.path, row.first_seen_at.day, row.finished_at.day) for row in rows] == [("", 20, 21)][:arrivals]
