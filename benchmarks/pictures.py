# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures that differ in content, made from real ones."""

import io
from collections.abc import Iterator
from itertools import cycle, islice

from PIL import Image

from scripts.development.samples import BUS, TWO_PEOPLE, sample_path

SIZE = (1280, 720)
QUALITY = 85


def different_jpegs(count: int, size: tuple[int, int] = SIZE) -> Iterator[bytes]:
    """Give `count` JPEGs of `size` pixels with people, and a bus in every second one; no two are the same."""
    originals = [Image.open(sample_path(sample)).convert("RGB").resize(size) for sample in (BUS, TWO_PEOPLE)]
    for number, original in enumerate(islice(cycle(originals), count)):
        picture = original.copy()
        picture.paste((number % 256, number // 256 % 256, 90), (0, 0, 16, 16))
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=QUALITY)
        yield buffer.getvalue()
