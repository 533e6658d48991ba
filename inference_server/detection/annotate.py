# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures for people: boxes drawn on a frame, smaller copies of it, and single objects cut out of it."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from PIL import Image, ImageDraw, ImageFont

from inference_server.core.colour import as_rgb
from inference_server.core.detection import Box, Category, Detection
from inference_server.detection.errors import PictureUnreadable

QUALITY = {"JPEG": 85, "WEBP": 80}
"""Of about the same look; the WebP is a third smaller."""
_WEBP_EFFORT = 2
"""Of 6: what more effort saves in bytes is not worth the time of a picture that is shown once."""

COLOURS = {
    Category.PERSON: "#ffb000",
    Category.VEHICLE: "#4aa8ff",
    Category.ANIMAL: "#b8ffb0",
}
"""Apart for who sees no red, no green or no blue, and light enough for black writing."""
DIMMED = "#a8a8a8"
DARK = "#000000"

# Shares of the picture: legible where a phone shows the picture across its width.
_LINE_SHARE = 1 / 180
_FONT_SHARE_OF_SHORT = 1 / 24
_FONT_SHARE_OF_WIDTH = 1 / 36
_MIN_FONT = 11
_MIN_WIDTH_FOR_TEXT = 200
"""On a narrower picture the words would hide what they name; the colour says what it is."""
_LONGEST_TEXT = 40


class PictureForm(StrEnum):
    """How a picture is encoded."""

    JPEG = "jpeg"
    WEBP = "webp"

    @property
    def media_type(self) -> str:
        """What HTTP calls it."""
        return f"image/{self}"


def draw_boxes(
    jpeg: bytes,
    detections: Sequence[Detection],
    width: int | None = None,
    *,
    form: PictureForm = PictureForm.JPEG,
) -> bytes:
    """Return the picture with a box, label and percentage for each detection.

    Boxes are in pixels of the picture as given. `width` scales the result down to that many pixels, never up; lines
    and text keep their size relative to the result. The weakest is drawn first, so that the best stays readable; before
    it, thin and grey, what makes no event, with the reason instead of a percentage. Raises PictureUnreadable.
    """
    image, scale = _read(jpeg, width)
    pen = _Pen.for_picture(image, scale)
    for detection in sorted(detections, key=lambda found: (found.left_out is None, found.confidence)):
        pen.draw(detection)
    return _encoded(image, form)


def scaled(jpeg: bytes, width: int | None, form: PictureForm = PictureForm.JPEG) -> bytes:
    """Return the picture, at most `width` pixels wide; a JPEG that is small enough is returned as it is.

    Raises PictureUnreadable.
    """
    image, scale = _read(jpeg, width)
    is_done = scale == 1 and form is PictureForm.JPEG and jpeg.startswith(b"\xff\xd8")
    return jpeg if is_done else _encoded(image, form)


def crop(jpeg: bytes, box: Box, margin: float, width: int | None = None, form: PictureForm = PictureForm.JPEG) -> bytes:
    """Return what is in a box, and around it `margin` times the box's longer side as far as the picture goes.

    At most `width` pixels wide, at least one pixel each way. Raises PictureUnreadable.
    """
    image, _ = _read(jpeg, None)
    around = margin * max(box.width, box.height)
    left = min(max(0, int(box.x - around)), image.width - 1)
    top = min(max(0, int(box.y - around)), image.height - 1)
    right = min(max(left + 1, round(box.x + box.width + around)), image.width)
    bottom = min(max(top + 1, round(box.y + box.height + around)), image.height)
    found = image.crop((left, top, right, bottom))
    if width is not None and width < found.width:
        size = width, max(1, round(found.height * width / found.width))
        found = found.resize(size, Image.Resampling.BICUBIC)
    return _encoded(found, form)


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


def _encoded(image: Image.Image, form: PictureForm) -> bytes:
    buffer, kind = io.BytesIO(), form.upper()
    try:
        image.save(buffer, kind, quality=QUALITY[kind], **({"method": _WEBP_EFFORT} if kind == "WEBP" else {}))
    except (OSError, ValueError) as error:  # a WebP has at most 16383 pixels each way
        raise PictureUnreadable(f"the picture cannot be encoded as {kind}: {error}") from error
    return buffer.getvalue()


def tag_of(detection: Detection) -> str:
    """Return what is written at a box: in any script, in one line, of what can be shown, not too long."""
    label = "".join(character for character in str(detection.label) if character.isprintable()).strip()
    if len(label) > _LONGEST_TEXT:
        label = f"{label[:_LONGEST_TEXT]}…"
    said = detection.left_out.value if detection.left_out else f"{detection.confidence:.0%}"
    return f"{label} {said}".strip()


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
        size = max(_MIN_FONT, round(max(short * _FONT_SHARE_OF_SHORT, image.width * _FONT_SHARE_OF_WIDTH)))
        font = ImageFont.load_default(size=size)
        return cls(ImageDraw.Draw(image), font, max(2, round(short * _LINE_SHARE)), scale, image.width)

    def draw(self, detection: Detection) -> None:
        box, dimmed = detection.box, detection.left_out is not None
        colour = DIMMED if dimmed else COLOURS[detection.label.category]
        line = max(1, self.line // 2) if dimmed else self.line
        left, top = box.x * self.scale, box.y * self.scale
        right, bottom = left + box.width * self.scale, top + box.height * self.scale
        # A dark edge on both sides of the line keeps it visible on light ground.
        self.canvas.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=DARK, width=line + 2)
        self.canvas.rectangle((left, top, right, bottom), outline=colour, width=line)
        if self.picture_width >= _MIN_WIDTH_FOR_TEXT:
            self._tag(tag_of(detection), left, top, colour)

    def _tag(self, text: str, left: float, top: float, colour: str) -> None:
        """Write a text on a patch above a box's corner, or inside the box where there is no room above."""
        _, _, text_width, text_height = self.canvas.textbbox((0, 0), text, font=self.font)
        width, height = text_width + 2 * self.line, text_height + 2 * self.line
        left = max(0, min(left, self.picture_width - width))
        top = top - height if top >= height else top
        self.canvas.rectangle((left, top, left + width, top + height), fill=colour)
        self.canvas.text((left + self.line, top + self.line), text, fill=DARK, font=self.font)
