# SPDX-License-Identifier: AGPL-3.0-or-later
"""Dead letters: found, taken once, discarded without being forgotten. On SQLite and on PostgreSQL."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import create_engine

from inference_server.core.message import DeadLetter, Failure, Message, StageName, Work
from inference_server.storage import dead_letters
from inference_server.storage.database import Database, migration_config
from inference_server.storage.dead_letters import LetterFilter
from tests.support.home import START, MovableClock
from tests.support.services import PostgreSql

DETECT, GATHER, CLOSE = StageName.DETECT, StageName.GATHER, StageName.CLOSE


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """Give an empty database of each kind."""
    postgresql: PostgreSql | None = None
    if request.param == "postgresql":
        postgresql = request.getfixturevalue("postgresql")
    made = Database(postgresql.database() if postgresql else tmp_path / "hsi.db")
    await made.open()
    yield made
    await made.close()


async def _die(
    database: Database,
    subject: int,
    stage: StageName = DETECT,
    *,
    camera: str = "front",
    failure: Failure | None = None,
    clock: MovableClock | None = None,
) -> None:
    message = Message(subject, Work(stage, subject, camera, START), 1, START)
    async with database.writing() as connection:
        await dead_letters.add(connection, message, failure or Failure("broken"), clock.now() if clock else START)


async def _find(database: Database, wanted: LetterFilter | None = None) -> tuple[DeadLetter, ...]:
    async with database.reading() as connection:
        return (await dead_letters.find(connection, wanted or LetterFilter(), limit=1000)).items


async def _subjects(database: Database, wanted: LetterFilter | None = None) -> list[int]:
    return [letter.work.subject_id for letter in await _find(database, wanted)]


async def _ids(database: Database) -> list[int]:
    return sorted(letter.id for letter in await _find(database))


async def _take(database: Database, ids: Sequence[int]) -> list[int]:
    async with database.writing() as connection:
        return [letter.id for letter in await dead_letters.take(connection, ids)]


async def _discard(database: Database, ids: Sequence[int]) -> int:
    async with database.writing() as connection:
        return await dead_letters.discard(connection, ids, START)


async def test_they_are_found_by_stage_camera_and_service(database: Database) -> None:
    await _die(database, 1, DETECT, camera="front", failure=Failure("a", "detector"))
    await _die(database, 2, GATHER, camera="front")
    await _die(database, 3, DETECT, camera="back", failure=Failure("b", "detector"))
    assert await _subjects(database) == [3, 2, 1]
    assert await _subjects(database, LetterFilter(stage=GATHER)) == [2]
    assert await _subjects(database, LetterFilter(camera_id="front")) == [2, 1]
    assert await _subjects(database, LetterFilter(service="detector")) == [3, 1]
    assert await _subjects(database, LetterFilter(DETECT, "back", "detector")) == [3]
    assert await _subjects(database, LetterFilter(CLOSE)) == []


async def test_pages_hold_each_once_the_newest_first(database: Database) -> None:
    clock = MovableClock()
    for subject in range(7):
        await _die(database, subject, clock=clock)
        if subject % 2:
            clock.move(seconds=1)
    clock.move(seconds=1)
    await _die(database, 0, clock=clock)
    seen: list[int] = []
    cursor: str | None = None
    while True:
        async with database.reading() as connection:
            page = await dead_letters.find(connection, LetterFilter(), limit=2, cursor=cursor)
        seen += [letter.work.subject_id for letter in page.items]
        if (cursor := page.next_cursor) is None:
            break
    assert seen == [0, 6, 5, 4, 3, 2, 1]


async def test_one_that_was_taken_is_gone_and_its_id_is_not_given_out_again(database: Database) -> None:
    await _die(database, 1)
    await _die(database, 2)
    first, second = await _ids(database)
    assert await _take(database, [second, second, 99]) == [second]
    assert await _take(database, [second]) == []
    await _die(database, 2)
    again = await _ids(database)
    assert again[0] == first
    assert again[1] > second


async def test_two_who_take_at_once_share_and_none_waits_for_ever(database: Database) -> None:
    for subject in range(50):
        await _die(database, subject)
    ids = await _ids(database)
    taken = await asyncio.gather(*(_take(database, part) for part in (ids, ids[::-1], ids[20:], ids[:30])))
    assert sorted(letter for part in taken for letter in part) == ids


async def test_discarding_and_taking_at_once_one_wins(database: Database) -> None:
    for subject in range(20):
        await _die(database, subject)
        (letter_id,) = await _ids(database)
        discarded, taken = await asyncio.gather(_discard(database, [letter_id]), _take(database, [letter_id]))
        assert discarded + len(taken) == 1


async def test_one_that_was_discarded_is_accounted_for_and_nothing_else(database: Database) -> None:
    await _die(database, 1, failure=Failure("a", "detector"))
    await _die(database, 2, failure=Failure("b", "detector"))
    first, second = await _ids(database)
    assert await _discard(database, [first, 99]) == 1
    assert await _discard(database, [first]) == 0
    assert await _subjects(database) == [2]
    assert await _take(database, [first]) == []
    async with database.reading() as connection:
        assert await dead_letters.count(connection) == 1
        assert await dead_letters.count_discarded(connection) == 1
        assert await dead_letters.oldest_of(connection, "detector", replays_below=9, limit=9) == (second,)
        letter = await dead_letters.get(connection, first)
    assert letter is not None
    assert letter.discarded_at == START


async def test_work_that_dies_again_after_its_letter_was_discarded_is_a_dead_letter(database: Database) -> None:
    await _die(database, 9, CLOSE)
    assert await _discard(database, await _ids(database)) == 1
    await _die(database, 9, CLOSE, failure=Failure("again"))
    (letter,) = await _find(database)
    assert (letter.failure.reason, letter.discarded_at) == ("again", None)


async def test_portions_hold_what_was_there_at_the_start_each_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "AT_ONCE", 3)
    for subject in range(8):
        await _die(database, subject, camera="front" if subject else "back")
    there = [letter.id for letter in reversed(await _find(database, LetterFilter(camera_id="front")))]
    seen: list[tuple[int, ...]] = []
    async for ids in dead_letters.in_portions(database, LetterFilter(camera_id="front")):
        seen.append(ids)
        for letter in await _take(database, ids):
            await _die(database, letter)
    assert seen == [tuple(there[:3]), tuple(there[3:6]), tuple(there[6:])]


async def test_there_are_no_portions_of_nothing(database: Database) -> None:
    assert [ids async for ids in dead_letters.in_portions(database, LetterFilter())] == []


async def test_any_text_can_be_kept_and_the_end_of_a_trace_is(database: Database) -> None:
    await _die(database, 1, failure=Failure("a\0b\udcffc", trace="x" * 9000 + "\0 the end"))
    (letter,) = await _find(database)
    assert letter.failure.reason == "a\\x00b\\udcffc"
    assert letter.failure.trace is not None
    assert len(letter.failure.trace) == dead_letters.MAX_TRACE_LENGTH
    assert letter.failure.trace.endswith("x\\x00 the end")


async def test_letters_of_an_older_version_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "hsi.db"
    engine = create_engine(f"sqlite:///{file}")
    config = migration_config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    engine.dispose()
    with sqlite3.connect(file) as plain:
        plain.execute(
            "INSERT INTO dead_letters (id, stage, subject_id, camera_id, reason, attempts, enqueued_at, died_at) "
            "VALUES (7, 'detect', 17, 'front', 'broken', 6, '2026-11-23 08:00:00', '2026-11-23 08:00:01')"
        )
    plain.close()
    database = Database(file)
    await database.open()
    (letter,) = await _find(database)
    assert (letter.id, letter.work.subject_id, letter.failure, letter.attempts) == (7, 17, Failure("broken"), 6)
    assert (letter.enqueued_at, letter.replays, letter.discarded_at) == (START, 0, None)
    await database.close()
