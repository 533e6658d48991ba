# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures as they are served: JPEG or WebP, scaled down, with boxes, or one object alone."""

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from inference_server.api.problems import no_picture
from inference_server.core.detection import Detection
from inference_server.core.frame import Frame
from inference_server.detection.annotate import PictureForm, crop, draw_boxes, scaled
from inference_server.detection.errors import PictureUnreadable
from inference_server.storage.media import MediaFolder

_JPEG_START = b"\xff\xd8"


@dataclass(frozen=True, slots=True)
class Look:
    """How a picture is wanted."""

    width: int | None = None
    """At most."""
    form: PictureForm = PictureForm.JPEG


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that is made only when the client does not have it yet.

    `render` reads and computes, so it runs on a worker thread. It raises ProblemError.
    """

    etag: str
    render: Callable[[], bytes]
    media_type: str = PictureForm.JPEG.media_type


def plain(media: MediaFolder, frame: Frame, look: Look) -> Picture:
    """Return a frame as it was taken."""

    def make(content: bytes) -> bytes:
        is_done = look == Look() and content.startswith(_JPEG_START)
        return content if is_done else scaled(content, look.width, look.form)

    return _picture(media, frame, look, make)


def annotated(media: MediaFolder, frame: Frame, detections: Sequence[Detection], look: Look) -> Picture:
    """Return a frame with its detections drawn."""
    if not detections:
        return plain(media, frame, look)
    make = functools.partial(draw_boxes, detections=detections, width=look.width, form=look.form)
    return _picture(media, frame, look, make, *detections)


def object_alone(media: MediaFolder, frame: Frame, detection: Detection, margin: float, look: Look) -> Picture:
    """Return what is in the box of a detection, with a margin relative to its longer side."""
    make = functools.partial(crop, box=detection.box, margin=margin, width=look.width, form=look.form)
    return _picture(media, frame, look, make, "alone", detection, margin)


def _picture(media: MediaFolder, frame: Frame, look: Look, make: Callable[[bytes], bytes], *parts: object) -> Picture:
    etag = hashlib.sha256(repr((frame.id, frame.content_hash, look, *parts)).encode()).hexdigest()[:32]
    return Picture(etag, functools.partial(_render, media, frame, make), look.form.media_type)


def _render(media: MediaFolder, frame: Frame, make: Callable[[bytes], bytes]) -> bytes:
    try:
        return make(media.read(frame.media_path))
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
