# SPDX-License-Identifier: AGPL-3.0-or-later
"""Boxes drawn on pictures, and smaller pictures."""

import io
from enum import StrEnum
from itertools import combinations
from typing import cast

import numpy as np
import pytest
from PIL import Image, ImageColor

from inference_server.core.detection import Box, Detection, Label, LeftOut
from inference_server.detection.annotate import (
    COLOURS,
    DARK,
    DIMMED,
    PictureForm,
    crop,
    draw_boxes,
    scaled,
    tag_of,
)
from inference_server.detection.errors import PictureUnreadable

AMBER, BLUE, GREEN, GREY = (255, 176, 0), (74, 168, 255), (184, 255, 176), (168, 168, 168)


def jpeg(width: int, height: int, colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def pixels(data: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(data))
    assert image.format == "JPEG"
    return np.asarray(image.convert("RGB")).astype(int)


def close(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.abs(picture - np.array(colour)).max(axis=2) < 50


@pytest.mark.parametrize("ground", ["white", "black"])
@pytest.mark.parametrize(("label", "colour"), [(Label.PERSON, AMBER), (Label.TRUCK, BLUE), (Label.DOG, GREEN)])
def test_box_and_tag_are_where_the_object_is(ground: str, label: Label, colour: tuple[int, int, int]) -> None:
    data = jpeg(1280, 720, ground)
    drawn = draw_boxes(data, [Detection(label, 0.87, Box(400, 300, 300, 250))])
    found = close(pixels(drawn), colour)
    rows, columns = np.nonzero(found)
    assert (columns.min(), columns.max()) == (pytest.approx(400, abs=4), pytest.approx(700, abs=4))
    assert rows.max() == pytest.approx(550, abs=4)
    assert 245 < rows.min() < 280, "the tag is above the box"
    assert not found[320:540, 420:680].any(), "the inside stays free"
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
    assert pixels(scaled(jpeg(1920, 1080, "red"), 320)).shape == (180, 320, 3)
    small = jpeg(200, 100, "red")
    assert scaled(small, 320) == small
    assert pixels(draw_boxes(small, [], 320)).shape == (100, 200, 3)


def test_png_becomes_jpeg() -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (64, 48), "red").save(buffer, "PNG")
    assert pixels(scaled(buffer.getvalue(), 320)).shape == (48, 64, 3)


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(PictureUnreadable):
        draw_boxes(b"no picture", [])
    with pytest.raises(PictureUnreadable):
        scaled(b"", 100)


# How people see who lack one of the three kinds of cones, in linear RGB (Machado, Oliveira and Fernandes, 2009).
SEEN_BY = {
    "everybody": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopes": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopes": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
    "tritanopes": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.3039)),
}
RGB_TO_XYZ = np.array([(0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505)])


def linear(colour: str) -> np.ndarray:
    """Return the linear RGB, 0 to 1, of a colour of sRGB (IEC 61966-2-1)."""
    parts = np.array(ImageColor.getrgb(colour)[:3]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """Return CIE L*a*b* of a linear RGB colour."""
    x, y, z = np.cbrt(RGB_TO_XYZ @ np.clip(rgb, 0, 1) / RGB_TO_XYZ.sum(axis=1))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("colour", [*COLOURS.values(), DIMMED])
def test_what_is_written_has_the_contrast_of_good_print(colour: str) -> None:
    light, dark = ((0.2126, 0.7152, 0.0722) @ linear(c) for c in (colour, DARK))
    assert (light + 0.05) / (dark + 0.05) >= 7, "WCAG 2.2, level AAA"


@pytest.mark.parametrize("people", SEEN_BY)
def test_the_colour_blind_tell_the_kinds_apart(people: str) -> None:
    seen = [lab(np.array(SEEN_BY[people]) @ linear(colour)) for colour in (*COLOURS.values(), DIMMED)]
    assert min(float(np.linalg.norm(one - other)) for one, other in combinations(seen, 2)) > 30


def test_what_is_always_there_is_dim_and_behind() -> None:
    parked = Detection(Label.CAR, 0.95, Box(400, 300, 300, 250), left_out=LeftOut.STATIONARY)
    person = Detection(Label.PERSON, 0.6, Box(380, 280, 100, 200))
    drawn = pixels(draw_boxes(jpeg(1280, 720, "white"), [person, parked]))
    assert close(drawn, GREY).sum() > 500
    assert not close(drawn, BLUE).any()
    rows, columns = np.nonzero(close(drawn, AMBER))
    assert (columns.min(), rows.max()) == (pytest.approx(380, abs=4), pytest.approx(480, abs=4))
    assert tag_of(parked) == "car stationary"
    assert tag_of(person) == "person 60%"


def test_neighbours_are_named_side_by_side_and_the_best_one_of_a_crowd() -> None:
    """Two people beside each other both have a tag that can be read; of many at one place as many as there is room."""
    pair = [Detection(Label.PERSON, sure, Box(x, 300, 60, 200)) for sure, x in ((0.9, 600), (0.8, 665))]
    drawn = [close(pixels(draw_boxes(jpeg(1280, 720, "white"), shown)), AMBER).sum() for shown in (pair[:1], pair)]
    assert drawn[1] > 1.8 * drawn[0]
    crowd = [Detection(Label.PERSON, 0.9 - number / 1000, Box(600 + number, 300, 60, 200)) for number in range(300)]
    assert close(pixels(draw_boxes(jpeg(1280, 720, "white"), crowd)), AMBER)[240:300, 590:700].sum() > 2000


class OddLabel(StrEnum):
    """Labels of models that somebody else trained."""

    RUSSIAN = "собака"
    ARABIC = "سيارة"
    CHINESE = "送货员"
    EMOJI = "🚗"
    LINES = "a\nb\0c\x1b[31m"
    LONG = "x" * 3000
    EMPTY = ""

    @property
    def category(self) -> object:
        """Any."""
        return Label.CAR.category


@pytest.mark.parametrize("label", OddLabel)
def test_a_label_of_any_script_is_drawn_in_one_line(label: OddLabel) -> None:
    found = Detection(cast("Label", label), 0.9, Box(40, 100, 200, 100))
    tag = tag_of(found)
    assert len(tag) < 50
    assert tag.isprintable()
    assert tag.endswith("90%")
    drawn = close(pixels(draw_boxes(jpeg(640, 360, "white"), [found])), BLUE)
    assert drawn[60:].any()
    assert not drawn[:60].any(), "one line above the box"


def test_a_thumbnail_has_boxes_and_no_words() -> None:
    drawn = pixels(draw_boxes(jpeg(1280, 720, "white"), [Detection(Label.CAR, 0.5, Box(320, 320, 640, 320))], 160))
    rows, columns = np.nonzero(close(drawn, BLUE))
    assert (rows.min(), columns.min()) == (pytest.approx(40, abs=2), pytest.approx(40, abs=2))


def test_a_webp_shows_the_same_in_fewer_bytes(bus_jpeg: bytes) -> None:
    found = [Detection(Label.BUS, 0.9, Box(20, 230, 780, 500))]
    jpeg_drawn = draw_boxes(bus_jpeg, found, 640)
    webp_drawn = draw_boxes(bus_jpeg, found, 640, form=PictureForm.WEBP)
    one, other = (Image.open(io.BytesIO(data)) for data in (jpeg_drawn, webp_drawn))
    assert (one.format, other.format) == ("JPEG", "WEBP")
    assert np.abs(np.asarray(one, int) - np.asarray(other.convert("RGB"), int)).mean() < 6
    assert len(webp_drawn) < 0.9 * len(jpeg_drawn)


@pytest.mark.parametrize(
    ("box", "margin", "size"),
    [
        (Box(100, 50, 40, 80), 0, (40, 80)),
        (Box(100, 50, 40, 80), 0.5, (120, 160)),
        (Box(0, 0, 640, 360), 2, (640, 360)),
        (Box(630, 350, 40, 80), 0, (10, 10)),
        (Box(700, 500, 40, 80), 0, (1, 1)),
        (Box(-50, -50, 60, 60), 0, (10, 10)),
        (Box(5.4, 5.4, 0.1, 0.1), 0, (1, 1)),
    ],
)
def test_an_object_alone(box: Box, margin: float, size: tuple[int, int]) -> None:
    with Image.open(io.BytesIO(crop(jpeg(640, 360, "white"), box, margin))) as alone:
        assert alone.size == size


def test_an_object_alone_is_scaled_down_never_up() -> None:
    box = Box(100, 50, 200, 100)
    for width, size in ((100, (100, 50)), (1000, (200, 100))):
        with Image.open(io.BytesIO(crop(jpeg(640, 360, "white"), box, 0, width, PictureForm.WEBP))) as alone:
            assert (alone.size, alone.format) == (size, "WEBP")
