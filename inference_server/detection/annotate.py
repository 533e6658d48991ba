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
    it, thin and grey, what makes no event, with the reason instead of a percentage. Then the best are named first, each
    where that hides no name and least of what counts; one that finds no such place has a box alone. Raises
    PictureUnreadable.
    """
    image, scale = _read(jpeg, width)
    pen = _Pen.for_picture(image, scale)
    weakest_first = sorted(detections, key=lambda found: (found.left_out is None, found.confidence))
    for detection in weakest_first:
        pen.frame(detection)
    if image.width >= _MIN_WIDTH_FOR_TEXT:
        taken: list[_Corners] = []
        boxes = [pen.corners(detection) for detection in detections if detection.left_out is None]
        for detection in reversed(weakest_first):
            pen.name(detection, taken, boxes)
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


type _Corners = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels of the result."""


@dataclass(frozen=True, slots=True)
class _Pen:
    """Draws on one picture, with lines and text in proportion to it."""

    canvas: ImageDraw.ImageDraw
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont
    line: int
    scale: float
    size: tuple[int, int]
    """Of the picture, in pixels."""

    @classmethod
    def for_picture(cls, image: Image.Image, scale: float) -> Self:
        short = min(image.size)
        size = max(_MIN_FONT, round(max(short * _FONT_SHARE_OF_SHORT, image.width * _FONT_SHARE_OF_WIDTH)))
        font = ImageFont.load_default(size=size)
        return cls(ImageDraw.Draw(image), font, max(2, round(short * _LINE_SHARE)), scale, image.size)

    def frame(self, detection: Detection) -> None:
        """Draw a detection's box."""
        line = self.line if detection.left_out is None else max(1, self.line // 2)
        left, top, right, bottom = self.corners(detection)
        # A dark edge on both sides of the line keeps it visible on light ground.
        self.canvas.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=DARK, width=line + 2)
        self.canvas.rectangle((left, top, right, bottom), outline=_colour(detection), width=line)

    def name(self, detection: Detection, taken: list[_Corners], boxes: Sequence[_Corners]) -> None:
        """Write what a detection is on a patch that is on none of those taken; add it to them.

        It is where it covers least of the boxes.
        """
        text = tag_of(detection)
        _, _, text_width, text_height = self.canvas.textbbox((0, 0), text, font=self.font)
        places = self._places(self.corners(detection), text_width + 2 * self.line, text_height + 2 * self.line)
        free = [place for place in places if not any(_shared(place, other) for other in taken)]
        if not free:
            return
        patch = min(free, key=lambda place: sum(_shared(place, box) for box in boxes))
        taken.append(patch)
        self.canvas.rectangle(patch, fill=_colour(detection))
        self.canvas.text((patch[0] + self.line, patch[1] + self.line), text, fill=DARK, font=self.font)

    def _places(self, box: _Corners, width: float, height: float) -> list[_Corners]:
        """Return where a patch of a size may be: above a box, in its top, below, in its bottom; the best first."""
        left, top, right, bottom = box
        across = [max(0, min(at, self.size[0] - width)) for at in (left, right - width)]
        down = [at for at in (top - height, top, bottom, bottom - height) if 0 <= at <= self.size[1] - height]
        return [(x, y, x + width, y + height) for y in down or [max(0, top)] for x in across]

    def corners(self, detection: Detection) -> _Corners:
        """Return where a detection's box is on the result."""
        box, scale = detection.box, self.scale
        return box.x * scale, box.y * scale, (box.x + box.width) * scale, (box.y + box.height) * scale


def _colour(detection: Detection) -> str:
    return COLOURS[detection.label.category] if detection.left_out is None else DIMMED


def _shared(one: _Corners, other: _Corners) -> float:
    """Return the area, in pixels, that two rectangles have in common."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)
