# SPDX-License-Identifier: AGPL-3.0-or-later
"""Summaries: what happened in an hour or a day of the home, in a few sentences."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from inference_server.core.assessment import AssessmentSource

HOUR = timedelta(hours=1)
MINUTES_OF_HOUR = 60


class SummaryKind(StrEnum):
    """How long a time a summary is about."""

    HOURLY = "hourly"
    DAILY = "daily"


@dataclass(frozen=True, slots=True)
class Period:
    """An hour or a day of the home's clock. A day may have 23 or 25 hours."""

    kind: SummaryKind
    started_at: datetime
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class CameraCount:
    """What one camera saw in a period."""

    camera_id: str
    name: str
    events: int
    highest_score: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What a period was like. Levels are computed from the scores, never stored."""

    id: int
    period: Period
    headline: str
    """One line: "All quiet." where nothing happened."""
    text: str
    source: AssessmentSource
    scores: tuple[tuple[int, int], ...]
    """Each score that events had, and how many had it."""
    cameras: tuple[CameraCount, ...]
    incident_ids: tuple[int, ...]
    """Those worth a line, the most serious first."""
    unverified: int
    """Events that no analyst has looked at."""
    unjudged_minutes: int
    """Minutes in which no picture could be judged."""
    unjudged_pictures: int
    """Pictures that could not be judged for good."""
    created_at: datetime


def hour_start(at: datetime, zone: ZoneInfo) -> datetime:
    """Return when the hour of the home's clock began that holds a time, in UTC: in the hour that comes twice, too."""
    local = at.astimezone(zone)
    into = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    return at.astimezone(UTC) - into


def day_of(day: date, zone: ZoneInfo) -> Period:
    """Return a day of the home from midnight to midnight, in UTC."""
    begin, end = (datetime.combine(d, time(0), zone).astimezone(UTC) for d in (day, day + timedelta(days=1)))
    return Period(SummaryKind.DAILY, begin, end)


def periods_before(now: datetime, zone: ZoneInfo, *, hours: int, days: int) -> list[Period]:
    """Return the last so many hours and days that are over, oldest first, the hours before the days."""
    found: list[Period] = []
    end = hour_start(now, zone)
    for _ in range(hours):
        begin = hour_start(end - timedelta(microseconds=1), zone)
        found.append(Period(SummaryKind.HOURLY, begin, end))
        end = begin
    today = now.astimezone(zone).date()
    whole = [day_of(today - timedelta(days=number), zone) for number in range(days, 0, -1)]
    return [*reversed(found), *whole]
