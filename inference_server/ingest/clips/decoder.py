# SPDX-License-Identifier: AGPL-3.0-or-later
"""Decoding clips from the outside: a process per clip, with limits on memory and time, that is killed when over."""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from inference_server.core.camera import Mask
from inference_server.core.clip import VideoKind
from inference_server.core.frame import RefusalReason
from inference_server.ingest.clips.job import ERRORS, REPORT, ClipJob, ClipReport
from inference_server.ingest.picture import RefusedError
from inference_server.settings import ClipSettings, IngestSettings

_LOGGER = logging.getLogger(__name__)

WORKER = "inference_server.ingest.clips.worker"
GRACE_SECONDS = 15.0
"""What the process gets beyond its time, to start and to write what it found."""
ATTEMPTS = 2
"""A process may be killed by accident once."""
ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(64 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
    "OPENBLAS_NUM_THREADS": "1",
    "PATH": os.defpath,
}
"""All that the process knows of ours: no secret. Few arenas keep its address space small, few maps make it quick."""

_REPORT = TypeAdapter(ClipReport)


def clips_problem(settings: ClipSettings) -> str | None:
    """Return why this server takes no clips and what to do about it; None where it does."""
    if not settings.enabled:
        return "Clips are turned off: set HSI_CLIPS__ENABLED to true to have them admitted."
    if find_spec("av") is None:
        return "This server cannot decode videos: install the extra clips (uv tool install '.[clips]') and restart it."
    return None


class ClipDecoder:
    """Has clips decoded, one process each."""

    def __init__(
        self, settings: ClipSettings, pictures: IngestSettings, *, grace_seconds: float = GRACE_SECONDS
    ) -> None:
        """Take the bounds of clips and of their pictures."""
        self._settings = settings
        self._pictures = pictures
        self._grace_seconds = grace_seconds

    async def sample(self, folder: Path, kind: VideoKind, masks: Sequence[Mask]) -> ClipReport:
        """Have the pictures of the clip in a folder written beside it. Raises RefusedError, OSError."""
        return await self._decode(folder, self._job(kind, masks, copy=False))

    async def copy(self, folder: Path, kind: VideoKind, masks: Sequence[Mask]) -> None:
        """Have a copy of the clip with its masks burnt in written beside it. Raises RefusedError, OSError."""
        await self._decode(folder, self._job(kind, masks, copy=True))

    def _job(self, kind: VideoKind, masks: Sequence[Mask], *, copy: bool) -> ClipJob:
        settings = self._settings
        return ClipJob(
            kind=kind.value,
            interval=settings.interval_seconds,
            max_frames=settings.max_frames,
            max_seconds=settings.max_seconds,
            max_pixels=self._pictures.max_pixels,
            max_bytes=settings.max_bytes,
            decode_seconds=settings.decode_seconds,
            memory=settings.memory_bytes,
            masks=tuple(masks),
            copy=copy,
        )

    async def _decode(self, folder: Path, job: ClipJob) -> ClipReport:
        await asyncio.to_thread(job.write, folder)
        for _attempt in range(ATTEMPTS):
            status = await self._run(folder)
            report = await asyncio.to_thread(_read_report, folder) if status == 0 else None
            if report is None:
                last_line = await asyncio.to_thread(_last_line, folder)
                _LOGGER.warning("The process that decodes a clip ended with %s: %s", status, last_line)
            elif report.refused is not None:
                raise RefusedError(RefusalReason(report.refused), report.detail)
            else:
                return report
        raise RefusedError(
            RefusalReason.CORRUPT, f"The process that decoded it ended {ATTEMPTS} times without a result; see the log."
        )

    async def _run(self, folder: Path) -> int:
        """Run the process once and return its exit status; a negative one is the signal that ended it."""
        with (folder / ERRORS).open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", WORKER, str(folder)),
                env=ENVIRONMENT,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=errors,
            )
        seconds = self._settings.decode_seconds + self._grace_seconds
        try:
            async with asyncio.timeout(seconds):
                return await process.wait()
        except TimeoutError as error:
            raise RefusedError(RefusalReason.TOO_COSTLY, f"Decoding it did not end within {seconds:g} s.") from error
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()


def _read_report(folder: Path) -> ClipReport | None:
    try:
        return _REPORT.validate_json((folder / REPORT).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _last_line(folder: Path) -> str:
    lines = (folder / ERRORS).read_bytes()[-2000:].decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it gave no reason"
