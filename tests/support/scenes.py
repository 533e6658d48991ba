# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures of the same street, with more or fewer people in it, as cameras write them."""

from itertools import count
from pathlib import Path

from PIL import Image

from scripts.development.samples import BUS, sample_path
from tests.support.pictures import numbered_jpeg

SIZE = (810, 1080)
_STREET = (128, 128, 128)
_ONE_PERSON = (30, 380, 255, 930)
_numbers = count(1)


def bus() -> Image.Image:
    """Three people in front of a bus: medium risk by day."""
    with Image.open(sample_path(BUS)) as picture:
        return picture.convert("RGB")


def one_person() -> Image.Image:
    """One of the three people, in the same place, and nothing else: low risk by day."""
    picture = nobody()
    picture.paste(bus().crop(_ONE_PERSON), _ONE_PERSON[:2])
    return picture


def nobody() -> Image.Image:
    """An empty street."""
    return Image.new("RGB", SIZE, _STREET)


def encode(picture: Image.Image, comment: bytes = b"") -> bytes:
    """A JPEG that differs from every other one in a corner, as the clock of a real camera's picture does."""
    return numbered_jpeg(picture, next(_numbers), quality=92, comment=comment)


def drop(folder: Path, content: bytes, suffix: str = ".jpg") -> Path:
    """Write a file into a camera's folder under another name and rename it, as careful cameras do."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{next(_numbers):06}{suffix}"
    partial = path.with_suffix(".part")
    partial.write_bytes(content)
    partial.rename(path)
    return path
