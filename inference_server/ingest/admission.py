# SPDX-License-Identifier: AGPL-3.0-or-later
"""Admission: reads a file, examines it, stores it as media, and hands the outcome on to be recorded.

A clip it only recognizes: those are admitted one at a time in `clips/admission.py`, so that no picture waits for one.
"""

import errno
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from inference_server.core.camera import camera_id
from inference_server.core.clip import VIDEO_HEAD_BYTES, VideoKind, video_kind
from inference_server.core.clock import Clock
from inference_server.core.frame import FrameSource, Refusal, RefusalReason, TimeSource
from inference_server.core.message import Priority
from inference_server.ingest import capture_time
from inference_server.ingest.camera_clock import CameraClock
from inference_server.ingest.capture_time import Captured
from inference_server.ingest.known_cameras import KnownCameras
from inference_server.ingest.masks import burn, media_name
from inference_server.ingest.picture import Picture, RefusedError, examine
from inference_server.settings import IngestSettings
from inference_server.storage.arrivals import FileVersion, storable
from inference_server.storage.clips import NewClip
from inference_server.storage.media import MediaFolder

OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""What no file is to blame for: this process has too many files open, or the machine too little memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arriving:
    """A picture's bytes on their way in, and what is known of them."""

    content: bytes
    camera_id: str
    folder: str
    """What the camera is called where the picture comes from."""
    name: str
    """The path below the camera's folder, or what the client calls the file."""
    arrived_at: datetime
    source: FrameSource
    file: FileVersion | None = None
    modified_at: datetime | None = None
    captured_at: datetime | None = None
    """When it was taken, if the client says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmittedFile:
    """A picture that is stored as media and is to become a frame of a camera."""

    file: FileVersion | None
    """None for an upload, which never was a file of a camera's folder."""
    folder: str
    camera_id: str
    picture: Picture
    media_path: str
    arrived_at: datetime
    captured_at: datetime
    time_source: TimeSource = TimeSource.ARRIVAL
    source: FrameSource = FrameSource.FOLDER
    clock_offset: timedelta | None = None
    """What was learnt of the camera's clock, if that is to be stored."""

    @property
    def priority(self) -> Priority:
        """Whose work comes first."""
        return Priority.HISTORY if self.source is FrameSource.IMPORT else Priority.LIVE


@dataclass(frozen=True, slots=True)
class RefusedFile:
    """A file that is not to become a frame."""

    file: FileVersion
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class FoundClip:
    """A file that begins as a video: whether it is one shows when it is decoded, which takes long."""

    path: Path
    kind: VideoKind
    file: FileVersion
    arriving: Arriving
    """What is known of it; the content is its beginning."""


@dataclass(frozen=True, slots=True)
class ClipFrame:
    """A picture sampled from a clip and stored as media. Its place in the clip is in seconds."""

    offset: float
    content_hash: str
    media_path: str
    width: int
    height: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class AdmittedClip:
    """A file whose video is to become a clip, and its sampled pictures frames, of the camera of its folder."""

    file: FileVersion
    folder: str
    clip: NewClip
    time_source: TimeSource
    source: FrameSource
    frames: tuple[ClipFrame, ...]

    @property
    def priority(self) -> Priority:
        """Whose work comes first."""
        return Priority.HISTORY if self.source is FrameSource.IMPORT else Priority.LIVE

    @property
    def camera_id(self) -> str:
        """The camera that the clip is of."""
        return self.clip.camera_id


@dataclass(frozen=True, slots=True)
class RepeatedClip:
    """A file whose video the camera has as a clip already."""

    file: FileVersion
    folder: str
    camera_id: str
    clip_id: int
    arrived_at: datetime


type Outcome = AdmittedFile | AdmittedClip | RepeatedClip | FoundClip | RefusedFile


class Intake(Protocol):
    """Takes what admission found. Implemented where the pipeline begins."""

    async def take(self, outcomes: Sequence[Outcome]) -> Mapping[tuple[str, str], int]:
        """Record the outcomes and start the work on new frames, all together or, on an exception, not at all.

        Return the ids of the frames that were new, by camera and content hash.
        """
        ...


class Gate:
    """What every picture passes, on a worker thread, wherever it comes from."""

    def __init__(self, media: MediaFolder, limits: IngestSettings, cameras: KnownCameras) -> None:
        """Take where pictures are stored, what counts as one, and what is known of the cameras."""
        self._media = media
        self._limits = limits
        self._cameras = cameras

    def admit(self, arriving: Arriving) -> AdmittedFile:
        """Examine a picture, bring it upright, burn its camera's masks in and store it.

        Raises RefusedError, and OSError when it cannot be stored (disk full): it is then to be tried again.
        """
        if video_kind(arriving.content[:VIDEO_HEAD_BYTES]):
            raise RefusedError(RefusalReason.NOT_A_PICTURE, "Videos are taken from the camera's folder alone.")
        camera = arriving.camera_id
        arrived = examine(arriving.content, self._limits)
        masks = self._cameras.settings(camera).masks
        picture = burn(arrived, masks)
        captured = self._captured(camera, arriving, arrived.exif)
        name = media_name(arrived, masks)
        return AdmittedFile(
            file=arriving.file,
            folder=arriving.folder,
            camera_id=camera,
            picture=picture,
            media_path=self._media.write(camera, name, picture.extension, picture.content),
            arrived_at=arriving.arrived_at,
            captured_at=captured.at,
            time_source=captured.source,
            source=arriving.source,
            clock_offset=self._cameras.news(camera, captured.clock),
        )

    def _captured(self, camera: str, arriving: Arriving, exif: bytes) -> Captured:
        arrived_at = arriving.arrived_at
        if arriving.captured_at is not None:
            return Captured(min(arriving.captured_at, arrived_at), TimeSource.CLIENT, CameraClock())
        claimed = capture_time.claims(exif, arriving.name, self._cameras.zone(camera), arrived_at)
        if arriving.source is FrameSource.IMPORT:
            return capture_time.imported(claimed, arriving.modified_at, arrived_at)
        return self._cameras.captured(camera, claimed, arriving.modified_at, arrived_at)


class Admission:
    """The gate of a watch root: decides about one file at a time, on a worker thread."""

    def __init__(
        self,
        root: Path,
        media: MediaFolder,
        limits: IngestSettings,
        clock: Clock,
        cameras: KnownCameras,
        *,
        main: bool = True,
    ) -> None:
        """Take the watch root, which holds one folder per camera: files of the main one go by their path below it."""
        self._root = root.resolve()
        self._named_from = self._root if main else None
        self._gate = Gate(media, limits, cameras)
        self._limits = limits
        self._clock = clock

    def admit(self, path: Path, source: FrameSource = FrameSource.FOLDER) -> Outcome | None:
        """Return what becomes of a file, or None when it is gone again.

        Raises OSError when the picture cannot be stored (disk full): the file is then to be tried again.
        """
        file = FileVersion(arrival_name(self._named_from, path), 0, 0)
        try:
            status = path.lstat()
            file = FileVersion.of(file.path, status)
            arrived_at = min(self._clock.now(), datetime.fromtimestamp(status.st_ctime, UTC))
            folder = self._camera_folder(path)
            content = self._read(path)
            arriving = Arriving(
                content=content,
                camera_id=camera_id(folder),
                folder=folder,
                name=arrival_name(self._root / folder, path),
                arrived_at=arrived_at,
                source=source,
                file=file,
                modified_at=_moment(status.st_mtime_ns),
            )
        except (FileNotFoundError, NotADirectoryError):
            return None
        except RefusedError as refused:
            return self._refuse(file, path, refused)
        except OSError as error:
            if error.errno in OURS:
                raise
            return self._refuse(file, path, unreadable(error))
        if kind := video_kind(content[:VIDEO_HEAD_BYTES]):
            return FoundClip(path, kind, file, arriving)
        try:
            return self._gate.admit(arriving)
        except RefusedError as refused:
            return self._refuse(file, path, refused)

    def refuse(self, path: Path, error: Exception) -> RefusedFile:
        """Return the refusal of a file with which something unexpected went wrong; the next scan tries it again."""
        file = FileVersion(arrival_name(self._named_from, path), 0, 0)
        return self._refuse(file, path, RefusedError(RefusalReason.UNREADABLE, f"{type(error).__name__}: {error}"))

    def _camera_folder(self, path: Path) -> str:
        if not path.resolve().is_relative_to(self._root):
            raise RefusedError(RefusalReason.OUTSIDE_ROOT, "The file is a link that leads out of the watch folder.")
        parts = path.relative_to(self._root).parts
        if len(parts) < 2:
            raise RefusedError(
                RefusalReason.NO_CAMERA_FOLDER,
                "The file lies directly in the watch folder; put it into a folder named after its camera.",
            )
        return parts[0]

    def _read(self, path: Path) -> bytes:
        """Return what a picture may be large, or the beginning of a video."""
        if not stat.S_ISREG(path.stat().st_mode):
            # opening a named pipe would wait for its other end
            raise RefusedError(RefusalReason.UNREADABLE, "It is no regular file.")
        with path.open("rb") as file:
            head = file.read(VIDEO_HEAD_BYTES)
            return head if video_kind(head) else head + file.read(self._limits.max_bytes + 1 - len(head))

    def _refuse(self, file: FileVersion, path: Path, refused: RefusedError) -> RefusedFile:
        parts = path.relative_to(self._root).parts
        camera = camera_id(parts[0]) if len(parts) > 1 else None
        return RefusedFile(file, Refusal(file.path, camera, refused.reason, refused.detail, self._clock.now()))


def _moment(nanoseconds: int) -> datetime | None:
    """Return a file's time, or None for one that no calendar holds."""
    try:
        return datetime.fromtimestamp(nanoseconds / 1e9, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def unreadable(error: OSError) -> RefusedError:
    """Return the refusal of a file that the system does not let us read."""
    detail = f"The file cannot be read ({error.strerror}); check the owner and permissions of it and its folders."
    return RefusedError(RefusalReason.UNREADABLE, detail)


def arrival_name(root: Path | None, path: Path) -> str:
    """Return the name by which a file goes in the database: its path below the root, or the whole one."""
    return storable(str(path if root is None else path.relative_to(root)))
