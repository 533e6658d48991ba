# SPDX-License-Identifier: AGPL-3.0-or-later
"""Frames, and the files that arrived but did not become one."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class FrameSource(StrEnum):
    """How a frame came in."""

    FOLDER = "folder"
    UPLOAD = "upload"
    CLIP = "clip"
    IMPORT = "import"
    """An old picture of before the server's time: it becomes history and is no happening."""


class TimeSource(StrEnum):
    """What tells when a picture was taken."""

    EXIF = "exif"
    CONTAINER = "container"
    """The video file that it was taken from."""
    FILE_NAME = "file_name"
    MODIFIED = "modified"
    """The file's modification time."""
    ARRIVAL = "arrival"
    CLIENT = "client"
    """Whoever uploaded it."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One admitted picture, identified by its content hash within its camera. Sizes are in pixels."""

    id: int
    camera_id: str
    content_hash: str
    media_path: str
    captured_at: datetime
    arrived_at: datetime
    width: int
    height: int
    source: FrameSource = FrameSource.FOLDER
    time_source: TimeSource = TimeSource.ARRIVAL
    view: bytes | None = field(default=None, compare=False, repr=False)
    """What the whole picture looks like, as `detection/appearance.py` describes it; None until it was judged."""


class RefusalReason(StrEnum):
    """Why a file that arrived did not become a frame."""

    EMPTY = "empty"
    TOO_SMALL = "too_small"
    TOO_LARGE = "too_large"
    TOO_MANY_PIXELS = "too_many_pixels"
    NOT_A_PICTURE = "not_a_picture"
    CORRUPT = "corrupt"
    UNREADABLE = "unreadable"
    OUTSIDE_ROOT = "outside_root"
    NO_CAMERA_FOLDER = "no_camera_folder"
    NO_VIDEO = "no_video"
    """A clip of sound alone."""
    TOO_COSTLY = "too_costly"
    """A clip that cannot be decoded within the memory and the time allowed."""
    CLIPS_OFF = "clips_off"
    """A clip, where clips are turned off or cannot be decoded; admitted once they can."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file that was refused. The path is relative to the watch root, or the whole one in a further root."""

    path: str
    camera_id: str | None
    reason: RefusalReason
    detail: str
    refused_at: datetime
