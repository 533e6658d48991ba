# SPDX-License-Identifier: AGPL-3.0-or-later
"""Accounts: what is kept and where, and what a cleanup would delete."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from zoneinfo import ZoneInfo

from inference_server.core.assessment import LevelThresholds
from inference_server.core.cleanup import Amount, CleanupReport, StorageReport
from inference_server.core.clock import Clock
from inference_server.pipeline.cleaning import Cleaner
from inference_server.pipeline.limits import Limits, cleanup_moments
from inference_server.settings import RetentionSettings
from inference_server.storage import accounting, disk, orphans, retention
from inference_server.storage.database import Database
from inference_server.storage.disk import Place
from inference_server.storage.media import MediaFolder

REMEMBERED = timedelta(minutes=1)
"""A report looks at every file; who asks again within this time gets the same one."""


class Accounts:
    """Counts; deletes nothing."""

    def __init__(
        self,
        database: Database,
        media: MediaFolder,
        cleaner: Cleaner,
        clock: Clock,
        *,
        settings: RetentionSettings,
        thresholds: LevelThresholds,
        zone: ZoneInfo,
        places: Sequence[Place],
    ) -> None:
        """Take the parts; `places` are what lies on disks."""
        self._database = database
        self._media = media
        self._cleaner = cleaner
        self._clock = clock
        self._settings = settings
        self._thresholds = thresholds
        self._zone = zone
        self._places = places
        self._turn = asyncio.Lock()
        self._last: StorageReport | None = None
        self._last_at = clock.now()

    async def plan(self) -> CleanupReport:
        """Return what a cleanup would delete now."""
        await self._measure()
        limits = Limits(self._settings, self._thresholds, self._clock.now())
        strays = await self._cleaner.strays()
        warning = orphans.warning(strays)
        originals = await self._cleaner.originals_amount(limits.originals) if limits.originals else Amount()
        async with self._database.reading() as connection:
            return CleanupReport(
                events={level: await retention.events_amount(connection, wanted) for level, wanted in limits.events()},
                frames=await retention.frames_amount(connection, retention.expired_frames(limits.frames))
                if limits.frames
                else Amount(),
                clips=await retention.clips_amount(connection, retention.expired_clips(limits.clips))
                if limits.clips
                else Amount(),
                originals=originals,
                orphans=Amount() if warning else orphans.amount(strays),
                trash=await retention.events_amount(connection, limits.trash) if limits.trash is not None else Amount(),
                missing=sum(len(one.missing) for one in strays),
                warning=warning,
            )

    async def report(self) -> StorageReport:
        """Return what is kept and where, and what the next cleanup will delete."""
        async with self._turn:
            now = self._clock.now()
            if self._last is None or not self._last_at <= now < self._last_at + REMEMBERED:
                self._last, self._last_at = await self._report(), now
            return self._last

    async def _report(self) -> StorageReport:
        plan = await self.plan()
        async with self._database.reading() as connection:
            stored = await accounting.stored(connection, self._thresholds)
            database_bytes = await accounting.database_bytes(connection, self._database.file)
        uses, problems = await asyncio.to_thread(disk.look, self._places)
        next_at = cleanup_moments(self._clock.now(), self._settings.cleanup_hour, self._zone)[1]
        return StorageReport(stored, database_bytes, tuple(uses), tuple(problems), next_at, plan)

    async def _measure(self) -> None:
        """Note the sizes that older versions did not note."""
        after = 0
        while True:
            async with self._database.reading() as connection:
                paths = await accounting.unmeasured(connection, after=after)
            if not paths:
                return
            sizes = await asyncio.to_thread(self._sizes, paths)
            if sizes:
                async with self._database.writing() as connection:
                    await accounting.note_sizes(connection, sizes)
            after = max(paths)

    def _sizes(self, paths: Mapping[int, str]) -> dict[int, int]:
        return {id_: size for id_, path in paths.items() if (size := self._media.size(path))}
