# SPDX-License-Identifier: AGPL-3.0-or-later
"""What makes bytes a picture that is judged: known by its content, within the limit of pixels, and whole."""

import io

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from inference_server.core.colour import as_rgb
from inference_server.core.frame import RefusalReason
from inference_server.detection.detector import Picture
from inference_server.detection.preprocess import Letterbox, decode_jpeg_scaled
from inference_server.ingest.picture import MAX_SCANS, RefusedError, turn
from inference_server.settings import DetectorServiceSettings

FORMATS = ("JPEG", "PNG", "WEBP")
_JPEG = b"\xff\xd8\xff"
_SCAN = b"\xff\xda"


def open_picture(content: bytes, size: int, limits: DetectorServiceSettings) -> Picture:
    """Decode a picture for a model whose input is `size` pixels wide and high. Raises RefusedError.

    Its header is read first: nothing is decoded that tells of too many pixels. A JPEG is decoded once, at the smallest
    scale that is enough, but strictly; only what that refuses is read by Pillow, which tells filling from damage.
    """
    if not content:
        raise RefusedError(RefusalReason.EMPTY, "The picture is empty.")
    if len(content) > limits.max_bytes:
        raise RefusedError(RefusalReason.TOO_LARGE, f"{len(content)} bytes; the limit is {limits.max_bytes} bytes.")
    if content.startswith(_JPEG) and (picture := _quick(content, size, limits)) is not None:
        return picture
    return _careful(content, size, limits)


def _quick(content: bytes, size: int, limits: DetectorServiceSettings) -> Picture | None:
    """Return a JPEG that is beyond doubt, None for any other."""
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(content)
    except ValueError:
        return None
    _check_size(width, height, limits)
    if (scans := content.count(_SCAN)) > MAX_SCANS:
        raise RefusedError(RefusalReason.CORRUPT, f"A JPEG of {scans} scans; a picture has at most {MAX_SCANS}.")
    try:
        with turn(width * height):
            return decode_jpeg_scaled(content, size, strict=True)
    except ValueError:
        return None


def _careful(content: bytes, size: int, limits: DetectorServiceSettings) -> Picture:
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
            _check_size(width, height, limits)
            target = Letterbox.fit(width, height, size)
            with turn(width * height):
                fitting = as_rgb(image).resize((target.width, target.height), Image.Resampling.BILINEAR)
    except UnidentifiedImageError as error:
        raise RefusedError(RefusalReason.NOT_A_PICTURE, "The content is neither JPEG nor PNG nor WebP.") from error
    except Image.DecompressionBombError as error:
        raise RefusedError(RefusalReason.TOO_MANY_PIXELS, str(error)) from error
    except (MemoryError, RefusedError):
        raise
    except Exception as error:  # decoders raise many kinds for hostile bytes
        raise RefusedError(RefusalReason.CORRUPT, f"The picture cannot be decoded to its end: {error}") from error
    return Picture(np.asarray(fitting), width, height)


def _check_size(width: int, height: int, limits: DetectorServiceSettings) -> None:
    if width < 1 or height < 1:
        raise RefusedError(RefusalReason.CORRUPT, f"A picture of {width}x{height} pixels.")
    if width * height > limits.max_pixels:
        raise RefusedError(
            RefusalReason.TOO_MANY_PIXELS, f"{width}x{height} pixels; the limit is {limits.max_pixels} pixels."
        )
