# SPDX-License-Identifier: AGPL-3.0-or-later
"""What counts as a picture, on good, broken and hostile content."""

import io
import itertools
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from inference_server.core.frame import RefusalReason
from inference_server.detection.preprocess import decode_picture
from inference_server.ingest.picture import RefusedError, examine
from inference_server.settings import IngestSettings
from tests.support.pictures import (
    TINY_ALLOWED,
    archive,
    encoded,
    jpeg,
    jpeg_of_size,
    noise,
    png,
    png_bomb,
    png_chunk,
)

WHOLE = {
    "jpeg": jpeg(),
    "progressive": encoded(noise(), progressive=True),
    "restart markers": encoded(noise(), restart_marker_blocks=1),
    "grey jpeg": encoded(noise(mode="L")),
    "cmyk jpeg": encoded(noise(mode="CMYK")),
    "several pictures in one": encoded(noise(), "MPO"),
    "png": png(),
    "grey png": encoded(noise(mode="L"), "PNG"),
    "grey png with alpha": encoded(noise(mode="LA"), "PNG"),
    "png with alpha": encoded(noise(mode="RGBA"), "PNG"),
    "palette png": encoded(noise(mode="P"), "PNG"),
    "palette png with a transparent colour": encoded(noise(mode="P"), "PNG", transparency=0),
    "one bit png": encoded(noise(mode="1"), "PNG"),
    "16 bit png": encoded(Image.new("I;16", (64, 48), 40_000), "PNG"),
}


def _reason(content: bytes, limits: IngestSettings = TINY_ALLOWED) -> RefusalReason:
    with pytest.raises(RefusedError) as refused:
        examine(content, limits)
    assert refused.value.detail == str(refused.value) != ""
    return refused.value.reason


def _check_decodable(content: bytes, width: int, height: int) -> None:
    decoded = decode_picture(content, 32)
    assert (decoded.width, decoded.height) == (width, height)
    assert decoded.pixels.shape[2] == 3
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        assert image.size == (width, height)


@pytest.mark.parametrize("kind", WHOLE)
def test_every_kind_of_jpeg_and_png_is_a_picture(kind: str) -> None:
    picture = examine(WHOLE[kind], TINY_ALLOWED)
    assert (picture.width, picture.height) == (64, 48)
    assert picture.extension == ("png" if "png" in kind else "jpg")
    assert picture.content == WHOLE[kind]
    _check_decodable(picture.content, 64, 48)


def test_the_hash_is_that_of_the_content() -> None:
    assert examine(jpeg(1), TINY_ALLOWED).content_hash == examine(jpeg(1), TINY_ALLOWED).content_hash
    assert examine(jpeg(1), TINY_ALLOWED).content_hash != examine(jpeg(2), TINY_ALLOWED).content_hash


@pytest.mark.parametrize("tail", [b"\0" * 700, b"trailer", jpeg(2), b"\xff\xd8"])
@pytest.mark.parametrize("content", [jpeg(), png()])
def test_bytes_after_the_end_do_no_harm(content: bytes, tail: bytes) -> None:
    assert examine(content + tail, TINY_ALLOWED).width == 64


def test_filling_before_the_end_marker_does_no_harm() -> None:
    content = jpeg(seed=7)
    assert content.endswith(b"\xff\xd9")
    filled = content[:-2] + bytes(24) + content[-2:]
    assert examine(filled, TINY_ALLOWED).content == filled


def test_an_empty_file_is_refused() -> None:
    assert _reason(b"") is RefusalReason.EMPTY


def test_the_limits_are_inclusive() -> None:
    content = jpeg()
    exact = IngestSettings(min_bytes=len(content), max_bytes=1024, min_side=48, max_pixels=64 * 48)
    exact = exact.model_copy(update={"max_bytes": len(content)})
    assert examine(content, exact).width == 64
    assert _reason(content, exact.model_copy(update={"min_bytes": len(content) + 1})) is RefusalReason.TOO_SMALL
    assert _reason(content, exact.model_copy(update={"max_bytes": len(content) - 1})) is RefusalReason.TOO_LARGE
    assert _reason(content, exact.model_copy(update={"min_side": 49})) is RefusalReason.TOO_SMALL
    assert _reason(content, exact.model_copy(update={"max_pixels": 64 * 48 - 1})) is RefusalReason.TOO_MANY_PIXELS


@pytest.mark.parametrize(
    "content",
    [
        encoded(noise(), "GIF"),
        encoded(noise(), "WEBP"),
        encoded(noise(), "BMP"),
        encoded(noise(), "TIFF"),
        archive(),
        b"<!DOCTYPE html><html><body>401 Unauthorized</body></html>",
        b"\0" * 5000,
        b"\xff\xd8",
        b"\x89PNG\r\n\x1a\n",
    ],
    ids=["gif", "webp", "bmp", "tiff", "zip", "html", "zeros", "jpeg start", "png start"],
)
def test_what_is_no_jpeg_or_png_is_refused_whatever_its_name(content: bytes) -> None:
    assert _reason(content) in {RefusalReason.NOT_A_PICTURE, RefusalReason.CORRUPT}


@pytest.mark.parametrize("kind", ["jpeg", "progressive", "grey jpeg", "png", "palette png"])
def test_a_picture_that_ends_early_is_refused_wherever_it_was_cut(kind: str) -> None:
    content = WHOLE[kind]
    last = 1 if content.startswith(b"\xff\xd8") else 22  # a PNG ends with checksums and an empty chunk: no pixel there
    cuts = sorted({*range(1, len(content) - last, max(1, len(content) // 60)), len(content) - last})
    for cut in cuts:
        assert _reason(content[:cut]) in {RefusalReason.NOT_A_PICTURE, RefusalReason.CORRUPT}, cut


@pytest.mark.parametrize("size", [(50_000, 50_000), (2**31 - 1, 2**31 - 1), (60_000_000, 1)])
def test_a_png_that_would_fill_the_memory_is_refused_by_its_header(size: tuple[int, int]) -> None:
    assert _reason(png_bomb(*size)) in {RefusalReason.TOO_MANY_PIXELS, RefusalReason.CORRUPT}


def test_a_jpeg_that_would_fill_the_memory_is_refused_by_its_header() -> None:
    assert _reason(jpeg_of_size(65_000, 65_000)) is RefusalReason.TOO_MANY_PIXELS


def test_a_png_with_too_little_data_for_its_size_is_refused() -> None:
    assert _reason(png_bomb(5000, 5000)) is RefusalReason.CORRUPT


@pytest.mark.parametrize("size", [(0, 48), (64, 0), (0, 0)])
def test_a_jpeg_without_extent_is_refused(size: tuple[int, int]) -> None:
    assert _reason(jpeg_of_size(*size)) in set(RefusalReason)


@pytest.mark.parametrize("size", [(0, 48), (64, 0)])
def test_a_png_without_extent_is_refused(size: tuple[int, int]) -> None:
    assert _reason(png_bomb(*size)) in set(RefusalReason)


def test_a_png_whose_chunks_have_wrong_checksums_is_refused() -> None:
    content = bytearray(png())
    content[content.index(b"IHDR") + 17] ^= 0xFF
    assert _reason(bytes(content)) in {RefusalReason.CORRUPT, RefusalReason.NOT_A_PICTURE}


def test_a_png_whose_compressed_data_are_damaged_is_refused() -> None:
    content = bytearray(png())
    start = content.index(b"IDAT")
    content[start + 200 : start + 260] = b"\xaa" * 60
    assert _reason(bytes(content)) is RefusalReason.CORRUPT


def test_a_png_text_that_unpacks_without_end_is_refused() -> None:
    bomb = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * 50_000_000))
    content = png()
    content = content[:33] + bomb + content[33:]
    assert _reason(content) is RefusalReason.CORRUPT


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*" + b"\xff" * 500])
def test_a_broken_exif_block_does_not_matter(exif: bytes) -> None:
    content = encoded(noise(), exif=exif)
    assert examine(content, TINY_ALLOWED).width == 64
    _check_decodable(content, 64, 48)


def test_a_jpeg_turned_by_exif_keeps_the_size_that_is_stored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = examine(encoded(noise(), exif=exif), TINY_ALLOWED)
    assert (picture.width, picture.height) == (64, 48)
    _check_decodable(picture.content, 64, 48)


def _mutated(draw: st.DrawFn) -> bytes:
    content = bytearray(draw(st.sampled_from(sorted(WHOLE.values()))))
    for _ in range(draw(st.integers(1, 6))):
        if not content:
            break
        at = draw(st.integers(0, len(content) - 1))
        match draw(st.sampled_from(["set", "cut", "drop", "repeat", "insert"])):
            case "set":
                content[at] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xC0, 0xC4, 0xDA, 0xFE, 0xFF]))
            case "cut":
                del content[max(at, len(content) // 2) :]
            case "drop":
                del content[at : at + draw(st.integers(1, 40))]
            case "repeat":
                content[at:at] = content[at : at + draw(st.integers(1, 40))]
            case "insert":
                content[at:at] = draw(st.binary(min_size=1, max_size=20))
    return bytes(content)


@settings(max_examples=500, deadline=None)
@given(st.composite(_mutated)())
def test_a_damaged_picture_is_refused_or_can_be_decoded_by_everybody(content: bytes) -> None:
    try:
        picture = examine(content, TINY_ALLOWED)
    except RefusedError:
        return
    _check_decodable(content, picture.width, picture.height)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_with_a_reason(content: bytes) -> None:
    assert _reason(content) in set(RefusalReason)


def test_every_single_wrong_byte_of_a_header_is_refused_or_can_be_decoded() -> None:
    for content, value in itertools.product((jpeg(size=(16, 16)), png(size=(16, 16))), (0, 0xFF)):
        for at in range(0, min(len(content), 620), 3):
            damaged = content[:at] + bytes([value]) + content[at + 1 :]
            try:
                picture = examine(damaged, TINY_ALLOWED)
            except RefusedError:
                continue
            _check_decodable(damaged, picture.width, picture.height)


def test_a_jpeg_of_endless_scans_is_refused_before_it_costs_anything() -> None:
    progressive = encoded(noise(), progressive=True)
    last_scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    with pytest.raises(RefusedError, match="scans") as refused:
        examine(progressive[:-2] + last_scan * 4000 + progressive[-2:], TINY_ALLOWED)
    assert refused.value.reason is RefusalReason.CORRUPT


def test_a_jpeg_with_filling_that_ends_early_is_refused() -> None:
    progressive = encoded(noise(), progressive=True)
    last_scan = progressive.rindex(b"\xff\xda")
    filled = progressive[:last_scan] + bytes(8) + progressive[last_scan:]
    assert examine(filled, TINY_ALLOWED).extension == "jpg"
    cut = progressive[:last_scan] + bytes(8) + progressive[last_scan : last_scan + 30]
    with pytest.raises(RefusedError, match="truncated"):
        examine(cut, TINY_ALLOWED)
