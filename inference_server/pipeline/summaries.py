# SPDX-License-Identifier: AGPL-3.0-or-later
"""Summaries: each hour and day of the home is summed up once, a little after it, whichever process does it."""

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.announcement import Announcement, AnnouncementKind
from inference_server.core.assessment import AssessmentSource, LevelThresholds, RiskLevel, risk_level
from inference_server.core.baseline import HOUR, hour_of, slot_of
from inference_server.core.clock import Clock
from inference_server.core.detection import Category
from inference_server.core.signal import Signal
from inference_server.core.summary import Period, SummaryKind, periods_before
from inference_server.risk.baseline import by_category, counts, rate_of
from inference_server.risk.continuity import first_sights
from inference_server.risk.summaries import MOST_INCIDENTS, UNUSUAL_BELOW, Summarizer, SummaryFacts, Unusual, tell
from inference_server.storage import announcements, baselines, chores, incidents, summaries, surroundings
from inference_server.storage.database import STORAGE_FAILURES, Database
from inference_server.storage.incidents import IncidentFilter
from inference_server.storage.summaries import StoredFacts, Words

_LOGGER = logging.getLogger(__name__)

CHORE = "summaries"
SETTLED_AFTER = timedelta(minutes=5)
"""Events that run over the hour are over by then, and most pictures that come late are in."""
MADE_UP_HOURS, MADE_UP_DAYS = 24, 2
KEPT = {SummaryKind.HOURLY: timedelta(days=31), SummaryKind.DAILY: timedelta(days=731)}
MINUTES_KEPT = timedelta(days=8)
LOOK_SECONDS = 20.0
"""Well below a minute, so that no minute passes between two looks."""
LONGEST_WRITING = 120.0
"""Seconds that a summarizer may take; then the template has the word."""


class SummaryWriting:
    """Writes what is missing, and notes minute by minute whether pictures could be judged."""

    def __init__(
        self,
        database: Database,
        announced: Signal,
        clock: Clock,
        *,
        judges: Callable[[], bool],
        thresholds: LevelThresholds,
        zone: ZoneInfo,
        summarizer: Summarizer | None = None,
    ) -> None:
        """Take the parts; `judges` says whether there is a detector now; without a summarizer the template writes."""
        self._database = database
        self._announced = announced
        self._clock = clock
        self._judges = judges
        self._thresholds = thresholds
        self._zone = zone
        self._summarizer = summarizer
        self._holder = secrets.token_hex(8)
        self._noted: tuple[datetime, bool] | None = None

    async def run(self) -> None:
        """Look every minute, or a little more often, until cancelled."""
        while True:
            try:
                await self.look()
            except STORAGE_FAILURES as error:
                _LOGGER.warning("Summaries are written later: %s", error)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Note this minute, once, and sum up what is over."""
        now, judged = self._clock.now(), self._judges()
        minute = now.replace(second=0, microsecond=0)
        if self._noted == (minute, judged):
            return
        async with self._database.writing() as connection:
            await summaries.note_minute(connection, now, judged=judged)
        await self._sum_up(now)
        self._noted = minute, judged

    async def _sum_up(self, now: datetime) -> None:
        periods = periods_before(now - SETTLED_AFTER, self._zone, hours=MADE_UP_HOURS, days=MADE_UP_DAYS)
        async with self._database.reading() as connection:
            wanted = await summaries.missing(connection, periods)
        if not wanted:
            return
        async with self._database.writing() as connection:
            if not await chores.take(connection, CHORE, self._holder, now):
                return
        latest = {period.kind: period for period in periods}
        try:
            for period in wanted:
                await self._write(period, tell_it=period == latest[period.kind])
        finally:
            async with self._database.writing() as connection:
                await self._prune(connection, now)
                await chores.leave(connection, CHORE, self._holder, now)

    async def _prune(self, connection: AsyncConnection, now: datetime) -> None:
        for kind, kept in KEPT.items():
            await summaries.prune(connection, kind, now - kept)
        await summaries.forget_minutes(connection, now - MINUTES_KEPT)

    async def _write(self, period: Period, *, tell_it: bool) -> None:
        async with self._database.reading() as connection:
            facts, stored = await self._facts(connection, period)
        words = await self._words(facts)
        async with self._database.writing() as connection:
            now = self._clock.now()
            await chores.take(connection, CHORE, self._holder, now)
            summary = await summaries.add(connection, period, words, stored, now)
            if summary is None or not tell_it:
                return
            await announcements.add(connection, [Announcement(AnnouncementKind.SUMMARY, "", now, summary=summary)])
        self._announced.notify()

    async def _words(self, facts: SummaryFacts) -> Words:
        if self._summarizer is not None:
            try:
                async with asyncio.timeout(LONGEST_WRITING):
                    told = await self._summarizer.summarize(facts)
            except Exception as error:  # noqa: BLE001 - whatever it is, there will be a summary
                _LOGGER.warning("A summary is written by template: %s: %s", type(error).__name__, error)
            else:
                if told is not None:
                    return Words(told.headline, told.text, AssessmentSource.MODEL)
        told = tell(facts)
        return Words(told.headline, told.text, AssessmentSource.RULES)

    async def _facts(self, connection: AsyncConnection, period: Period) -> tuple[SummaryFacts, StoredFacts]:
        seen = await summaries.events_in(connection, period)
        cameras = summaries.counted(seen)
        wanted = IncidentFilter(min_score=self._thresholds.medium, since=period.started_at, until=period.ended_at)
        page = await incidents.find(connection, wanted, limit=200, cursor=None)
        worth = sorted(page.items, key=lambda incident: (-incident.score, incident.started_at, incident.id))
        worth = worth[:MOST_INCIDENTS]
        scores = Counter(event.score for event in seen)
        levels = dict.fromkeys(RiskLevel, 0)
        for score, number in scores.items():
            levels[risk_level(score, self._thresholds)] += number
        stored = StoredFacts(
            scores=tuple(sorted(scores.items())),
            cameras=cameras,
            incident_ids=tuple(incident.id for incident in worth),
            unverified=sum(not event.verified for event in seen),
            unjudged_minutes=await summaries.unjudged_minutes(connection, period),
            unjudged_pictures=await summaries.unjudged_pictures(connection, period),
        )
        facts = SummaryFacts(
            period=period,
            zone=self._zone,
            levels=levels,
            cameras=cameras,
            incidents=worth,
            unusual=await self._unusual(connection, period) if seen else (),
            unverified=stored.unverified,
            unjudged_minutes=stored.unjudged_minutes,
            unjudged_pictures=stored.unjudged_pictures,
        )
        return facts, stored

    async def _unusual(self, connection: AsyncConnection, period: Period) -> list[Unusual]:
        """Return where more was seen than usually, hour by hour of the baseline, the rarest first."""
        found: list[Unusual] = []
        for camera in (await surroundings.placed(connection)).values():
            begin = hour_of(period.started_at)
            while begin < period.ended_at:
                found += await self._unusual_hour(connection, camera.id, camera.name, begin)
                begin += HOUR
        return sorted(found, key=lambda one: (one.chance, one.begin, one.camera, one.category))

    async def _unusual_hour(
        self, connection: AsyncConnection, camera_id: str, camera: str, begin: datetime
    ) -> list[Unusual]:
        end = begin + HOUR
        sights = first_sights(await baselines.tracks_since(connection, camera_id, begin - HOUR, end))
        if not sights:
            return []
        slot = slot_of(begin.astimezone(self._zone))
        known = by_category(await baselines.at_hour(connection, camera_id, slot))
        found = []
        for category, seen in counts(sights, begin, end).items():
            rate = rate_of(known[category], slot, end)
            if rate is None or category is Category.ANIMAL or seen <= rate.expected:
                continue
            if (chance := rate.chance(seen)) < UNUSUAL_BELOW:
                found.append(Unusual(camera, category, begin, seen, rate.expected, chance))
        return found
