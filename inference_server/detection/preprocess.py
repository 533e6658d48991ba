# SPDX-License-Identifier: AGPL-3.0-or-later
"""From the bytes of a picture to the batch that a model takes, with as little copying as possible."""

import io
from dataclasses import dataclass
from typing import Self

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from inference_server.core.colour import as_rgb
from inference_server.core.memory import LARGE_PIXELS, return_free_memory
from inference_server.detection.detector import Picture
from inference_server.detection.errors import PictureUnreadable

PAD = 114
"""The grey of the bars beside a picture, of 255; what detectors of the YOLO family were trained with."""

type Batch = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a picture lies in the model's square input: its size there and the bars left and above, in pixels."""

    width: int
    height: int
    left: int
    top: int

    @classmethod
    def fit(cls, width: int, height: int, size: int) -> Self:
        """Return the largest placement of a picture in a square of `size`, centred, as Ultralytics places it."""
        scale = min(size / width, size / height)
        inner_width, inner_height = max(1, round(width * scale)), max(1, round(height * scale))
        return cls(inner_width, inner_height, (size - inner_width) // 2, (size - inner_height) // 2)

    def to_frame(self, boxes: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
        """Return boxes [n, 4] (x1, y1, x2, y2) in pixels of the input as pixels of a frame of that size."""
        offset = np.array([self.left, self.top] * 2, np.float32)
        scale = np.array([width / self.width, height / self.height] * 2, np.float32)
        return (boxes - offset) * scale


def decode_picture(data: bytes, size: int) -> Picture:
    """Decode a JPEG, PNG, WebP... for a model whose input is `size` pixels wide and high.

    A JPEG is decoded to the smallest scale that is still enough. Boxes are in pixels of the picture as stored, which
    is upright: admission applies the rotation that EXIF tells of. Raises PictureUnreadable.
    """
    if data.startswith(b"\xff\xd8\xff"):
        try:
            return decode_jpeg_scaled(data, size)
        except ValueError:
            pass  # for instance CMYK, which only Pillow turns into RGB
    try:
        picture = _decode_with_pillow(data, size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise PictureUnreadable(f"the picture cannot be decoded: {error}") from error
    if picture.width * picture.height > LARGE_PIXELS:
        return_free_memory()
    return picture


def _decode_with_pillow(data: bytes, size: int) -> Picture:
    with Image.open(io.BytesIO(data)) as image:
        target = Letterbox.fit(*image.size, size)
        fitting = as_rgb(image).resize((target.width, target.height), Image.Resampling.BILINEAR)
        return Picture(np.asarray(fitting), *image.size)


def decode_jpeg_scaled(data: bytes, size: int) -> Picture:
    """Decode a JPEG in the frequency domain to the smallest of its scales that fills the letterbox of `size`.

    Raises ValueError for bytes that are no JPEG or a JPEG in a colour space that has no way to RGB. A file that ends
    early is decoded as far as it goes.
    """
    height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    target = Letterbox.fit(width, height, size)
    pixels = simplejpeg.decode_jpeg(
        data, "RGB", min_height=target.height, min_width=target.width, fastdct=True, strict=False
    )
    return Picture(pixels, width, height)


def empty_batch(count: int, size: int) -> Batch:
    """Return a grey batch, float32 [count, 3, size, size], 0 to 1."""
    return np.full((count, 3, size, size), PAD / 255, np.float32)


def place(picture: Picture, slot: NDArray[np.float32]) -> Letterbox:
    """Write a picture into its slot [3, size, size] of a grey batch and return where it lies."""
    letterbox = Letterbox.fit(picture.width, picture.height, slot.shape[1])
    pixels = picture.pixels
    if pixels.shape[:2] != (letterbox.height, letterbox.width):
        image = Image.fromarray(pixels).resize((letterbox.width, letterbox.height), Image.Resampling.BILINEAR)
        pixels = np.asarray(image)
    rows = slice(letterbox.top, letterbox.top + letterbox.height)
    columns = slice(letterbox.left, letterbox.left + letterbox.width)
    np.multiply(pixels.transpose(2, 0, 1), np.float32(1 / 255), out=slot[:, rows, columns])
    return letterbox
