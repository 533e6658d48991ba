# SPDX-License-Identifier: AGPL-3.0-or-later
"""What makes bytes a picture: type by content, size and pixel limits, and a full decode."""

import hashlib
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import simplejpeg
from PIL import Image, UnidentifiedImageError

from inference_server.core.frame import RefusalReason
from inference_server.core.memory import LARGE_PIXELS, return_free_memory
from inference_server.settings import IngestSettings

PADDING = "extraneous bytes before marker"
"""libjpeg's warning about filling that some cameras write between a picture's parts: all of the picture is there."""
MAX_SCANS = 64
"""A progressive JPEG has about ten; each one costs a pass over the whole picture."""
MAX_EXIF_BYTES = 64 << 10
"""What fits into one segment of a JPEG; the times stand at its beginning."""
_EXTENSIONS = {"JPEG": "jpg", "PNG": "png"}
_SCAN = b"\xff\xda"
_one_large_picture = threading.Lock()
"""Decoding takes up to six bytes per pixel: large pictures take turns, so that a few of them do not fill the memory."""


class RefusedError(Exception):
    """The content cannot become a frame."""

    def __init__(self, reason: RefusalReason, detail: str) -> None:
        """Take the reason for programs and the detail for people."""
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Picture:
    """Bytes that were decoded to the end once: a JPEG or PNG of a size in pixels. The hash is that of what arrived."""

    content: bytes
    content_hash: str
    extension: str
    width: int
    height: int
    exif: bytes = b""
    """The raw block, as untrusted as everything that arrived."""


def examine(content: bytes, limits: IngestSettings) -> Picture:
    """Return the picture in these bytes. Raises RefusedError; never trusts a header's word for the decode."""
    if not content:
        raise RefusedError(RefusalReason.EMPTY, "The file is empty.")
    if len(content) < limits.min_bytes:
        raise RefusedError(
            RefusalReason.TOO_SMALL, f"{len(content)} bytes; a picture has at least {limits.min_bytes} bytes."
        )
    if len(content) > limits.max_bytes:
        raise RefusedError(RefusalReason.TOO_LARGE, f"{len(content)} bytes; the limit is {limits.max_bytes} bytes.")
    kind, width, height, exif = _header(content, limits)
    with turn(width * height):
        _decode(content, kind)
    return Picture(content, hashlib.sha256(content).hexdigest(), _EXTENSIONS[kind], width, height, exif)


@contextmanager
def turn(pixels: int) -> Iterator[None]:
    """Wait until a picture of this size may be decoded."""
    if pixels <= LARGE_PIXELS:
        yield
        return
    with _one_large_picture:
        try:
            yield
        finally:
            return_free_memory()


def _header(content: bytes, limits: IngestSettings) -> tuple[str, int, int, bytes]:
    try:
        with Image.open(io.BytesIO(content), formats=list(_EXTENSIONS)) as image:
            # a JPEG that holds several pictures calls itself MPO; the first one is the picture
            kind, (width, height) = "PNG" if image.format == "PNG" else "JPEG", image.size
            exif = image.info.get("exif", b"")[:MAX_EXIF_BYTES]
    except UnidentifiedImageError as error:
        raise RefusedError(
            RefusalReason.NOT_A_PICTURE, "The content is neither JPEG nor PNG, nor a video that is known."
        ) from error
    except Image.DecompressionBombError as error:
        raise RefusedError(RefusalReason.TOO_MANY_PIXELS, str(error)) from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow's parsers raise many kinds for hostile bytes
        raise RefusedError(RefusalReason.CORRUPT, f"The header cannot be read: {error}") from error
    if width * height > limits.max_pixels:
        raise RefusedError(
            RefusalReason.TOO_MANY_PIXELS, f"{width}x{height} pixels; the limit is {limits.max_pixels} pixels."
        )
    if min(width, height) < limits.min_side:
        raise RefusedError(
            RefusalReason.TOO_SMALL, f"{width}x{height} pixels; each side has at least {limits.min_side} pixels."
        )
    return kind, width, height, exif


def _decode(content: bytes, kind: str) -> None:
    try:
        if kind == "JPEG":
            _decode_jpeg(content)
        else:
            _decode_with_pillow(content, kind)
    except (MemoryError, RefusedError):
        raise
    except Exception as error:  # decoders raise many kinds for hostile bytes
        raise RefusedError(RefusalReason.CORRUPT, f"The picture cannot be decoded to its end: {error}") from error


def _decode_jpeg(content: bytes) -> None:
    if (scans := content.count(_SCAN)) > MAX_SCANS:
        raise RefusedError(RefusalReason.CORRUPT, f"A JPEG of {scans} scans; a picture has at most {MAX_SCANS}.")
    # Entropy decoding covers every byte; the smallest scale only saves the rest of the work.
    try:
        simplejpeg.decode_jpeg(content, "GRAY", min_height=1, min_width=1, min_factor=8, strict=True)
    except ValueError as error:
        if PADDING not in str(error):
            raise
        _decode_with_pillow(content, "JPEG")  # the warning of filling may hide that the end is missing


def _decode_with_pillow(content: bytes, kind: str) -> None:
    with Image.open(io.BytesIO(content), formats=[kind]) as image:
        image.load()
