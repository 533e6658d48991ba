# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures of many kinds, good and bad."""

import io
import struct
import zipfile
import zlib
from random import Random

from PIL import Image

from inference_server.settings import IngestSettings

TINY_ALLOWED = IngestSettings(min_bytes=1, min_side=8)
"""Limits under which the small pictures of tests count."""


def noise(size: tuple[int, int] = (64, 48), mode: str = "RGB", seed: int = 1) -> Image.Image:
    """Return an image of coarse noise."""
    random = Random(seed)
    small = Image.frombytes("RGB", (8, 8), random.randbytes(8 * 8 * 3)).resize(size)
    return small.convert(mode)


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    """Return an image as a file's content."""
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def numbered_jpeg(image: Image.Image, number: int, quality: int = 85, comment: bytes = b"") -> bytes:
    """Return an image as a JPEG of its own: the number stands in its top left corner as 24 black and white squares."""
    image = image.copy()
    for bit in range(24):
        image.paste((255,) * 3 if number >> bit & 1 else (0,) * 3, (bit * 8, 0, bit * 8 + 8, 8))
    return encoded(image, quality=quality, comment=comment)


def jpeg(seed: int = 1, size: tuple[int, int] = (64, 48)) -> bytes:
    """Return a JPEG; another seed makes another content."""
    return encoded(noise(size, seed=seed))


def png(seed: int = 1, size: tuple[int, int] = (64, 48)) -> bytes:
    """Return a PNG; another seed makes another content."""
    return encoded(noise(size, seed=seed), "PNG")


def plain_png(number: int, size: tuple[int, int] = (64, 48)) -> bytes:
    """Return a PNG of one colour, which is the number: three bytes, red first."""
    red, green, blue = number.to_bytes(3)
    return encoded(Image.new("RGB", size, (red, green, blue)), "PNG")


def png_chunk(name: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG with its right checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_bomb(width: int, height: int) -> bytes:
    """Return a small PNG whose header tells a huge size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * 100_000)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def jpeg_of_size(width: int, height: int) -> bytes:
    """Return a JPEG whose header tells another size than it has."""
    content = bytearray(jpeg())
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(content)


def archive() -> bytes:
    """Return a ZIP archive with a picture in it."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as opened:
        opened.writestr("1.jpg", jpeg())
    return target.getvalue()
