# SPDX-License-Identifier: AGPL-3.0-or-later
"""Summaries through the pipeline: each hour and day once, whoever writes it, and honest about what was not judged."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import URL

from inference_server.core.announcement import AnnouncementKind
from inference_server.core.assessment import AssessmentSource, LevelThresholds
from inference_server.core.baseline import Habit, slot_of
from inference_server.core.detection import Category
from inference_server.core.summary import Summary, SummaryKind
from inference_server.pipeline.summaries import SummaryWriting
from inference_server.risk.summaries import Summarizer, SummaryFacts, Told
from inference_server.storage import baselines, summaries
from inference_server.storage.summaries import SummaryFilter
from tests.support.bench import CAMERA, Bench, a_person, bench
from tests.support.services import PostgreSql

UTC_ZONE = ZoneInfo("UTC")


@dataclass
class Writer:
    """Says what it is told to, or fails."""

    says: Told | Exception | None
    asked: list[SummaryFacts] = field(default_factory=list)

    async def summarize(self, facts: SummaryFacts) -> Told | None:
        """Return it, or raise it."""
        self.asked.append(facts)
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


@pytest.fixture
def where() -> URL | None:
    """Use SQLite; tests/server/storage asks both databases the same."""
    return None


def _writing(made: Bench, *, judges: bool = True, summarizer: Summarizer | None = None) -> SummaryWriting:
    return SummaryWriting(
        made.database,
        made.announced,
        made.clock,
        judges=lambda: judges,
        thresholds=LevelThresholds(),
        zone=UTC_ZONE,
        summarizer=summarizer,
    )


async def _written(made: Bench, kind: SummaryKind = SummaryKind.HOURLY) -> list[Summary]:
    async with made.database.reading() as connection:
        page = await summaries.find(connection, SummaryFilter(kind), limit=100, cursor=None)
    return list(reversed(page.items))


async def _watch(made: Bench, writing: SummaryWriting, minutes: int) -> None:
    for _ in range(minutes):
        await writing.look()
        made.clock.move(minutes=1)


async def test_a_quiet_hour_is_one_line_and_told_once(a_bench: Bench) -> None:
    writing = _writing(a_bench)
    await _watch(a_bench, writing, 65)
    assert await _written(a_bench) == []
    await writing.look()
    (summary,) = await _written(a_bench)
    assert (summary.headline, summary.text, summary.source) == ("All quiet.", "All quiet.", AssessmentSource.RULES)
    assert summary.period.ended_at - summary.period.started_at == timedelta(hours=1)
    (told,) = [item for item in await a_bench.told_all() if item.kind is AnnouncementKind.SUMMARY]
    assert told.summary == summary
    await writing.look()
    assert len(await _written(a_bench)) == 1


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_what_happened_is_counted_by_camera_and_its_incidents_named(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    server: PostgreSql | None = request.getfixturevalue("postgresql") if kind == "postgresql" else None
    async with bench(tmp_path, where=server.migrated_database() if server else None) as a_bench:
        await _count_what_happened(a_bench)


async def _count_what_happened(a_bench: Bench) -> None:
    writing = _writing(a_bench)
    for _ in range(20):
        await a_bench.see(a_person())
        await writing.look()
        a_bench.clock.move(seconds=5)
    await a_bench.see(a_person(), camera="yard")
    await _watch(a_bench, writing, 65)
    (summary,) = await _written(a_bench)
    found = await a_bench.events()
    assert sum(number for _, number in summary.scores) == len(found) == summary.unverified
    assert {(one.camera_id, one.events) for one in summary.cameras} == {
        (CAMERA, sum(event.camera_id == CAMERA for event in found)),
        ("yard", 1),
    }
    worth = {one.id for one in await a_bench.incidents() if one.score >= LevelThresholds().medium}
    assert set(summary.incident_ids) == worth
    assert summary.text.endswith(f"{len(found)} of {len(found)} were judged by rules alone.")


async def test_an_hour_that_nobody_could_judge_is_not_quiet(a_bench: Bench) -> None:
    blind, seeing = _writing(a_bench, judges=False), _writing(a_bench)
    await _watch(a_bench, blind, 25)
    await _watch(a_bench, seeing, 41)
    (summary,) = await _written(a_bench)
    assert summary.unjudged_minutes == 25
    assert "quiet" not in summary.text
    assert "For 25 of 60 minutes no picture could be judged." in summary.text


async def test_a_server_that_was_away_makes_up_for_a_day_and_tells_the_last_hour_only(a_bench: Bench) -> None:
    await _writing(a_bench).look()
    a_bench.clock.move(days=3, minutes=30)
    await _writing(a_bench).look()
    hours = await _written(a_bench)
    assert len(hours) == 24
    assert {summary.headline for summary in hours} == {"Unknown: no picture could be judged."}
    assert [summary.unjudged_minutes for summary in hours] == [60] * 24
    assert len(await _written(a_bench, SummaryKind.DAILY)) == 2
    told = [item.summary for item in await a_bench.told_all() if item.summary]
    assert [item.period.kind for item in told] == [SummaryKind.HOURLY, SummaryKind.DAILY]
    assert told[0] == hours[-1]


async def test_nothing_is_claimed_of_the_time_before_the_first_start(a_bench: Bench) -> None:
    await _watch(a_bench, _writing(a_bench), 2)
    assert await _written(a_bench) == []
    assert await _written(a_bench, SummaryKind.DAILY) == []


async def test_two_processes_write_each_once(tmp_path: Path) -> None:
    async with bench(tmp_path) as made, bench(tmp_path, made.clock, scripted=made.detector) as other:
        mine, theirs = _writing(made, judges=False), _writing(other)
        for _ in range(127):
            await mine.look()
            await theirs.look()
            made.clock.move(minutes=1)
        written = await _written(made)
        assert len(written) == 2
        assert {summary.unjudged_minutes for summary in written} == {0}  # one of the two could judge


async def test_whoever_else_writes_has_the_word_unless_it_fails(a_bench: Bench) -> None:
    for says, text, source in (
        (Told("A calm hour.", "A calm hour. Nobody came."), "A calm hour. Nobody came.", AssessmentSource.MODEL),
        (RuntimeError("no model"), "All quiet.", AssessmentSource.RULES),
        (None, "All quiet.", AssessmentSource.RULES),
    ):
        writer = Writer(says)
        await _watch(a_bench, _writing(a_bench, summarizer=writer), 60)
        if not writer.asked:
            await _watch(a_bench, _writing(a_bench, summarizer=writer), 6)
        assert len(writer.asked) == 1
        latest = (await _written(a_bench))[-1]
        assert (latest.text, latest.source) == (text, source)


async def test_more_than_usual_is_named(a_bench: Bench) -> None:
    await a_bench.see(a_person())
    now = a_bench.clock.now()
    async with a_bench.database.writing() as connection:
        habit = Habit(CAMERA, Category.PERSON, slot_of(now), 1.0, 10.0, now - timedelta(weeks=1))
        await baselines.write(connection, [habit])
    writing = _writing(a_bench)
    for number in range(9):
        await a_bench.see(a_person(x=10 + number * 5))
        await _watch(a_bench, writing, 2)
    await _watch(a_bench, writing, 50)
    (summary,) = await _written(a_bench)
    people = sum(len(event.tracks) for event in await a_bench.events())
    assert f"Unusual: {people} people on Front door in the hour from 08:00, 0.1 expected." in summary.text


@pytest.mark.parametrize("days", [40])
async def test_old_hours_are_forgotten(a_bench: Bench, days: int) -> None:
    await _watch(a_bench, _writing(a_bench), 67)
    (first,) = await _written(a_bench)
    a_bench.clock.move(days=days)
    await _writing(a_bench).look()
    assert first not in await _written(a_bench)
