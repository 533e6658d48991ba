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

_QUICK_SCALES = (2, 4)
"""Parts of a JPEG's size to which libjpeg-turbo decodes with the processor's vector instructions."""
_STRIP = 60
"""Rows that are scaled at a time; even."""

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


def decode_jpeg_scaled(data: bytes, size: int, *, strict: bool = False) -> Picture:
    """Decode a JPEG in the frequency domain to the smallest of its scales that fills the letterbox of `size`.

    Raises ValueError for bytes that are no JPEG or a JPEG in a colour space that has no way to RGB. A file that ends
    early is decoded as far as it goes; where `strict`, it is a ValueError, as is every other irregularity.
    """
    height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    target = Letterbox.fit(width, height, size)
    least = target.width, target.height
    if any((width, height) == (least[0] * 3 // 2 * scale, least[1] * 3 // 2 * scale) for scale in _QUICK_SCALES):
        least = least[0] * 3 // 2, least[1] * 3 // 2
    pixels = simplejpeg.decode_jpeg(data, "RGB", min_width=least[0], min_height=least[1], fastdct=True, strict=strict)
    return Picture(pixels, width, height)


def empty_batch(count: int, size: int) -> Batch:
    """Return a grey batch, float32 [count, 3, size, size], 0 to 1."""
    return np.full((count, 3, size, size), PAD / 255, np.float32)


def place(picture: Picture, slot: NDArray[np.float32]) -> Letterbox:
    """Write a picture into its slot [3, size, size] of a grey batch and return where it lies."""
    letterbox = Letterbox.fit(picture.width, picture.height, slot.shape[1])
    rows = slice(letterbox.top, letterbox.top + letterbox.height)
    columns = slice(letterbox.left, letterbox.left + letterbox.width)
    inner, pixels = slot[:, rows, columns], picture.pixels
    height, width, _ = pixels.shape
    if (height * 2, width * 2) == (letterbox.height * 3, letterbox.width * 3):
        _write_two_thirds(pixels, inner)
        return letterbox
    if (height, width) != (letterbox.height, letterbox.width):
        image = Image.fromarray(pixels).resize((letterbox.width, letterbox.height), Image.Resampling.BILINEAR)
        pixels = np.asarray(image)
    np.multiply(pixels.transpose(2, 0, 1), np.float32(1 / 255), out=inner)
    return letterbox


def _write_two_thirds(pixels: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """Write pixels [3 m, 3 n, 3] as [3, 2 m, 2 n], 0 to 1, by mean: the usual case, 1080 or 2160 rows seen in 360.

    Each three in a row, a b c, become the two that they cover, (2 a + b) / 3 and (b + 2 c) / 3, down and then across.
    In strips that stay in the processor's cache this is twice as quick as a filter for any ratio.
    """
    _, height, width = out.shape
    down = np.empty((_STRIP, width * 3 // 2, 3), np.uint16)
    across = np.empty((3, _STRIP, width // 2), np.uint16)
    for top in range(0, height, _STRIP):
        strip, target = pixels[top * 3 // 2 : (top + _STRIP) * 3 // 2], out[:, top : top + _STRIP]
        rows, columns = down[: target.shape[1]], across[:, : target.shape[1]]
        for half, outer in enumerate((strip[0::3], strip[2::3])):
            np.add(outer, outer, out=rows[half::2], dtype=np.uint16)
            np.add(rows[half::2], strip[1::3], out=rows[half::2])
        planes = rows.transpose(2, 0, 1)
        for half, outer_of_row in enumerate((planes[..., 0::3], planes[..., 2::3])):
            np.add(outer_of_row, outer_of_row, out=columns)
            np.add(columns, planes[..., 1::3], out=columns)
            np.multiply(columns, np.float32(1 / (9 * 255)), out=target[..., half::2])
