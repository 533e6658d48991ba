# SPDX-License-Identifier: AGPL-3.0-or-later
"""Disk watch: says when a disk fills up, makes room before it is full, and lets no picture in when it nearly is."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from inference_server.core.cleanup import Amount, CleanupBusyError, DiskUse
from inference_server.core.clock import Clock
from inference_server.ingest.backpressure import Backpressure
from inference_server.observability.health import Detail, HealthBoard, HealthState
from inference_server.pipeline.housekeeping import Housekeeping
from inference_server.settings import DiskSettings
from inference_server.storage import disk
from inference_server.storage.database import STORAGE_FAILURES
from inference_server.storage.disk import Place

_LOGGER = logging.getLogger(__name__)

INTERVAL_SECONDS = 5.0
ANSWER_SECONDS = 10.0
"""A disk that does not answer for so long, as one of a machine that is away, is said to be in trouble."""
PAUSE = timedelta(minutes=1)
"""How long a disk is left alone that is still too full after something was deleted: some count with a delay."""
OURS = frozenset({"database", "media"})
"""What pictures are stored on. A full disk of the cameras alone keeps nobody from admitting what lies there."""


class DiskWatch:
    """Looks at the disks of some places."""

    def __init__(
        self,
        places: Sequence[Place],
        *,
        housekeeping: Housekeeping,
        backpressure: Backpressure,
        health: HealthBoard,
        clock: Clock,
        settings: DiskSettings,
    ) -> None:
        """Take the places and the parts."""
        self._places = places
        self._housekeeping = housekeeping
        self._backpressure = backpressure
        self._health = health
        self._clock = clock
        self._settings = settings
        self._looking: asyncio.Task[tuple[list[DiskUse], list[str]]] | None = None
        self._refusing = False
        self._pruned = Amount()
        self._paused_until: datetime | None = None

    async def run(self) -> None:
        """Look every few seconds until cancelled."""
        while True:
            for use in await self.look():
                if use.fullness >= self._settings.prune_percent:
                    await self._relieve(use)
            await asyncio.sleep(INTERVAL_SECONDS)

    async def look(self) -> Sequence[DiskUse]:
        """Look at every disk, report it, and let pictures in or not. Return how full they are."""
        uses, problems = await self._measure()
        self._decide([use for use in uses if OURS & set(use.holds)])
        self._report(uses, problems)
        return uses

    async def _measure(self) -> tuple[list[DiskUse], list[str]]:
        """Ask the disks; what does not answer blocks one thread and nothing else."""
        looking = self._looking = self._looking or asyncio.create_task(asyncio.to_thread(disk.look, self._places))
        await asyncio.wait({looking}, timeout=ANSWER_SECONDS)
        if not looking.done():
            return [], [f"A disk of {', '.join(str(path) for _, path in self._places)} does not answer."]
        self._looking = None
        return looking.result()

    def _decide(self, ours: Sequence[DiskUse]) -> None:
        """Refuse from one threshold on, and only below another one no more. Without a disk to see, nothing changes."""
        fullest = max(ours, key=_fullness, default=None)
        if fullest is None:
            return
        if fullest.fullness >= self._settings.refuse_percent and not self._refusing:
            _LOGGER.error("%s No picture is let in.", _described(fullest))
            self._refusing = True
        elif fullest.fullness < self._settings.resume_percent and self._refusing:
            _LOGGER.info("%s Pictures are let in again.", _described(fullest))
            self._refusing = False
        if self._refusing:
            self._backpressure.close("disk", f"{_described(fullest)} {self._remedy(fullest)}")
        else:
            self._backpressure.open("disk")

    async def _relieve(self, use: DiskUse) -> None:
        now = self._clock.now()
        if self._paused_until and now < self._paused_until <= now + PAUSE:
            return
        too_much = use.total_bytes * (use.used_percent - self._settings.prune_to_percent) / 100

        async def pressed(deleted: Amount) -> bool:
            return await self._is_pressed(use.path) and not 0 < too_much <= deleted.bytes

        deleted = Amount()
        try:
            min_age = timedelta(hours=self._settings.min_age_hours)
            deleted = await self._housekeeping.relieve(use, pressed, min_age)
        except CleanupBusyError:
            return
        except STORAGE_FAILURES as error:
            _LOGGER.warning("Nothing can be deleted from the disk of %s: %s", use.path, error)
        if deleted.count:
            self._pruned += deleted
            _LOGGER.warning("%s Deleted what was oldest: %d bytes.", _described(use), deleted.bytes)
        self._paused_until = now + PAUSE if await self._is_pressed(use.path) else None

    async def _is_pressed(self, path: str) -> bool:
        """Return whether a disk is still to be relieved; what it came to is reported at once."""
        fullness = next((use.fullness for use in await self.look() if use.path == path), 0.0)
        return fullness > self._settings.prune_to_percent

    def _report(self, uses: Sequence[DiskUse], problems: Sequence[str]) -> None:
        by_fullness = sorted(uses, key=_fullness, reverse=True)
        full = [use for use in by_fullness if use.fullness >= self._settings.warn_percent]
        errors = [*map(_described, full), *problems]
        remedies = [self._remedy(full[0])] if full else []
        remedies += ["Mount the disk, and check the folder's permissions."] if problems else []
        self._health.report(
            "disk",
            HealthState.DOWN if self._refusing else HealthState.DEGRADED if errors else HealthState.OK,
            last_error=" ".join(errors) or None,
            still_works=self._still_works() if errors or self._refusing else None,
            remedy=" ".join(remedies) or None,
            refusing=self._refusing,
            deleted_early=self._pruned.count,
            deleted_early_bytes=self._pruned.bytes,
            **(_details(by_fullness[0]) if by_fullness else {}),
        )

    def _remedy(self, use: DiskUse) -> str:
        what = "files" if use.fullness > use.used_percent else "space"
        remedy = f"Free {what} on the disk of {use.path}, or keep less (HSI_RETENTION__...)."
        if self._refusing:
            remedy += f" Pictures are let in again below {self._settings.resume_percent:g} %."
        return remedy

    def _still_works(self) -> str:
        if self._refusing:
            return "What was admitted is judged; new pictures wait in the cameras' folders, and uploads are refused."
        return (
            f"Everything. From {self._settings.prune_percent:g} % on the oldest pictures are deleted early, "
            f"from {self._settings.refuse_percent:g} % on no new ones are let in."
        )


def _fullness(use: DiskUse) -> float:
    return use.fullness


def _details(use: DiskUse) -> dict[str, Detail]:
    return {
        "path": use.path,
        "used_percent": use.used_percent,
        "inodes_used_percent": use.inodes_used_percent,
        "free_bytes": use.free_bytes,
    }


def _described(use: DiskUse) -> str:
    if use.inodes_used_percent is not None and use.inodes_used_percent > use.used_percent:
        return f"The disk of {use.path} has {use.inodes_used_percent:.0f} % of its inodes in use."
    return f"The disk of {use.path} is {use.used_percent:.0f} % full."
