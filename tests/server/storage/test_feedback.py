# SPDX-License-Identifier: AGPL-3.0-or-later
"""Feedback in the database: one per event counts, its stamp tells of changes, and it outlives its event."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from inference_server.core.assessment import RiskLevel
from inference_server.core.camera import Camera
from inference_server.core.context import CameraPlace
from inference_server.core.detection import Category
from inference_server.core.feedback import KEPT, Experience, FeedbackKind, Opinion, Signature
from inference_server.storage import cameras, events, feedback, retention, tables
from inference_server.storage.data_folder import DataFolder
from inference_server.storage.database import Database
from inference_server.storage.feedback import FeedbackFilter
from tests.support.backups import database_of, put_back, save
from tests.support.home import START, Home

LIKE = Signature("front_door", CameraPlace.ENTRANCE, Category.PERSON, True, frozenset({"person_seen", "zone:entry"}))
ALARM = Experience(Opinion(FeedbackKind.FALSE_ALARM, note="Cat", by="Anna"), START, LIKE, 64, False)


async def _give(made: Home, event_id: int, experience: Experience) -> int:
    async with made.database.writing() as connection:
        await cameras.lock(connection, [experience.signature.camera_id])
        return (await feedback.give(connection, event_id, experience)).id


async def _counting(made: Home) -> list[Experience]:
    async with made.database.reading() as connection:
        return await feedback.experiences(connection)


async def _stamp(made: Home) -> str | None:
    async with made.database.reading() as connection:
        return await feedback.stamp(connection)


async def test_the_newest_opinion_on_an_event_counts_and_the_older_ones_are_kept(a_home: Home) -> None:
    await a_home.camera()
    event = await a_home.ended_event()
    assert await _stamp(a_home) is None
    first = await _give(a_home, event.id, ALARM)
    stamp = await _stamp(a_home)
    other = replace(ALARM, opinion=Opinion(FeedbackKind.MISSED, RiskLevel.CRITICAL), given_at=START + timedelta(1))
    second = await _give(a_home, event.id, other)
    assert await _counting(a_home) == [other]
    assert await _stamp(a_home) not in {stamp, None}
    async with a_home.database.reading() as connection:
        old = await feedback.get(connection, first)
        read = await events.get(connection, event.id)
        assert await feedback.experience_of_event(connection, event.id) == other
        assert await feedback.experiences(connection, but_of=event.id) == []
        assert (await feedback.counts(connection))[FeedbackKind.MISSED] == 1
        page = await feedback.find(connection, FeedbackFilter(counting=False), limit=5, cursor=None)
    assert old
    assert old.withdrawn_at == other.given_at
    assert [item.id for item in page.items] == [first]
    assert read
    assert read.feedback
    assert (read.feedback.id, read.feedback.opinion) == (second, other.opinion)


async def test_what_is_withdrawn_counts_no_more_and_only_once(a_home: Home) -> None:
    await a_home.camera()
    event = await a_home.ended_event()
    feedback_id = await _give(a_home, event.id, ALARM)
    stamp = await _stamp(a_home)
    for expected in (True, False):
        async with a_home.database.writing() as connection:
            assert await feedback.withdraw(connection, feedback_id, START) is expected
            assert await feedback.withdraw_of_event(connection, event.id, START) is False
    assert await _counting(a_home) == []
    assert await _stamp(a_home) != stamp
    async with a_home.database.reading() as connection:
        read = await events.get(connection, event.id)
    assert read
    assert read.feedback is None


async def test_it_outlives_its_event_and_can_be_withdrawn_then(a_home: Home) -> None:
    await a_home.camera()
    event = await a_home.ended_event()
    feedback_id = await _give(a_home, event.id, ALARM)
    async with a_home.database.writing() as connection:
        deleted = await retention.delete_event(connection, event.id, tables.events.c.id == event.id)
    assert deleted
    assert deleted.done
    assert await _counting(a_home) == [ALARM]
    async with a_home.database.writing() as connection:
        known = await feedback.get(connection, feedback_id)
        assert known
        assert known.event_id is None
        assert await feedback.withdraw(connection, feedback_id, START)
    assert await _counting(a_home) == []


async def test_it_is_deleted_after_two_years(a_home: Home) -> None:
    await a_home.camera()
    old, new = await a_home.ended_event(), await a_home.ended_event()
    await _give(a_home, old.id, ALARM)
    await _give(a_home, new.id, replace(ALARM, given_at=START + timedelta(days=1)))
    for days, left in ((0, 2), (1, 1), (1, 1)):
        before, stamp = START + KEPT + timedelta(days=days) - KEPT, await _stamp(a_home)
        async with a_home.database.writing() as connection:
            pruned = await feedback.prune(connection, before)
        assert len(await _counting(a_home)) == left
        assert (await _stamp(a_home) == stamp) is (pruned == 0)


async def test_two_at_once_leave_one_that_counts(a_home: Home) -> None:
    await a_home.camera()
    event = await a_home.ended_event()
    await asyncio.gather(*(_give(a_home, event.id, ALARM) for _ in range(6)))
    assert len(await _counting(a_home)) == 1
    async with a_home.database.reading() as connection:
        assert (await connection.execute(select(func.count()).select_from(tables.feedback))).scalar_one() == 6


async def test_the_database_itself_holds_one_per_event(a_home: Home) -> None:
    await a_home.camera()
    event = await a_home.ended_event()
    await _give(a_home, event.id, ALARM)
    async with a_home.database.reading() as connection:
        row = dict((await connection.execute(select(tables.feedback))).one()._mapping)
    with pytest.raises(IntegrityError):
        async with a_home.database.writing() as connection:
            await connection.execute(tables.feedback.insert().values({**row, "id": 99}))


async def test_a_backup_holds_what_was_learnt(tmp_path: Path) -> None:
    data, fresh = DataFolder(tmp_path / "data"), DataFolder(tmp_path / "fresh")
    data.prepare()
    database = Database(database_of(data))
    await database.open()
    async with database.writing() as connection:
        await cameras.add(connection, Camera("front_door", "Front door", START))
        row = {"note": "Cat", "given_at": START, "place": "entrance", "night": True, "score": 64, "threatened": False}
        features = {"category": "person", "features": sorted(LIKE.features), "given_by": "Anna", "kind": "false_alarm"}
        await connection.execute(tables.feedback.insert().values(camera_id="front_door", **row, **features))
        await feedback._renew_stamp(connection)
        stamp = await feedback.stamp(connection)
    await database.close()
    await save(data, tmp_path / "backup.tar")
    await put_back(tmp_path / "backup.tar", fresh)
    restored = Database(database_of(fresh))
    await restored.open()
    async with restored.reading() as connection:
        assert await feedback.experiences(connection) == [ALARM]
        assert await feedback.stamp(connection) == stamp
    await restored.close()
