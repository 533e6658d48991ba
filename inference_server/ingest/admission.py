# SPDX-License-Identifier: AGPL-3.0-or-later
"""Admission: reads a file, examines it, stores it as media, and hands the outcome on to be recorded."""

import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from inference_server.core.camera import camera_id
from inference_server.core.clock import Clock
from inference_server.core.frame import Refusal, RefusalReason
from inference_server.ingest.picture import Picture, RefusedError, examine
from inference_server.settings import IngestSettings
from inference_server.storage.arrivals import FileVersion
from inference_server.storage.media import MediaFolder

OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""What no file is to blame for: this process has too many files open, or the machine too little memory."""


@dataclass(frozen=True, slots=True)
class AdmittedFile:
    """A file whose picture is stored as media and is to become a frame of the camera of its folder."""

    file: FileVersion
    folder: str
    camera_id: str
    picture: Picture
    media_path: str
    arrived_at: datetime


@dataclass(frozen=True, slots=True)
class RefusedFile:
    """A file that is not to become a frame."""

    file: FileVersion
    refusal: Refusal


type Outcome = AdmittedFile | RefusedFile


class Intake(Protocol):
    """Takes what admission found. Implemented where the pipeline begins."""

    async def take(self, outcomes: Sequence[Outcome]) -> None:
        """Record the outcomes and start the work on new frames, all together or, on an exception, not at all."""
        ...


class Admission:
    """The gate: decides about one file at a time, on a worker thread."""

    def __init__(self, root: Path, media: MediaFolder, limits: IngestSettings, clock: Clock) -> None:
        """Take the watch root, which holds one folder per camera."""
        self._root = root.resolve()
        self._media = media
        self._limits = limits
        self._clock = clock

    def admit(self, path: Path) -> Outcome | None:
        """Return what becomes of a file, or None when it is gone again.

        Raises OSError when the picture cannot be stored (disk full): the file is then to be tried again.
        """
        file = FileVersion(relative_name(self._root, path), 0, 0)
        try:
            status = path.lstat()
            file = FileVersion.of(file.path, status)
            arrived_at = min(self._clock.now(), datetime.fromtimestamp(status.st_ctime, UTC))
            folder = self._camera_folder(path)
            picture = examine(self._read(path), self._limits)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except RefusedError as refused:
            return self._refuse(file, path, refused)
        except OSError as error:
            if error.errno in OURS:
                raise
            return self._refuse(file, path, _unreadable(error))
        camera = camera_id(folder)
        media_path = self._media.write(camera, picture.content_hash, picture.extension, picture.content)
        return AdmittedFile(file, folder, camera, picture, media_path, arrived_at)

    def refuse(self, path: Path, error: Exception) -> RefusedFile:
        """Return the refusal of a file with which something unexpected went wrong; the next scan tries it again."""
        file = FileVersion(relative_name(self._root, path), 0, 0)
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
        if not stat.S_ISREG(path.stat().st_mode):
            # opening a named pipe would wait for its other end
            raise RefusedError(RefusalReason.UNREADABLE, "It is no regular file.")
        with path.open("rb") as file:
            return file.read(self._limits.max_bytes + 1)

    def _refuse(self, file: FileVersion, path: Path, refused: RefusedError) -> RefusedFile:
        parts = path.relative_to(self._root).parts
        camera = camera_id(parts[0]) if len(parts) > 1 else None
        return RefusedFile(file, Refusal(file.path, camera, refused.reason, refused.detail, self._clock.now()))


def _unreadable(error: OSError) -> RefusedError:
    detail = f"The file cannot be read ({error.strerror}); check the owner and permissions of it and its folders."
    return RefusedError(RefusalReason.UNREADABLE, detail)


def relative_name(root: Path, path: Path) -> str:
    """Return a path below the root as text that any database and client can hold, whatever bytes its name has."""
    return os.fsencode(path.relative_to(root)).decode("utf-8", "backslashreplace")
