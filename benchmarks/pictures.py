# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures that differ in content, made from real ones."""

from collections.abc import Iterator
from itertools import cycle, islice

from PIL import Image

from scripts.development.samples import BUS, TWO_PEOPLE, sample_path
from tests.support.pictures import numbered_jpeg

SIZE = (1280, 720)


def different_jpegs(count: int, size: tuple[int, int] = SIZE) -> Iterator[bytes]:
    """Give `count` JPEGs of `size` pixels with people, and a bus in every second one; no two are the same."""
    originals = [Image.open(sample_path(sample)).convert("RGB").resize(size) for sample in (BUS, TWO_PEOPLE)]
    for number, original in enumerate(islice(cycle(originals), count)):
        yield numbered_jpeg(original, number)
