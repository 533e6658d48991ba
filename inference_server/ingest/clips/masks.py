# SPDX-License-Identifier: AGPL-3.0-or-later
"""The copy of a clip in which its privacy masks are black."""

from pathlib import Path
from typing import Final

import av
import numpy as np
from av.container import OutputContainer
from av.error import FFmpegError
from av.rational import AVRational
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from inference_server.core.camera import Mask
from inference_server.core.frame import RefusalReason
from inference_server.ingest.clips.job import MASKED, SOURCE, ClipJob, ClipRefusedError, ClipReport
from inference_server.ingest.clips.source import THREADS, Deadline, opened, quarters, samples
from inference_server.ingest.mask_area import covered

ENCODER: Final = "libx264"
ENCODER_OPTIONS = {"preset": "ultrafast", "crf": "23"}
TIME_BASE = AVRational(1, 90_000)
BLACK = (16, 128, 128)
"""In Y, U and V."""


def copy(folder: Path, job: ClipJob) -> ClipReport:
    """Write the clip anew with its masks burnt in, without sound. Raises ClipRefusedError, MemoryError, OSError."""
    deadline = Deadline(job.decode_seconds)
    try:
        with (
            opened(folder / SOURCE, job) as clip,
            av.open(str(folder / MASKED), "w", options={"movflags": "faststart"}) as container,
        ):
            target = _Target(container, job)
            for picture in clip.frames():
                target.write(picture.frame, round(picture.offset / float(TIME_BASE)))
                if deadline.spent >= 1:
                    raise ClipRefusedError(
                        RefusalReason.TOO_COSTLY, f"Its masked copy was not finished in {job.decode_seconds:g} s."
                    )
            target.finish()
    except FFmpegError as error:
        raise ClipRefusedError(RefusalReason.TOO_COSTLY, f"Its masked copy cannot be written: {error}.") from error
    return ClipReport()


class _Target:
    """The copy; its size is that of the first picture."""

    def __init__(self, container: OutputContainer, job: ClipJob) -> None:
        self._container = container
        self._job = job
        self._stream: VideoStream | None = None
        self._last = -1

    def write(self, frame: VideoFrame, at: int) -> None:
        """Append a picture at a time, unless that is not after the one before."""
        if at <= self._last:
            return
        self._last = at
        masked = _masked(frame, self._job.masks)
        self._stream = self._stream or self._new_stream(masked)
        masked.pts, masked.time_base = at, TIME_BASE
        self._container.mux(self._stream.encode(masked))

    def finish(self) -> None:
        """Write what the encoder holds back. Raises ClipRefusedError if there is nothing at all."""
        if self._stream is None:
            raise ClipRefusedError(RefusalReason.CORRUPT, "No picture of the video can be decoded.")
        self._container.mux(self._stream.encode(None))

    def _new_stream(self, first: VideoFrame) -> VideoStream:
        stream = self._container.add_stream(ENCODER, options=ENCODER_OPTIONS)
        stream.width, stream.height = first.width, first.height
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = TIME_BASE
        stream.codec_context.thread_count = THREADS
        return stream


def _masked(frame: VideoFrame, masks: tuple[Mask, ...]) -> VideoFrame:
    """Return a picture as it is to be displayed, of even width and height, with its masks black."""
    width, height = frame.width & ~1, frame.height & ~1
    packed = samples(frame, width=width, height=height, format="yuv420p").ravel()
    luma, chroma = width * height, width * height // 4
    planes = (
        packed[:luma].reshape(height, width),
        packed[luma : luma + chroma].reshape(height // 2, width // 2),
        packed[luma + chroma :].reshape(height // 2, width // 2),
    )
    black = [
        _blackened(np.rot90(plane, quarters(frame)), masks, value) for plane, value in zip(planes, BLACK, strict=True)
    ]
    return VideoFrame.from_ndarray(
        np.concatenate([plane.ravel() for plane in black]).reshape(-1, black[0].shape[1]), format="yuv420p"
    )


def _blackened(plane: NDArray[np.uint8], masks: tuple[Mask, ...], black: int) -> NDArray[np.uint8]:
    """Return a plane with its masked samples of this value; arithmetic is several times quicker than indexing."""
    inside = covered(masks, plane.shape[1], plane.shape[0]).view(np.uint8)
    return plane * (1 - inside) + inside * np.uint8(black)
