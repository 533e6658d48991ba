# SPDX-License-Identifier: AGPL-3.0-or-later
"""Incidents in the database: found by time however many events there are, and true to their events."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import URL, text

from inference_server.core.assessment import AssessmentSource
from inference_server.core.message import Priority, StageName, Work
from inference_server.core.summary import Period, SummaryKind
from inference_server.storage import incidents, messages, summaries
from inference_server.storage.database import Database
from inference_server.storage.summaries import StoredFacts, Words
from tests.support.home import START, home


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("FROM events WHERE deleted_at IS NULL AND started_at > '2026' AND started_at < '2027'", "started_at"),
        ("FROM events WHERE deleted_at IS NULL ORDER BY started_at DESC, id DESC", "started_at"),
        ("FROM events WHERE deleted_at IS NOT NULL ORDER BY deleted_at DESC, id DESC", "deleted_at"),
        ("FROM events WHERE deleted_at < '2026'", "deleted_at"),
        ("FROM incidents WHERE ended_at IS NULL AND listed ORDER BY last_at", "open"),
    ],
)
async def test_sqlite_looks_through_no_more_than_it_must(tmp_path: Path, query: str, index: str) -> None:
    database = Database(tmp_path / "hsi.db")
    await database.open()
    async with database.reading() as connection:
        plan = [row[3] for row in await connection.execute(text(f"EXPLAIN QUERY PLAN SELECT id {query}"))]
    await database.close()
    assert any(f"INDEX ix_{query.split()[1]}_{index}" in step for step in plan), plan


async def test_only_live_pictures_of_the_time_hold_an_incident_open(tmp_path: Path, where: URL | None) -> None:
    async with home(tmp_path, where) as made:
        await made.camera()
        frame_id = await made.frame()
        async with made.database.writing() as connection:
            for stage, priority, waits in (
                (StageName.CLOSE, Priority.LIVE, False),
                (StageName.DETECT, Priority.HISTORY, False),
                (StageName.GATHER, Priority.LIVE, True),
            ):
                await messages.add(connection, [Work(stage, frame_id, "front_door", START, priority)], START)
                assert await incidents.pictures_wait(connection, START) is waits
            assert not await incidents.pictures_wait(connection, START - timedelta(seconds=1))


async def test_an_incident_without_events_is_gone(tmp_path: Path, where: URL | None) -> None:
    async with home(tmp_path, where) as made:
        await made.camera()
        incident = await made.incident(await made.ended_event())
        async with made.database.writing() as connection:
            change = await incidents.forget(connection, incident.event_ids[0])
            assert change is not None
            assert (change.before, change.after) == (incident, None)
            assert await incidents.forget(connection, incident.event_ids[0]) is None
            assert (await connection.execute(text("SELECT count(*) FROM incidents"))).scalar_one() == 0


async def test_minutes_are_counted_where_somebody_watched(tmp_path: Path, where: URL | None) -> None:
    hour = Period(SummaryKind.HOURLY, START, START + timedelta(hours=1))
    half = Period(SummaryKind.HOURLY, START + timedelta(minutes=30), START + timedelta(minutes=90))
    async with home(tmp_path, where) as made, made.database.writing() as connection:
        assert await summaries.unjudged_minutes(connection, hour) == 0
        for minute in range(90):
            await summaries.note_minute(connection, START + timedelta(minutes=minute), judged=minute >= 40)
            await summaries.note_minute(connection, START + timedelta(minutes=minute), judged=False)
        assert await summaries.unjudged_minutes(connection, hour) == 40
        assert await summaries.unjudged_minutes(connection, half) == 10
        await summaries.forget_minutes(connection, START + timedelta(hours=1))
        assert await summaries.unjudged_minutes(connection, hour) == 0


async def test_a_time_has_one_summary_of_a_kind(tmp_path: Path, where: URL | None) -> None:
    facts = StoredFacts((), (), (), 0, 0, 0)
    words = Words("All quiet.", "All quiet.", AssessmentSource.RULES)
    period = Period(SummaryKind.HOURLY, START, START + timedelta(hours=1))
    async with home(tmp_path, where) as made, made.database.writing() as connection:
        assert await summaries.add(connection, period, words, facts, START) is not None
        assert await summaries.add(connection, period, words, facts, START) is None
        await summaries.note_minute(connection, START, judged=True)
        later = Period(SummaryKind.HOURLY, period.ended_at, period.ended_at + timedelta(hours=1))
        earlier = Period(SummaryKind.HOURLY, START - timedelta(hours=1), START)
        assert await summaries.missing(connection, [earlier, period, later]) == [later]
