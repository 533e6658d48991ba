# SPDX-License-Identifier: AGPL-3.0-or-later
"""Privacy masks: what they cover is nowhere in what is stored."""

import io
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from inference_server.core.camera import Mask
from inference_server.core.frame import RefusalReason
from inference_server.ingest.mask_area import covered
from inference_server.ingest.masks import Rgb, burn, fill, media_name
from inference_server.ingest.picture import Picture, RefusedError, examine
from tests.support.pictures import TINY_ALLOWED, encoded, noise

TOP_LEFT = Mask(((0, 0), (0.5, 0), (0.5, 0.25), (0, 0.25)))
WHITE = Image.new("RGB", (64, 48), (255, 255, 255))
KINDS = {
    "jpeg": encoded(WHITE),
    "progressive": encoded(WHITE, progressive=True),
    "grey jpeg": encoded(WHITE.convert("L")),
    "cmyk jpeg": encoded(WHITE.convert("CMYK")),
    "several pictures in one": encoded(WHITE, "MPO"),
    "filled jpeg": encoded(WHITE)[:-2] + bytes(24) + b"\xff\xd9",
    "png": encoded(WHITE, "PNG"),
    "png with alpha": encoded(WHITE.convert("RGBA"), "PNG"),
    "palette png": encoded(WHITE.convert("P"), "PNG"),
    "16 bit png": encoded(Image.new("I;16", (64, 48), 65_535), "PNG"),
}


def _shown(content: bytes) -> Rgb:
    """Return the pixels as any program displays them."""
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def _masked(content: bytes, *masks: Mask) -> Picture:
    return burn(examine(content, TINY_ALLOWED), masks)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_under_a_mask_and_all_beside_it(kind: str) -> None:
    masked = _masked(KINDS[kind], TOP_LEFT)
    assert (masked.extension, masked.width, masked.height) == ("jpg", 64, 48)
    assert masked.content_hash == examine(KINDS[kind], TINY_ALLOWED).content_hash
    shown = _shown(masked.content)
    assert shown[:12, :32].max() <= 3
    assert shown[16:, 36:].min() >= 250
    assert examine(masked.content, TINY_ALLOWED).width == 64


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_mask_covers_what_is_displayed_there_and_the_copy_is_upright(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(noise(), kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))
    before, masked = _shown(content), _masked(content, TOP_LEFT)
    after = _shown(masked.content)
    height, width, _ = before.shape
    assert (masked.width, masked.height) == (width, height)
    assert after.shape == before.shape
    assert after[: height // 4, : width // 2].max() <= 40, "more than the ringing of the edge"
    rest = np.abs(after[height // 4 + 4 :].astype(int) - before[height // 4 + 4 :])
    assert rest.mean() < 6


def test_no_metadata_and_no_thumbnail_are_left() -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif.get_ifd(0x8825)[1] = "N"
    thumbnail = encoded(WHITE.resize((16, 12)))
    content = encoded(WHITE, exif=exif.tobytes() + thumbnail, icc_profile=b"profile", comment=b"secret")
    masked = _masked(content, TOP_LEFT)
    assert masked.exif == b""
    with Image.open(io.BytesIO(masked.content)) as image:
        assert not image.getexif()
        assert not {"exif", "icc_profile", "comment"} & image.info.keys()
    assert masked.content.count(b"\xff\xd8") == 1


def test_without_masks_a_picture_stays_as_it_is() -> None:
    picture = examine(KINDS["png"], TINY_ALLOWED)
    assert burn(picture, ()) is picture
    assert media_name(picture, ()) == picture.content_hash


def test_other_masks_make_another_file() -> None:
    picture = examine(KINDS["png"], TINY_ALLOWED)
    names = {media_name(picture, masks) for masks in ((), (TOP_LEFT,), (TOP_LEFT, TOP_LEFT))}
    assert len(names) == 3
    assert media_name(picture, (TOP_LEFT,)) == media_name(picture, (TOP_LEFT,))


@settings(deadline=None)
@given(
    st.tuples(st.floats(0, 0.45), st.floats(0, 0.45)),
    st.tuples(st.floats(0.55, 1), st.floats(0.55, 1)),
    st.tuples(st.integers(8, 200), st.integers(8, 200)),
)
def test_a_rectangle_covers_every_pixel_that_it_touches(
    low: tuple[float, float], high: tuple[float, float], size: tuple[int, int]
) -> None:
    (left, top), (right, bottom), (width, height) = low, high, size
    pixels = np.full((height, width, 3), 255, np.uint8)
    masks = (Mask(((left, top), (right, top), (right, bottom), (left, bottom))),)
    fill(pixels, masks)
    inside = covered(masks, width, height)
    assert not pixels[inside].any()
    rows, columns = np.mgrid[0:height, 0:width]
    touched = (columns + 1 > left * width) & (columns < right * width)
    touched &= (rows + 1 > top * height) & (rows < bottom * height)
    assert inside[touched].all()
    assert pixels[~inside].all()


def test_what_cannot_be_masked_is_refused() -> None:
    picture = examine(encoded(noise()), TINY_ALLOWED)
    broken = Picture(picture.content[:300], picture.content_hash, "jpg", 64, 48)
    with pytest.raises(RefusedError, match="masks") as refused:
        burn(broken, (TOP_LEFT,))
    assert refused.value.reason is RefusalReason.CORRUPT


def test_masking_a_large_picture_is_quick() -> None:
    picture = examine(encoded(noise((1920, 1080)), quality=85), TINY_ALLOWED)
    burn(picture, (TOP_LEFT,))
    started = time.process_time()
    burn(picture, (TOP_LEFT,))
    assert time.process_time() - started < 0.5
