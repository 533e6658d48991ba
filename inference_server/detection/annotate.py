# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures for people: boxes drawn on a frame, and smaller copies of it."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from PIL import Image, ImageDraw, ImageFont

from inference_server.core.colour import as_rgb
from inference_server.core.detection import Category, Detection
from inference_server.detection.errors import PictureUnreadable

QUALITY = 85

_COLOURS = {
    Category.PERSON: "#ffb000",
    Category.VEHICLE: "#4aa8ff",
    Category.ANIMAL: "#5fd35f",
}
_LEFT_OUT = "#b0b0b0"
_DARK = "#000000"

# Shares of the picture's shorter side: legible where a phone shows the picture across its width.
_LINE_SHARE = 1 / 180
_FONT_SHARE = 1 / 24
_MIN_FONT = 11


def draw_boxes(jpeg: bytes, detections: Sequence[Detection], width: int | None = None) -> bytes:
    """Return the picture as JPEG with a box, label and percentage for each detection.

    Boxes are in pixels of the picture as given. `width` scales the result down to that many pixels, never up; lines
    and text keep their size relative to the result. The weakest is drawn first, so that the best stays readable; before
    it, thin and grey, what makes no event, with the reason instead of a percentage.
    Raises PictureUnreadable.
    """
    image, scale = _read(jpeg, width)
    pen = _Pen.for_picture(image, scale)
    for detection in sorted(detections, key=lambda found: (found.left_out is None, found.confidence)):
        pen.draw(detection)
    return _encoded(image)


def scale_jpeg(jpeg: bytes, width: int) -> bytes:
    """Return the picture as JPEG, at most `width` pixels wide; a JPEG that is small enough is returned as it is.

    Raises PictureUnreadable.
    """
    image, scale = _read(jpeg, width)
    return jpeg if scale == 1 and jpeg.startswith(b"\xff\xd8") else _encoded(image)


def _read(data: bytes, width: int | None) -> tuple[Image.Image, float]:
    """Return the picture, RGB and at most `width` wide, and its size relative to the original."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            original = image.width
            if width is None or width >= original:
                return as_rgb(image), 1.0
            size = width, max(1, round(image.height * width / original))
            image.draft("RGB", size)
            return as_rgb(image).resize(size, Image.Resampling.BICUBIC), width / original
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise PictureUnreadable(f"the picture cannot be decoded: {error}") from error


def _encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


@dataclass(frozen=True, slots=True)
class _Pen:
    """Draws on one picture, with lines and text in proportion to it."""

    canvas: ImageDraw.ImageDraw
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont
    line: int
    scale: float
    picture_width: int

    @classmethod
    def for_picture(cls, image: Image.Image, scale: float) -> Self:
        short = min(image.size)
        font = ImageFont.load_default(size=max(_MIN_FONT, round(short * _FONT_SHARE)))
        return cls(ImageDraw.Draw(image), font, max(2, round(short * _LINE_SHARE)), scale, image.width)

    def draw(self, detection: Detection) -> None:
        box, reason = detection.box, detection.left_out
        colour, line = (_LEFT_OUT, 1) if reason else (_COLOURS[detection.label.category], self.line)
        left, top = box.x * self.scale, box.y * self.scale
        right, bottom = left + box.width * self.scale, top + box.height * self.scale
        # A dark edge on both sides of the line keeps it visible on light ground.
        self.canvas.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=_DARK, width=line + 2)
        self.canvas.rectangle((left, top, right, bottom), outline=colour, width=line)
        said = reason.value if reason else f"{detection.confidence:.0%}"
        self._tag(f"{detection.label} {said}", left, top, colour)

    def _tag(self, text: str, left: float, top: float, colour: str) -> None:
        """Write a text on a patch above a box's corner, or inside the box where there is no room above."""
        _, _, text_width, text_height = self.canvas.textbbox((0, 0), text, font=self.font)
        width, height = text_width + 2 * self.line, text_height + 2 * self.line
        left = max(0, min(left, self.picture_width - width))
        top = top - height if top >= height else top
        self.canvas.rectangle((left, top, left + width, top + height), fill=colour)
        self.canvas.text((left + self.line, top + self.line), text, fill=_DARK, font=self.font)
