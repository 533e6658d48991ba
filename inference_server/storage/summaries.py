# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries on summaries, and on what they are written from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import TypeAdapter
from sqlalchemy import and_, delete, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.assessment import AssessmentSource
from inference_server.core.message import StageName
from inference_server.core.summary import MINUTES_OF_HOUR, CameraCount, Period, Summary, SummaryKind
from inference_server.storage.rows import AnyRow, Page, decode_moment, encode_moment, insert
from inference_server.storage.tables import assessments, cameras, dead_letters, events, judged_hours, summaries

MINUTE = timedelta(minutes=1)
_FRAME_STAGES = [stage.value for stage in StageName if stage.is_about_frames]


@dataclass(frozen=True, slots=True)
class SummaryFilter:
    """Which summaries a list holds; None means all."""

    kind: SummaryKind | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Words:
    """What a summary says, and who wrote it."""

    headline: str
    text: str
    source: AssessmentSource


@dataclass(frozen=True, slots=True)
class StoredFacts:
    """What a summary keeps of a period beside its words."""

    scores: tuple[tuple[int, int], ...]
    cameras: tuple[CameraCount, ...]
    incident_ids: tuple[int, ...]
    unverified: int
    unjudged_minutes: int
    unjudged_pictures: int


@dataclass(frozen=True, slots=True)
class SeenEvent:
    """An event as a summary counts it."""

    camera_id: str
    camera: str
    score: int
    verified: bool


_FACTS = TypeAdapter(StoredFacts)


async def add(
    connection: AsyncConnection, period: Period, words: Words, facts: StoredFacts, at: datetime
) -> Summary | None:
    """Store a summary and return it; None when there is one of the time already."""
    query = insert(connection, summaries).values(
        kind=period.kind.value,
        started_at=period.started_at,
        ended_at=period.ended_at,
        headline=words.headline,
        text=words.text,
        source=words.source.value,
        facts=_FACTS.dump_python(facts, mode="json"),
        created_at=at,
    )
    new = query.on_conflict_do_nothing(index_elements=["kind", "started_at"]).returning(summaries)
    row = (await connection.execute(new)).one_or_none()
    return _summary(row) if row else None


async def missing(connection: AsyncConnection, periods: Sequence[Period]) -> list[Period]:
    """Return those of the periods that have no summary and began when the server watched already."""
    first: datetime | None = (await connection.execute(select(func.min(judged_hours.c.begin)))).scalar()
    if first is None:
        return []
    wanted = [period for period in periods if period.ended_at > first]
    begins = [period.started_at for period in wanted]
    query = select(summaries.c.kind, summaries.c.started_at).where(summaries.c.started_at.in_(begins))
    there = {(row.kind, row.started_at) for row in await connection.execute(query)}
    return [period for period in wanted if (period.kind.value, period.started_at) not in there]


async def find(connection: AsyncConnection, wanted: SummaryFilter, *, limit: int, cursor: str | None) -> Page[Summary]:
    """Return summaries, the latest time first. Raises BadCursorError."""
    query = select(summaries).order_by(summaries.c.started_at.desc(), summaries.c.id.desc())
    if wanted.kind is not None:
        query = query.where(summaries.c.kind == wanted.kind.value)
    if wanted.since is not None:
        query = query.where(summaries.c.started_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(summaries.c.started_at < wanted.until)
    if cursor is not None:
        at, last_id = decode_moment(cursor)
        same = and_(summaries.c.started_at == at, summaries.c.id < last_id)
        query = query.where(or_(summaries.c.started_at < at, same))
    found = (await connection.execute(query.limit(limit + 1))).all()
    items = tuple(map(_summary, found[:limit]))
    return Page(items, encode_moment(items[-1].period.started_at, items[-1].id) if len(found) > limit else None)


async def prune(connection: AsyncConnection, kind: SummaryKind, before: datetime) -> None:
    """Delete the summaries of a kind whose time was over before."""
    await connection.execute(delete(summaries).where(summaries.c.kind == kind.value, summaries.c.ended_at < before))


async def note_minute(connection: AsyncConnection, at: datetime, *, judged: bool) -> None:
    """Note whether pictures could be judged in the minute of a time: if any process says so, they could."""
    begin = at.replace(minute=0, second=0, microsecond=0)
    bit = 1 << at.minute if judged else 0
    query = insert(connection, judged_hours).values(begin=begin, minutes=bit)
    both = {"minutes": judged_hours.c.minutes.op("|")(bit)}
    await connection.execute(query.on_conflict_do_update(index_elements=["begin"], set_=both))


async def forget_minutes(connection: AsyncConnection, before: datetime) -> None:
    """Forget what was noted of minutes before."""
    await connection.execute(delete(judged_hours).where(judged_hours.c.begin < before))


async def unjudged_minutes(connection: AsyncConnection, period: Period) -> int:
    """Return in how many minutes of a period no picture could be judged, those before the first note left out."""
    first: datetime | None = (await connection.execute(select(func.min(judged_hours.c.begin)))).scalar()
    if first is None:
        return 0
    begin = max(period.started_at, first)
    hour = begin.replace(minute=0)
    query = select(judged_hours).where(judged_hours.c.begin >= hour, judged_hours.c.begin < period.ended_at)
    noted = {row.begin: row.minutes for row in await connection.execute(query)}
    judged = sum(
        1
        for at, minutes in noted.items()
        for minute in range(MINUTES_OF_HOUR)
        if minutes >> minute & 1 and begin <= at + minute * MINUTE < period.ended_at
    )
    return max(round((period.ended_at - begin) / MINUTE) - judged, 0)


async def unjudged_pictures(connection: AsyncConnection, period: Period) -> int:
    """Return how many pictures were given up in a period."""
    died = and_(dead_letters.c.died_at >= period.started_at, dead_letters.c.died_at < period.ended_at)
    query = select(func.count()).select_from(dead_letters).where(died, dead_letters.c.stage.in_(_FRAME_STAGES))
    return int((await connection.execute(query)).scalar_one())


async def events_in(connection: AsyncConnection, period: Period) -> list[SeenEvent]:
    """Return the events that began in a period and are not in the trash."""
    columns = (events.c.camera_id, cameras.c.name, events.c.score, assessments.c.verified)
    wanted = (
        events.c.started_at >= period.started_at,
        events.c.started_at < period.ended_at,
        events.c.deleted_at.is_(None),
    )
    query = select(*columns).select_from(events).join(cameras, cameras.c.id == events.c.camera_id)
    query = query.join(assessments, assessments.c.id == events.c.assessment_id).where(*wanted)
    return [SeenEvent(row.camera_id, row.name, row.score, row.verified) for row in await connection.execute(query)]


def counted(seen: Iterable[SeenEvent]) -> tuple[CameraCount, ...]:
    """Return what each camera saw, the busiest first."""
    found: dict[str, CameraCount] = {}
    for one in seen:
        old = found.get(one.camera_id, CameraCount(one.camera_id, one.camera, 0, 0))
        highest = max(old.highest_score, one.score)
        found[one.camera_id] = CameraCount(one.camera_id, one.camera, old.events + 1, highest)
    return tuple(sorted(found.values(), key=lambda count: (-count.events, count.camera_id)))


def _summary(row: AnyRow) -> Summary:
    facts = _FACTS.validate_python(row.facts)
    return Summary(
        id=row.id,
        period=Period(SummaryKind(row.kind), row.started_at, row.ended_at),
        headline=row.headline,
        text=row.text,
        source=AssessmentSource(row.source),
        scores=facts.scores,
        cameras=facts.cameras,
        incident_ids=facts.incident_ids,
        unverified=facts.unverified,
        unjudged_minutes=facts.unjudged_minutes,
        unjudged_pictures=facts.unjudged_pictures,
        created_at=row.created_at,
    )
