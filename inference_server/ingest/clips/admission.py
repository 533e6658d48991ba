# SPDX-License-Identifier: AGPL-3.0-or-later
"""Admission of clips: one at a time, beside the pictures, which never wait for one."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from inference_server.core.clock import Clock
from inference_server.core.frame import Refusal, RefusalReason
from inference_server.core.signal import Signal
from inference_server.ingest.admission import FoundClip, Intake, Outcome, RefusedFile
from inference_server.ingest.backpressure import Backpressure
from inference_server.ingest.clips.decoder import clips_problem
from inference_server.ingest.clips.reading import ClipReader, UnfinishedError
from inference_server.ingest.picture import RefusedError
from inference_server.observability.health import HealthBoard, HealthState
from inference_server.settings import ClipSettings
from inference_server.storage import arrivals
from inference_server.storage.database import STORAGE_FAILURES, Database, remedy_of
from inference_server.storage.media import MediaFolder

_LOGGER = logging.getLogger(__name__)

RETRY_SECONDS = 5.0


class ClipAdmission:
    """An Intake that hands everything on at once but clips, and these when they are decoded.

    Until then nothing is recorded of a clip, so that the next scan finds it again after a crash.
    """

    def __init__(
        self,
        settings: ClipSettings,
        *,
        reader: ClipReader,
        intake: Intake,
        database: Database,
        media: MediaFolder,
        backpressure: Backpressure,
        health: HealthBoard,
        clock: Clock,
    ) -> None:
        """Take the parts; `intake` is where the outcomes go."""
        self._settings = settings
        self._reader = reader
        self._intake = intake
        self._database = database
        self._media = media
        self._backpressure = backpressure
        self._health = health
        self._clock = clock
        self._waiting: dict[Path, FoundClip] = {}
        self._arrived = Signal()

    async def take(self, outcomes: Sequence[Outcome]) -> Mapping[tuple[str, str], int]:
        """Queue the clips, and have all else recorded together or, on an exception, not at all.

        Return the ids of the frames that were new, by camera and content hash; those of clips come later.
        """
        others = [outcome for outcome in outcomes if not isinstance(outcome, FoundClip)]
        new = await self._intake.take(others) if others else {}
        if found := [outcome for outcome in outcomes if isinstance(outcome, FoundClip)]:
            self._waiting |= {clip.path: clip for clip in found}
            self._arrived.notify()
        return new

    async def run(self) -> None:
        """Admit clips until cancelled."""
        problem = clips_problem(self._settings)
        await asyncio.to_thread(self._media.clear_scratch)
        if problem is None:
            await self._forget_refused()
        self._report_ok()
        while True:
            seen = self._arrived.count
            while self._waiting:
                await self._backpressure.until_open()
                found = self._waiting.pop(next(iter(self._waiting)))
                await (self._admit(found) if problem is None else self._refuse(found, problem))
            await self._arrived.wait(seen)

    async def _forget_refused(self) -> None:
        async with self._database.writing() as connection:
            count = await arrivals.forget_refused(connection, RefusalReason.CLIPS_OFF)
        if count:
            _LOGGER.info("%d clips were refused while none were taken; the next scan finds them again", count)

    async def _admit(self, found: FoundClip) -> None:
        """Decide about a clip and have that recorded; while it cannot be stored it is tried again."""
        while True:
            try:
                if (outcome := await self._decide(found)) is not None:
                    await self._intake.take([outcome])
            except STORAGE_FAILURES as error:
                _LOGGER.warning("Clips wait on disk, because they cannot be stored: %s", error)
                self._report_down(error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._report_ok()
                return

    async def _decide(self, found: FoundClip) -> Outcome | None:
        """Return what becomes of a clip, or None when it is gone or not finished: the watch then brings it again."""
        try:
            return await self._reader.read(found)
        except UnfinishedError:
            return None
        except RefusedError as refused:
            return self._refusal(found, refused)
        except STORAGE_FAILURES:
            raise
        except Exception as error:  # whatever is wrong with one clip must not keep the others
            _LOGGER.exception("%s could not be admitted", found.path)
            return self._refusal(found, RefusedError(RefusalReason.UNREADABLE, f"{type(error).__name__}: {error}"))

    async def _refuse(self, found: FoundClip, problem: str) -> None:
        await self._intake.take([self._refusal(found, RefusedError(RefusalReason.CLIPS_OFF, problem))])
        if self._settings.enabled:
            self._health.report(
                "clips",
                HealthState.DEGRADED,
                last_error=f"{found.file.path!r} was refused.",
                still_works="Pictures are admitted and judged.",
                remedy=problem,
            )

    def _refusal(self, found: FoundClip, refused: RefusedError) -> RefusedFile:
        refusal = Refusal(found.file.path, found.arriving.camera_id, refused.reason, refused.detail, self._clock.now())
        return RefusedFile(found.file, refusal)

    def _report_ok(self) -> None:
        self._health.report("clips", HealthState.OK, waiting=len(self._waiting))

    def _report_down(self, error: Exception) -> None:
        self._health.report(
            "clips",
            HealthState.DOWN,
            last_error=str(error),
            still_works="Clips stay in the camera folders and are admitted later.",
            remedy=remedy_of(error),
            waiting=len(self._waiting),
        )
