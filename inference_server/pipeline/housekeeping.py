# SPDX-License-Identifier: AGPL-3.0-or-later
"""Housekeeping: the daily cleanup, the one that an owner asks for, and the one that a full disk asks for.

Of all processes on one database one cleans at a time.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from inference_server.core.assessment import LevelThresholds
from inference_server.core.cleanup import Amount, CleanupBusyError, CleanupReport, DiskUse
from inference_server.core.clock import Clock
from inference_server.core.feedback import KEPT
from inference_server.observability.health import HealthBoard, HealthState
from inference_server.pipeline.cleaning import Cleaner, Step
from inference_server.pipeline.limits import Limits, cleanup_moments, is_due
from inference_server.settings import RetentionSettings
from inference_server.storage import announcements, chores, feedback, orphans, retention
from inference_server.storage.database import STORAGE_FAILURES, Database
from inference_server.storage.orphans import Strays

_LOGGER = logging.getLogger(__name__)

CLEANUP = "cleanup"
LOOK_SECONDS = 60.0
ANNOUNCEMENTS_EVERY = 10
"""Looks between two prunings of the announcements and of old feedback."""


class Turn:
    """The right to clean, for as long as it is prolonged."""

    def __init__(self, database: Database, clock: Clock, holder: str) -> None:
        """Take who holds it."""
        self._database = database
        self._clock = clock
        self._holder = holder
        self._taken_at = clock.now()
        self.done = False
        """Whether everything was cleaned that the daily cleanup cleans."""

    async def keep(self) -> None:
        """Prolong it in good time. Raises CleanupBusyError when somebody else has it now."""
        if self._clock.now() - self._taken_at > chores.LEASE / 3:
            await self.take()

    async def take(self) -> None:
        """Take it, or prolong it. Raises CleanupBusyError."""
        now = self._clock.now()
        async with self._database.writing() as connection:
            if not await chores.take(connection, CLEANUP, self._holder, now):
                raise CleanupBusyError
        self._taken_at = now

    async def leave(self) -> None:
        """Give it back."""
        async with self._database.writing() as connection:
            await chores.leave(connection, CLEANUP, self._holder, self._clock.now() if self.done else None)


class Housekeeping:
    """Decides what is deleted when, and has the cleaner do it."""

    def __init__(
        self,
        database: Database,
        cleaner: Cleaner,
        health: HealthBoard,
        clock: Clock,
        *,
        settings: RetentionSettings,
        thresholds: LevelThresholds,
        zone: ZoneInfo,
    ) -> None:
        """Take the parts."""
        self._database = database
        self._cleaner = cleaner
        self._health = health
        self._clock = clock
        self._settings = settings
        self._thresholds = thresholds
        self._zone = zone

    async def run(self) -> None:
        """Clean up every night, and as soon as possible when a night was missed, until cancelled."""
        looks = 0
        while True:
            try:
                if looks % ANNOUNCEMENTS_EVERY == 0:
                    async with self._database.writing() as connection:
                        await announcements.prune(connection)
                        await feedback.prune(connection, self._clock.now() - KEPT)
                await self._clean_if_due()
            except STORAGE_FAILURES as error:
                _LOGGER.warning("The cleanup waits for the database: %s", error)
                self._health.report(
                    CLEANUP,
                    HealthState.DEGRADED,
                    last_error=str(error),
                    still_works="Everything but the deletion of what is too old.",
                    remedy="Check that the database answers and that its disk has room. It is tried again by itself.",
                )
            looks += 1
            await asyncio.sleep(LOOK_SECONDS)

    async def _clean_if_due(self) -> None:
        now, hour = self._clock.now(), self._settings.cleanup_hour
        async with self._database.reading() as connection:
            done_at = await chores.done_at(connection, CLEANUP)
        if is_due(done_at, now, hour, self._zone):
            try:
                await self.clean()
            except CleanupBusyError:
                return
        elif not any(component.name == CLEANUP for component in self._health.components):
            next_at = cleanup_moments(now, hour, self._zone)[1]
            self._health.report(CLEANUP, HealthState.OK, next_at=next_at.isoformat())

    async def clean(self) -> CleanupReport:
        """Delete what is older than the settings allow. Raises CleanupBusyError."""
        async with self._turn() as turn:
            limits = Limits(self._settings, self._thresholds, self._clock.now())
            trash = await _all(self._cleaner.events(limits.trash), turn) if limits.trash is not None else Amount()
            originals = await _all(self._cleaner.originals(limits.originals), turn) if limits.originals else Amount()
            events = {level: await _all(self._cleaner.events(wanted), turn) for level, wanted in limits.events()}
            frames = await _all(self._cleaner.frames(limits.frames), turn) if limits.frames else Amount()
            clips = await _all(self._cleaner.clips(limits.clips), turn) if limits.clips else Amount()
            strays = await self._cleaner.strays()
            warning = orphans.warning(strays)
            report = CleanupReport(
                events=events,
                frames=frames,
                clips=clips,
                originals=originals,
                orphans=Amount() if warning else await _all(self._cleaner.tidy(strays), turn),
                trash=trash,
                arrivals=await self._forget(limits, turn),
                missing=sum(len(one.missing) for one in strays),
                warning=warning,
            )
            turn.done = True
        self._report(report)
        return report

    async def _forget(self, limits: Limits, turn: Turn) -> int:
        forgotten = 0
        if limits.arrivals:
            async for number in self._cleaner.notes(limits.arrivals):
                forgotten += number
                await turn.keep()
        return forgotten

    def _report(self, report: CleanupReport) -> None:
        now = self._clock.now()
        events = sum(amount.count for amount in report.events.values())
        _LOGGER.info("Cleaned up: %d events, %d frames, %d bytes in all", events, report.frames.count, report.bytes)
        if report.missing:
            _LOGGER.warning("%d pictures have lost their files", report.missing)
        missing = f"{report.missing} pictures have lost their files." if report.missing else None
        self._health.report(
            CLEANUP,
            HealthState.DEGRADED if report.warning or missing else HealthState.OK,
            last_error=report.warning or missing,
            remedy="hsi orphans lists what does not fit together." if report.warning or missing else None,
            done_at=now.isoformat(),
            next_at=cleanup_moments(now, self._settings.cleanup_hour, self._zone)[1].isoformat(),
            deleted_events=events,
            deleted_bytes=report.bytes,
        )

    async def empty_trash(self) -> Amount:
        """Delete for good what is in the trash and not still to be worked on. Raises CleanupBusyError."""
        async with self._turn() as turn:
            return await _all(self._cleaner.events(retention.expired_trash(None)), turn)

    async def delete_orphans(self, strays: list[Strays]) -> Amount:
        """Delete these orphans, and take note of which frames have their files. Raises CleanupBusyError."""
        async with self._turn() as turn:
            return await _all(self._cleaner.tidy(strays), turn)

    async def relieve(self, use: DiskUse, pressed: Callable[[Amount], Awaitable[bool]], min_age: timedelta) -> Amount:
        """Delete what is oldest from a disk, before its time, while it is pressed after so much was deleted.

        Raises CleanupBusyError.
        """
        total = Amount()
        async with self._turn() as turn:
            for step in self._reliefs(use, min_age):
                async with aclosing(step):
                    async for amount in step:
                        total += amount
                        await turn.keep()
                        if not await pressed(total):
                            return total
        return total

    def _reliefs(self, use: DiskUse, min_age: timedelta) -> list[Step]:
        """Return what a disk can be relieved by, in this order: what nobody misses, and the lowest level first."""
        now = self._clock.now()
        limits = Limits(self._settings, self._thresholds, now, youngest=now - min_age)
        cleaner, steps = self._cleaner, list[Step]()
        if "media" in use.holds and limits.trash is not None:
            steps.append(cleaner.events(limits.trash))
        if "cameras" in use.holds and limits.originals:
            steps.append(cleaner.originals(limits.originals, disk=Path(use.path)))
        if "media" in use.holds:
            steps += [cleaner.frames(limits.frames)] if limits.frames else []
            steps += [cleaner.clips(limits.clips)] if limits.clips else []
            steps += [cleaner.events(wanted) for _, wanted in limits.events()]
        return steps

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[Turn]:
        turn = Turn(self._database, self._clock, secrets.token_hex(8))
        await turn.take()
        try:
            yield turn
        finally:
            await turn.leave()


async def _all(step: Step, turn: Turn) -> Amount:
    total = Amount()
    async for amount in step:
        total += amount
        await turn.keep()
    return total
