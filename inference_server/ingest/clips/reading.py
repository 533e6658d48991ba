# SPDX-License-Identifier: AGPL-3.0-or-later
"""From a video file to a clip with its frames, all stored as media and not yet recorded."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from inference_server.core.camera import Mask
from inference_server.core.clip import VideoKind
from inference_server.core.clock import Clock
from inference_server.core.frame import FrameSource, RefusalReason
from inference_server.ingest import capture_time
from inference_server.ingest.admission import (
    OURS,
    AdmittedClip,
    Arriving,
    ClipFrame,
    FoundClip,
    RepeatedClip,
    unreadable,
)
from inference_server.ingest.capture_time import Captured
from inference_server.ingest.clips.decoder import ClipDecoder
from inference_server.ingest.clips.job import MASKED, SOURCE, ClipReport
from inference_server.ingest.clips.timing import ended, ends
from inference_server.ingest.known_cameras import KnownCameras
from inference_server.ingest.picture import RefusedError, examine
from inference_server.settings import ClipSettings, IngestSettings
from inference_server.storage import clips
from inference_server.storage.arrivals import FileVersion
from inference_server.storage.clips import NewClip
from inference_server.storage.database import Database
from inference_server.storage.media import MediaFolder

_LOGGER = logging.getLogger(__name__)

SETTLED_SECONDS = 3.0
"""A video counts once it has not changed for this long: cameras close and open again what they still write."""
CHUNK_BYTES = 1 << 20


class UnfinishedError(Exception):
    """The file is gone, or it changed since it was found."""


@dataclass(frozen=True, slots=True)
class _Copied:
    """A clip's copy in a scratch folder."""

    folder: Path
    content_hash: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Kept:
    """Where a clip is stored; not at all if the path is empty."""

    media_path: str
    size_bytes: int


class ClipReader:
    """Reads one clip at a time, from a copy that nobody writes to any more."""

    def __init__(
        self,
        settings: ClipSettings,
        pictures: IngestSettings,
        *,
        decoder: ClipDecoder,
        cameras: KnownCameras,
        database: Database,
        media: MediaFolder,
        clock: Clock,
        settled_seconds: float = SETTLED_SECONDS,
    ) -> None:
        """Take the parts, and the bounds of clips and of their pictures."""
        self._settings = settings
        self._pictures = pictures.model_copy(update={"min_bytes": 1})
        self._decoder = decoder
        self._cameras = cameras
        self._database = database
        self._media = media
        self._clock = clock
        self._settled_seconds = settled_seconds

    async def read(self, found: FoundClip) -> AdmittedClip | RepeatedClip:
        """Return what becomes of a clip. Raises UnfinishedError, RefusedError, or OSError when it cannot be stored."""
        await self._until_settled(found)
        arriving = found.arriving
        with self._media.scratch() as folder:
            copied = await asyncio.to_thread(self._copy, found, folder)
            async with self._database.reading() as connection:
                known = await clips.find_id(connection, arriving.camera_id, copied.content_hash)
            if known is not None:
                return RepeatedClip(found.file, arriving.folder, arriving.camera_id, known, arriving.arrived_at)
            return await self._decoded(found, copied)

    async def _until_settled(self, found: FoundClip) -> None:
        age = time.time() - found.file.modified_ns / 1e9
        if 0 <= age < self._settled_seconds:
            await asyncio.sleep(self._settled_seconds - age)
        _require_unchanged(found)

    def _copy(self, found: FoundClip, folder: Path) -> _Copied:
        if found.file.size > self._settings.max_bytes:
            detail = f"{found.file.size} bytes; the limit of clips is {self._settings.max_bytes} bytes."
            raise RefusedError(RefusalReason.TOO_LARGE, detail)
        digest = hashlib.sha256()
        try:
            source = found.path.open("rb")
        except OSError as error:
            raise _not_read(error) from error
        with source, (folder / SOURCE).open("wb") as target:
            while chunk := _read(source.read, found.file.size - target.tell()):
                digest.update(chunk)
                target.write(chunk)
        _require_unchanged(found)
        return _Copied(folder, digest.hexdigest(), found.file.size)

    async def _decoded(self, found: FoundClip, copied: _Copied) -> AdmittedClip:
        arriving = found.arriving
        masks = self._cameras.settings(arriving.camera_id).masks
        report = await self._decoder.sample(copied.folder, found.kind, masks)
        frames = await asyncio.to_thread(self._store_frames, arriving.camera_id, copied.folder, report)
        kept = await self._keep(found, copied, masks)
        began = self._began(arriving, report)
        _LOGGER.info(
            "Admitted the clip %r: %.0f s, %d pictures%s",
            found.file.path,
            report.duration,
            len(frames),
            f"; {report.remark}" if report.remark else "",
        )
        clip = NewClip(
            camera_id=arriving.camera_id,
            content_hash=copied.content_hash,
            media_path=kept.media_path,
            captured_at=began.at,
            arrived_at=arriving.arrived_at,
            duration_seconds=report.duration,
            width=report.width,
            height=report.height,
            size_bytes=kept.size_bytes,
            pruned_at=None if kept.media_path else self._clock.now(),
        )
        return AdmittedClip(
            file=found.file,
            folder=arriving.folder,
            clip=clip,
            time_source=began.source,
            source=FrameSource.IMPORT if arriving.source is FrameSource.IMPORT else FrameSource.CLIP,
            frames=frames,
        )

    def _began(self, arriving: Arriving, report: ClipReport) -> Captured:
        """Return when a clip began."""
        camera, arrived_at = arriving.camera_id, arriving.arrived_at
        duration = timedelta(seconds=report.duration)
        named = capture_time.claims(b"", arriving.name, self._cameras.zone(camera), arrived_at)
        claimed = ends(report.created, named, duration, arrived_at)
        if arriving.source is FrameSource.IMPORT:
            end = capture_time.imported(claimed, arriving.modified_at, arrived_at)
        else:
            end = ended(claimed, arriving.modified_at, arrived_at, self._cameras.clock(camera))
        return replace(end, at=end.at - duration)

    def _store_frames(self, camera_id: str, folder: Path, report: ClipReport) -> tuple[ClipFrame, ...]:
        """Store the sampled pictures; of equal ones the first counts. Raises RefusedError, OSError."""
        stored: dict[str, ClipFrame] = {}
        for sampled in report.frames:
            picture = examine((folder / Path(sampled.name).name).read_bytes(), self._pictures)
            if picture.content_hash in stored:
                continue
            path = self._media.write(camera_id, picture.content_hash, picture.extension, picture.content)
            size = picture.width, picture.height, len(picture.content)
            stored[picture.content_hash] = ClipFrame(sampled.offset, picture.content_hash, path, *size)
        return tuple(stored.values())

    async def _keep(self, found: FoundClip, copied: _Copied, masks: Sequence[Mask]) -> _Kept:
        """Store the clip: of a camera with masks a copy that has them burnt in, or nothing if that cannot be made."""
        file, kind = copied.folder / SOURCE, found.kind
        if masks:
            file, kind = copied.folder / MASKED, VideoKind.MP4
            try:
                await self._decoder.copy(copied.folder, found.kind, masks)
            except RefusedError as refused:
                _LOGGER.warning("The clip %r is judged but not kept: %s", found.file.path, refused.detail)
                return _Kept("", 0)
        size = file.stat().st_size
        stored = (file, found.arriving.camera_id, copied.content_hash, kind.value)
        return _Kept(await asyncio.to_thread(self._media.store_file, *stored), size)


def _read(read: Callable[[int], bytes], left: int) -> bytes:
    try:
        return read(min(CHUNK_BYTES, left)) if left else b""
    except OSError as error:
        raise _not_read(error) from error


def _not_read(error: OSError) -> Exception:
    """Return what it means that a file cannot be read; its disk's trouble is not that of the media folder."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return UnfinishedError()
    return error if error.errno in OURS else unreadable(error)


def _require_unchanged(found: FoundClip) -> None:
    try:
        now = FileVersion.of(found.file.path, found.path.lstat())
    except OSError as error:
        raise _not_read(error) from error
    if now != found.file:
        raise UnfinishedError
