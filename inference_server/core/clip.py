# SPDX-License-Identifier: AGPL-3.0-or-later
"""Clips: videos that were admitted, and the kinds of file that they come in."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class VideoKind(StrEnum):
    """The kinds of video file that are taken; the value is the file's extension."""

    MP4 = "mp4"
    MOV = "mov"
    MKV = "mkv"
    WEBM = "webm"
    AVI = "avi"

    @property
    def content_type(self) -> str:
        """The media type under which browsers know it."""
        return _CONTENT_TYPES[self]


_CONTENT_TYPES = {
    VideoKind.MP4: "video/mp4",
    VideoKind.MOV: "video/quicktime",
    VideoKind.MKV: "video/x-matroska",
    VideoKind.WEBM: "video/webm",
    VideoKind.AVI: "video/x-msvideo",
}
VIDEO_HEAD_BYTES = 4096
"""How much of a file's beginning tells its kind."""
_BOXES = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
"""With what a QuickTime file of before 2001 begins, beside `ftyp`."""
_NO_VIDEO_BRANDS = frozenset({b"heic", b"heix", b"heim", b"mif1", b"avif", b"jp2 ", b"jpx ", b"crx ", b"M4A ", b"M4B "})


def video_kind(head: bytes) -> VideoKind | None:
    """Return which kind of video a file with this beginning is, or None for none of them."""
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return VideoKind.AVI
    if head.startswith(b"\x1aE\xdf\xa3"):
        return VideoKind.WEBM if b"\x42\x82\x84webm" in head else VideoKind.MKV
    if head[4:8] == b"ftyp" and head[8:12] not in _NO_VIDEO_BRANDS:
        return VideoKind.MOV if head[8:12] == b"qt  " else VideoKind.MP4
    return VideoKind.MOV if head[4:8] in _BOXES else None


@dataclass(frozen=True, slots=True)
class Clip:
    """One admitted video, identified by its content hash within its camera. Sizes are in pixels and bytes."""

    id: int
    camera_id: str
    content_hash: str
    media_path: str
    captured_at: datetime
    """When its first picture was taken."""
    arrived_at: datetime
    duration_seconds: float
    width: int
    height: int
    size_bytes: int
    pruned_at: datetime | None
    """When its file went; None while it can be played."""


@dataclass(frozen=True, slots=True)
class EventClip:
    """A clip that can be played and shows an event, and where in it the event's first picture stands, in seconds."""

    clip_id: int
    start_seconds: float
