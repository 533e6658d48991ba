# SPDX-License-Identifier: AGPL-3.0-or-later
"""A square with people who walk about and two vehicles that are parked: each tenth picture of `vtest.avi`.

PASSAGES were counted by eye, on all 80 pictures side by side, nine to a sheet, following each person from where it
enters the picture to where it leaves. One who leaves the picture and comes back is counted again, whoever that is. By
the number of the picture in which each appears:

    0   three: from the left, at the top, from the right. They meet at the sign in the middle.
    2   two together from the right, up the road, and back down until 37
    4   one in a green jacket from the right, up the road, back down and about
    8   one far away before the building, leaves to the left at 17
    12  one in white from the right, leaves to the left at 22
    13  one in stripes from the right, leaves to the left at 28
    22  one from the right
    23  one from the right, who had left there two pictures before
    42  a woman in red from the right, leaves to the left at 57
    46  one from the right
    51  one from the right, and two together from below
    57  one from the right
    61  the woman in red, back from the left
    66  one in grey from the right, leaves to the left at 74
    69  one from the right

The vehicles, a white van and a car, stand at the upper right edge from the first picture to the last.
"""

import io
from collections.abc import Sequence

import av
import numpy as np
import pytest
from PIL import Image

from scripts.development.samples import SampleUnavailable
from scripts.development.videos import square_video

PASSAGES = 20
"""Of people; see above."""
VEHICLES = 2
EVERY = 10


def pictures() -> list[Image.Image]:
    """Return each tenth picture, one for each second. Skips the test where the video cannot be had."""
    try:
        path = square_video()
    except SampleUnavailable as error:
        pytest.skip(str(error))
    with av.open(str(path)) as video:
        return [frame.to_image() for number, frame in enumerate(video.decode(video=0)) if number % EVERY == 0]


def without_people(seen: Sequence[Image.Image]) -> Image.Image:
    """Return the square as it is when nobody is there: the median of its pictures, of each point."""
    median = np.median(np.stack([np.asarray(picture) for picture in seen[::3]]), axis=0)
    return Image.fromarray(median.astype(np.uint8))


def jpeg(picture: Image.Image, number: int) -> bytes:
    """Return a picture as a camera writes it, which differs from all others in its comment."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=92, comment=f"{number}".encode())
    return buffer.getvalue()
