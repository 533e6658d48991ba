# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures as they are served: JPEG, scaled down, with boxes."""

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from inference_server.api.problems import no_picture
from inference_server.core.detection import Detection
from inference_server.core.frame import Frame
from inference_server.detection.annotate import draw_boxes, scale_jpeg
from inference_server.detection.errors import PictureUnreadable
from inference_server.storage.media import MediaFolder

_JPEG_START = b"\xff\xd8"


@dataclass(frozen=True, slots=True)
class Picture:
    """A JPEG that is made only when the client does not have it yet.

    `render` reads and computes, so it runs on a worker thread. It raises ProblemError.
    """

    etag: str
    render: Callable[[], bytes]


def plain(media: MediaFolder, frame: Frame, width: int | None) -> Picture:
    """Return a frame as it was taken, no wider than `width`."""
    return Picture(_etag(frame, width), functools.partial(_render, media, frame, None, width))


def annotated(media: MediaFolder, frame: Frame, detections: Sequence[Detection], width: int | None) -> Picture:
    """Return a frame with its detections drawn, no wider than `width`."""
    return Picture(_etag(frame, width, *detections), functools.partial(_render, media, frame, detections, width))


def _etag(frame: Frame, *parts: object) -> str:
    return hashlib.sha256(repr((frame.id, frame.content_hash, *parts)).encode()).hexdigest()[:32]


def _render(media: MediaFolder, frame: Frame, detections: Sequence[Detection] | None, width: int | None) -> bytes:
    try:
        content = media.read(frame.media_path)
        if detections:
            return draw_boxes(content, detections, width)
        if width is None and content.startswith(_JPEG_START):
            return content
        return scale_jpeg(content, width or frame.width)
    except FileNotFoundError as error:
        raise no_picture(
            f"The file of frame {frame.id} is gone from the media folder.",
            "Restore it from a backup, or ask for a newer picture.",
        ) from error
    except (OSError, ValueError, PictureUnreadable) as error:
        raise no_picture(
            f"The file of frame {frame.id} cannot be read or decoded.",
            "Check the media folder's disk and permissions, or restore the file from a backup.",
        ) from error
