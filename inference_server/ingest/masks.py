# SPDX-License-Identifier: AGPL-3.0-or-later
"""Before anything sees or stores a picture it is brought upright, and its privacy masks are made black."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image

from inference_server.core.camera import Mask
from inference_server.core.colour import as_rgb
from inference_server.core.frame import RefusalReason
from inference_server.ingest.mask_area import covered
from inference_server.ingest.picture import MAX_EXIF_BYTES, Picture, RefusedError, turn

QUALITY = 95

type Rgb = NDArray[np.uint8]
"""Pixels of a picture, [height, width, 3]."""

_TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings a picture upright, by the orientation that its EXIF tells."""


def fill(pixels: Rgb, masks: tuple[Mask, ...]) -> None:
    """Make what the masks cover black, in place, in a picture as it is displayed."""
    height, width, _ = pixels.shape
    pixels[covered(masks, width, height)] = 0


def burn(picture: Picture, masks: tuple[Mask, ...]) -> Picture:
    """Return a picture as it is displayed, with its masks burnt in; nothing else is in its file, no EXIF, no thumbnail.

    It is a JPEG whatever it was; its hash stays that of what arrived. One without masks that is upright already is
    returned as it is. Raises RefusedError for one that cannot be decoded to the full.
    """
    if not masks and _is_upright(picture):
        return picture
    with turn(picture.width * picture.height):
        try:
            upright = _upright(Image.fromarray(_decoded(picture)), picture.exif)
            pixels = np.array(upright)
        except MemoryError:
            raise
        except Exception as error:  # decoders raise many kinds for hostile bytes
            detail = f"The picture cannot be decoded, to be brought upright or to have its masks burnt in: {error}"
            raise RefusedError(RefusalReason.CORRUPT, detail) from error
        if masks:
            fill(pixels, masks)
        content = simplejpeg.encode_jpeg(pixels, quality=QUALITY, colorspace="RGB", colorsubsampling="420")
    return replace(picture, content=content, extension="jpg", width=upright.width, height=upright.height, exif=b"")


def media_name(arrived: Picture, masks: Sequence[Mask]) -> str:
    """Return the name of the file of a picture that arrived.

    Other masks make another file, which replaces none that is in use, and so does bringing it upright.
    """
    if not masks:
        return arrived.content_hash if _is_upright(arrived) else f"{arrived.content_hash}-upright"
    return f"{arrived.content_hash}-{hashlib.sha256(repr(tuple(masks)).encode()).hexdigest()[:8]}"


def _decoded(picture: Picture) -> Rgb:
    if picture.extension == "jpg":
        try:
            decoded: Rgb = simplejpeg.decode_jpeg(picture.content, "RGB")
        except ValueError:
            pass  # for instance CMYK, or filling between its parts: Pillow can
        else:
            return decoded
    with Image.open(io.BytesIO(picture.content), formats=["JPEG", "PNG"]) as image:
        return np.asarray(as_rgb(image))


def _is_upright(picture: Picture) -> bool:
    return _orientation(picture.exif) not in _TURNED


def _upright(image: Image.Image, exif: bytes) -> Image.Image:
    method = _TURNED.get(_orientation(exif))
    return image if method is None else image.transpose(method)


def _orientation(exif: bytes) -> int:
    block = Image.Exif()
    try:
        block.load(exif[:MAX_EXIF_BYTES])
        return int(block.get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - Pillow's parser raises many kinds for hostile bytes
        return 1
