# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries on how events were judged, many at a time."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Integer, Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.assessment import Factor, LevelThresholds, RiskLevel, risk_level
from inference_server.core.context import CameraPlace
from inference_server.core.detection import Track
from inference_server.core.mix import DayMix
from inference_server.storage.events import factors_of, rules_assessment, tracks_of
from inference_server.storage.rows import AnyRow
from inference_server.storage.tables import assessments, cameras, events

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class RulesVerdict:
    """An event as the rules judged it last."""

    event_id: int
    camera_id: str
    place: CameraPlace
    started_at: datetime
    last_detection_at: datetime
    tracks: tuple[Track, ...]
    factors: tuple[Factor, ...]


async def by_rules(connection: AsyncConnection, event_id: int) -> RulesVerdict | None:
    """Return how the rules judged an event; None where they did not, or it is not there."""
    rows = (await connection.execute(_verdicts().where(events.c.id == event_id))).all()
    return _verdict(rows[0]) if rows else None


async def past(connection: AsyncConnection, since: datetime, limit: int) -> list[RulesVerdict]:
    """Return how the rules judged the newest events since a time; reading them takes place in a thread."""
    query = _verdicts().where(events.c.started_at >= since).order_by(events.c.started_at.desc(), events.c.id.desc())
    rows = (await connection.execute(query.limit(limit))).all()
    return await asyncio.to_thread(_all, rows)


async def days(
    connection: AsyncConnection, now: datetime, number: int, thresholds: LevelThresholds
) -> tuple[DayMix, ...]:
    """Return the levels of the events of the last so many times 24 hours, the latest first."""
    return tuple([await _day(connection, now - (ago + 1) * DAY, now - ago * DAY, thresholds) for ago in range(number)])


async def _day(connection: AsyncConnection, since: datetime, until: datetime, thresholds: LevelThresholds) -> DayMix:
    query = (
        select(events.c.camera_id, events.c.score, func.count(), func.sum(assessments.c.verified.cast(Integer)))
        .join(assessments, assessments.c.id == events.c.assessment_id)
        .where(events.c.started_at > since, events.c.started_at <= until, events.c.deleted_at.is_(None))
        .group_by(events.c.camera_id, events.c.score)
    )
    levels: dict[str, Counter[RiskLevel]] = {}
    verified = 0
    for camera_id, score, count, sure in (await connection.execute(query)).all():
        levels.setdefault(camera_id, Counter())[risk_level(score, thresholds)] += count
        verified += int(sure)
    return DayMix(levels, verified)


async def factors_from(
    connection: AsyncConnection, min_score: int, since: datetime, limit: int
) -> list[tuple[Factor, ...]]:
    """Return the factors of the newest events since a time whose score is that or higher."""
    query = (
        select(assessments.c.factors)
        .join(events, assessments.c.id == events.c.assessment_id)
        .where(events.c.started_at >= since, events.c.score >= min_score, events.c.deleted_at.is_(None))
        .order_by(events.c.started_at.desc(), events.c.id.desc())
    )
    return [factors_of(stored) for stored in (await connection.execute(query.limit(limit))).scalars()]


def _verdicts() -> Select[tuple[object, ...]]:
    columns = (events.c.id, events.c.camera_id, events.c.started_at, events.c.last_detection_at, events.c.tracks)
    return (
        select(*columns, cameras.c.place, assessments.c.factors)
        .join(cameras, cameras.c.id == events.c.camera_id)
        .join(assessments, assessments.c.event_id == events.c.id)
        .where(events.c.deleted_at.is_(None), rules_assessment())
    )


def _all(rows: Sequence[AnyRow]) -> list[RulesVerdict]:
    return [_verdict(row) for row in rows]


def _verdict(row: AnyRow) -> RulesVerdict:
    return RulesVerdict(
        row.id,
        row.camera_id,
        CameraPlace(row.place),
        row.started_at,
        row.last_detection_at,
        tracks_of(row.tracks),
        factors_of(row.factors),
    )
