# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reading a clip with FFmpeg, which must be trusted with nothing: only in a process of its own, with limits.

The demuxer is named and never guessed, so that playlists and lists of files are none of its business. What a container
refers to is never opened, whatever its address, because FFmpeg opens no file itself. Only the codecs of cameras and
phones are decoded.
"""

import contextlib
import ctypes
import errno
import io
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, SupportsFloat, cast

import av
import numpy as np
from av.codec.context import ThreadType
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from inference_server.core.clip import VideoKind
from inference_server.core.frame import RefusalReason
from inference_server.ingest.clips.job import ClipJob, ClipRefusedError

PR_SET_PDEATHSIG = 1
DEMUXERS = {
    VideoKind.MP4: "mov",
    VideoKind.MOV: "mov",
    VideoKind.MKV: "matroska",
    VideoKind.WEBM: "matroska",
    VideoKind.AVI: "avi",
}
CODECS = (
    "h264",
    "hevc",
    "av1",
    "libdav1d",
    "vp8",
    "vp9",
    "libvpx",
    "libvpx-vp9",
    "mpeg4",
    "mjpeg",
    "mpeg1video",
    "mpeg2video",
    "h263",
    "msmpeg4v2",
    "msmpeg4v3",
)
MAX_STREAMS = 32
THREADS = 2
NICENESS = 10
"""Live pictures come first."""
COUNTING_SHARE = 0.3
"""Of the time allowed, what finding out how long the clip is may take."""
MAX_ERRORS = 1000
"""Broken packets that are passed over before the rest of the clip is given up."""

type Rgb = NDArray[np.uint8]
"""A picture [height, width, 3]."""


def restrict(job: ClipJob) -> None:
    """Bound this process before it reads anything that came from outside."""
    _end_with_the_server()
    os.nice(NICENESS)
    cpu = int(job.decode_seconds * THREADS) + 10
    limits = {
        resource.RLIMIT_AS: job.memory,
        resource.RLIMIT_CPU: cpu,
        resource.RLIMIT_FSIZE: job.max_bytes,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 64,
    }
    for limit, value in limits.items():
        with contextlib.suppress(ValueError, OSError):  # not every system knows every limit
            resource.setrlimit(limit, (value, value))


def _end_with_the_server() -> None:
    """Have this process killed when its parent is, where the system can do that (prctl(2) of Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Deadline:
    """The wall-clock time that may be spent on a clip."""

    def __init__(self, seconds: float) -> None:
        """Start now."""
        self._started = time.monotonic()
        self._seconds = seconds

    @property
    def spent(self) -> float:
        """The share that is used up; 1 and more means that time is over."""
        return (time.monotonic() - self._started) / self._seconds


@dataclass(frozen=True, slots=True)
class TimedFrame:
    """A decoded picture and its place in the clip in seconds."""

    frame: VideoFrame
    offset: float


class Source:
    """An open clip and the video stream in it that counts. It is read once: by `duration` or by `frames`."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        """Take what `opened` found."""
        self._container = container
        self._stream = stream
        rate = stream.guessed_rate or stream.average_rate
        self._step = 1 / float(rate) if rate and 0.01 <= float(rate) <= 1000 else 1 / 25
        """Seconds from one picture to the next, where nothing better is known."""

    @property
    def created(self) -> str | None:
        """When the container says that it was made."""
        return self._container.metadata.get("creation_time") or self._stream.metadata.get("creation_time")

    def skim(self) -> None:
        """Decode key frames alone from now on."""
        self._stream.codec_context.skip_frame = "NONKEY"

    def duration(self, deadline: Deadline) -> float:
        """Return the seconds from the first to the last packet of the video; headers promise anything."""
        start, end = None, 0.0
        for count, packet in enumerate(self._packets()):
            at = _seconds(packet.pts if packet.pts is not None else packet.dts, packet.time_base)
            at = count * self._step if at is None else at
            start = at if start is None else min(start, at)
            end = max(end, at + self._step)
            if deadline.spent > COUNTING_SHARE:
                break
        return max(0.0, end - (start or 0.0))

    def frames(self) -> Iterator[TimedFrame]:
        """Yield what can be decoded, in order; broken packets and pictures are left out."""
        start = _seconds(cast("int | None", self._container.start_time), 1 / av.time_base)
        offset = -self._step
        for frame in self._decoded():
            at = _seconds(frame.pts, frame.time_base)
            if start is None:
                start = at
            offset = max(0.0, offset + self._step if at is None or start is None else max(offset, at - start))
            yield TimedFrame(frame, offset)

    def _decoded(self) -> Iterator[VideoFrame]:
        packets = chain(self._packets(), (None,))
        errors = 0
        for packet in packets:
            try:
                decoded = self._stream.codec_context.decode(packet)
            except FFmpegError as error:
                raise_if_exhausted(error)
                errors += 1
                if errors > MAX_ERRORS:
                    return
            else:
                yield from (frame for frame in decoded if not frame.is_corrupt)

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        """Yield the video's packets that hold something, as far as the file can be read."""
        try:
            yield from (packet for packet in self._container.demux(self._stream) if packet.size)
        except FFmpegError as error:
            raise_if_exhausted(error)


def _seconds(time_stamp: int | None, time_base: SupportsFloat) -> float | None:
    return None if time_stamp is None else time_stamp * float(time_base)


@contextmanager
def opened(path: Path, job: ClipJob) -> Iterator[Source]:
    """Give the clip. Raises ClipRefusedError, MemoryError."""
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": ",".join(sorted(set(DEMUXERS.values()))),
        "codec_whitelist": ",".join(CODECS),
        "max_streams": str(MAX_STREAMS),
    }
    with path.open("rb") as file:
        try:
            container = av.open(
                file,
                "r",
                format=DEMUXERS[VideoKind(job.kind)],
                options=options,
                io_open=_refuse_to_open,
            )
        except FFmpegError as error:
            raise_if_exhausted(error)
            raise ClipRefusedError(RefusalReason.CORRUPT, f"The video cannot be opened: {error.strerror}.") from error
        with container:
            yield Source(container, _video(container, job))


def _refuse_to_open(url: str, _flags: int, _options: dict[str, str]) -> io.RawIOBase:
    raise PermissionError(f"a clip may not refer to {url!r}")


def _video(container: InputContainer, job: ClipJob) -> VideoStream:
    """Return the first stream of moving pictures, ready to be decoded; the others are not even read."""
    moving = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not moving:
        raise ClipRefusedError(RefusalReason.NO_VIDEO, "The file holds no moving pictures.")
    stream = moving[0]
    for other in container.streams:
        if other is not stream:
            other.discard = Discard.all
    context = cast("VideoCodecContext | None", stream.codec_context)
    if context is None or context.codec.name not in CODECS:
        name = "unknown" if context is None else context.codec.name
        raise ClipRefusedError(RefusalReason.CORRUPT, f"The video's codec is not taken: {name}.")
    if context.width * context.height > job.max_pixels:
        raise ClipRefusedError(
            RefusalReason.TOO_MANY_PIXELS,
            f"{context.width}x{context.height} pixels; the limit is {job.max_pixels} pixels.",
        )
    context.options = {"max_pixels": str(job.max_pixels)}  # a later header may promise more
    context.thread_type = ThreadType.AUTO
    context.thread_count = THREADS
    return stream


def raise_if_exhausted(error: FFmpegError) -> None:
    """Raise MemoryError in place of FFmpeg's own."""
    if error.errno == errno.ENOMEM:
        raise MemoryError(str(error)) from error


def quarters(frame: VideoFrame) -> int:
    """Return by how many quarters to the left a picture is to be turned to be displayed, as its metadata say."""
    return round(frame.rotation / 90) % 4


def upright(frame: VideoFrame) -> Rgb:
    """Return a picture as it is to be displayed, RGB."""
    return np.rot90(samples(frame, format="rgb24"), quarters(frame)).copy()


def samples(frame: VideoFrame, **form: Any) -> NDArray[np.uint8]:
    """Return a picture's bytes in another form: arguments of PyAV's `reformat`."""
    return np.asarray(frame.to_ndarray(**form), np.uint8)
