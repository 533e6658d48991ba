# SPDX-License-Identifier: AGPL-3.0-or-later
"""Boxes drawn on pictures, and smaller pictures."""

import io

import numpy as np
import pytest
from PIL import Image

from inference_server.core.detection import Box, Detection, Label
from inference_server.detection.annotate import draw_boxes, scale_jpeg
from inference_server.detection.errors import PictureUnreadable

AMBER, BLUE, GREEN = (255, 176, 0), (74, 168, 255), (95, 211, 95)


def jpeg(width: int, height: int, colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def pixels(data: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(data))
    assert image.format == "JPEG"
    return np.asarray(image.convert("RGB")).astype(int)


def close(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.abs(picture - np.array(colour)).max(axis=2) < 60


@pytest.mark.parametrize("ground", ["white", "black"])
@pytest.mark.parametrize(("label", "colour"), [(Label.PERSON, AMBER), (Label.TRUCK, BLUE), (Label.DOG, GREEN)])
def test_box_and_tag_are_where_the_object_is(ground: str, label: Label, colour: tuple[int, int, int]) -> None:
    data = jpeg(1280, 720, ground)
    drawn = draw_boxes(data, [Detection(label, 0.87, Box(400, 300, 200, 250))])
    found = close(pixels(drawn), colour)
    rows, columns = np.nonzero(found)
    assert (columns.min(), columns.max()) == (pytest.approx(400, abs=4), pytest.approx(600, abs=4))
    assert rows.max() == pytest.approx(550, abs=4)
    assert 250 < rows.min() < 280, "the tag is above the box"
    assert not found[320:540, 420:580].any(), "the inside stays free"
    assert close(pixels(drawn)[265:295, 400:520], (0, 0, 0)).sum() > 100, "the tag is written"


def test_scaled_picture_has_scaled_boxes_of_legible_size() -> None:
    drawn = pixels(draw_boxes(jpeg(3840, 2160, "white"), [Detection(Label.CAR, 0.5, Box(1920, 1080, 960, 540))], 400))
    assert drawn.shape == (225, 400, 3)
    rows, columns = np.nonzero(close(drawn, BLUE))
    assert (columns.min(), columns.max()) == (pytest.approx(200, abs=3), pytest.approx(300, abs=3))
    assert rows.max() == pytest.approx(225 * 0.75, abs=3)
    assert 112 - rows.min() >= 11, "the tag is at least eleven pixels high"


@pytest.mark.parametrize("box", [Box(0, 0, 640, 360), Box(600, 0, 40, 300), Box(0, 330, 30, 30), Box(639, 359, 1, 1)])
def test_tags_at_the_edges_stay_inside(box: Box) -> None:
    drawn = close(pixels(draw_boxes(jpeg(640, 360, "white"), [Detection(Label.PERSON, 1.0, box)])), AMBER)
    assert drawn.sum() > 800


def test_a_picture_is_scaled_down_never_up() -> None:
    assert pixels(scale_jpeg(jpeg(1920, 1080, "red"), 320)).shape == (180, 320, 3)
    small = jpeg(200, 100, "red")
    assert scale_jpeg(small, 320) == small
    assert pixels(draw_boxes(small, [], 320)).shape == (100, 200, 3)


def test_png_becomes_jpeg() -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (64, 48), "red").save(buffer, "PNG")
    assert pixels(scale_jpeg(buffer.getvalue(), 320)).shape == (48, 64, 3)


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(PictureUnreadable):
        draw_boxes(b"no picture", [])
    with pytest.raises(PictureUnreadable):
        scale_jpeg(b"", 100)
