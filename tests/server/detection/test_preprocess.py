# SPDX-License-Identifier: AGPL-3.0-or-later
"""Decoding and letterboxing."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from inference_server.detection.annotate import draw_boxes
from inference_server.detection.detector import Picture
from inference_server.detection.errors import PictureUnreadable
from inference_server.detection.preprocess import PAD, Letterbox, decode_jpeg_scaled, decode_picture, empty_batch, place

sides = st.integers(1, 8000)


def encoded(image: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, quality=95)
    return buffer.getvalue()


@given(width=sides, height=sides, size=st.sampled_from([32, 416, 512, 640]), data=st.data())
def test_letterbox_round_trip(width: int, height: int, size: int, data: st.DataObject) -> None:
    """A point of the frame, placed in the input and taken back, is where it was."""
    letterbox = Letterbox.fit(width, height, size)
    x = data.draw(st.floats(0, width))
    y = data.draw(st.floats(0, height))
    placed_x = letterbox.left + x * letterbox.width / width
    placed_y = letterbox.top + y * letterbox.height / height
    assert 0 <= placed_x <= size
    assert 0 <= placed_y <= size
    box = np.array([[placed_x, placed_y, placed_x, placed_y]], np.float32)
    back = letterbox.to_frame(box, width, height)[0]
    assert back == pytest.approx([x, y, x, y], abs=max(width, height) / size * 1e-3 + 1e-3)


@given(width=sides, height=sides)
def test_letterbox_fills_one_side_and_is_centred(width: int, height: int) -> None:
    letterbox = Letterbox.fit(width, height, 512)
    assert max(letterbox.width, letterbox.height) == 512
    assert abs(512 - letterbox.width - 2 * letterbox.left) <= 1
    assert abs(512 - letterbox.height - 2 * letterbox.top) <= 1


def test_place_keeps_colours_and_grey_bars() -> None:
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[:] = 255, 0, 51
    batch = empty_batch(2, 64)
    letterbox = place(Picture(pixels, 200, 100), batch[1])
    assert letterbox == Letterbox(64, 32, 0, 16)
    assert batch[0] == pytest.approx(PAD / 255)
    assert batch[1, :, 15, 0] == pytest.approx(PAD / 255)
    assert batch[1, :, 16, 0] == pytest.approx([1, 0, 0.2])
    assert batch[1, :, 47, 63] == pytest.approx([1, 0, 0.2])
    assert batch[1, :, 48, 63] == pytest.approx(PAD / 255)


def test_scaled_decode_is_small_but_enough(bus_jpeg: bytes) -> None:
    picture = decode_jpeg_scaled(bus_jpeg, 512)
    assert (picture.width, picture.height) == (810, 1080)
    assert picture.pixels.shape == (540, 405, 3)


def test_small_jpeg_is_not_scaled_up() -> None:
    picture = decode_picture(encoded(Image.new("RGB", (60, 40), "red"), "JPEG"), 512)
    assert picture.pixels.shape == (40, 60, 3)


@pytest.mark.parametrize(
    ("mode", "form"), [("RGBA", "PNG"), ("L", "PNG"), ("RGB", "WEBP"), ("CMYK", "JPEG"), ("L", "JPEG")]
)
def test_every_form_becomes_rgb(mode: str, form: str) -> None:
    data = encoded(Image.new("RGB", (90, 70), (200, 200, 200)).convert(mode), form)
    picture = decode_picture(data, 64)
    assert (picture.width, picture.height) == (90, 70)
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.shape[2] == 3
    assert picture.pixels.mean() == pytest.approx(200, abs=3)


@pytest.mark.parametrize("data", [b"", b"not a picture", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n" + b"0" * 50])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(PictureUnreadable, match="cannot be decoded"):
        decode_picture(data, 512)


def test_cut_off_jpeg_is_decoded_as_far_as_it_goes(bus_jpeg: bytes) -> None:
    whole = decode_picture(bus_jpeg, 512).pixels
    cut = decode_picture(bus_jpeg[: len(bus_jpeg) // 2], 512).pixels
    assert cut.shape == whole.shape
    assert np.array_equal(cut[:100], whole[:100])


def test_sixteen_bit_grey_is_as_bright_as_eight_bit_grey(bus_jpeg: bytes) -> None:
    with Image.open(io.BytesIO(bus_jpeg)) as bus:
        grey = bus.convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) << 8)
    assert deep.mode == "I;16"
    shallow = decode_picture(encoded(grey, "PNG"), 256)
    np.testing.assert_array_equal(decode_picture(encoded(deep, "PNG"), 256).pixels, shallow.pixels)
    assert draw_boxes(encoded(deep, "PNG"), []) == draw_boxes(encoded(grey, "PNG"), [])


def test_a_large_png_is_kept_no_larger_than_the_model_sees_it() -> None:
    picture = decode_picture(encoded(Image.new("RGB", (2000, 1000)), "PNG"), 64)
    assert picture.pixels.shape == (32, 64, 3)
    assert (picture.width, picture.height) == (2000, 1000)


@pytest.mark.parametrize("size", [(1920, 1080), (3840, 2160), (1080, 1920), (960, 540), (1920, 1081)])
def test_the_quick_way_shows_what_the_slow_one_does(bus_jpeg: bytes, size: tuple[int, int]) -> None:
    with Image.open(io.BytesIO(bus_jpeg)) as bus:
        jpeg = encoded(bus.resize(size), "JPEG")
    batch = empty_batch(1, 640)
    where = place(decode_picture(jpeg, 640), batch[0])
    with Image.open(io.BytesIO(jpeg)) as image:
        plain = np.asarray(image.resize((where.width, where.height), Image.Resampling.BILINEAR), np.float32) / 255
    placed = batch[0, :, where.top : where.top + where.height, where.left : where.left + where.width]
    differences = np.abs(placed.transpose(1, 2, 0) - plain)
    assert differences.mean() < 0.025
    for shift in (-1, 1):  # nothing lies a pixel beside its place
        assert np.abs(placed.transpose(1, 2, 0) - np.roll(plain, shift, axis=1)).mean() > 1.5 * differences.mean()


@given(rows=st.integers(1, 70), columns=st.integers(1, 30), seed=st.integers(0, 99))
def test_two_thirds_are_the_mean_of_what_they_cover(rows: int, columns: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (3 * rows, 3 * columns, 3), np.uint8)
    size = 2 * max(rows, columns)
    slot = empty_batch(1, size)[0]
    where = place(Picture(pixels, 3 * columns, 3 * rows), slot)
    whole = pixels.repeat(2, axis=0).repeat(2, axis=1).astype(np.float64)
    expected = whole.reshape(where.height, 3, where.width, 3, 3).mean(axis=(1, 3)) / 255
    placed = slot[:, where.top : where.top + where.height, where.left : where.left + where.width]
    np.testing.assert_allclose(placed.transpose(1, 2, 0), expected, atol=1e-6)
