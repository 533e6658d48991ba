# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which pixels privacy masks cover."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from inference_server.core.camera import Mask

type Covered = NDArray[np.bool_]
"""Which pixels of a picture, [height, width], a mask covers."""


@lru_cache(maxsize=8)
def covered(masks: tuple[Mask, ...], width: int, height: int) -> Covered:
    """Return which pixels the masks cover; those that an outline touches are covered too."""
    image = Image.new("L", (width, height))
    draw = ImageDraw.Draw(image)
    for mask in masks:
        draw.polygon([(x * width, y * height) for x, y in mask.points], fill=1, outline=1, width=3)
    return np.asarray(image) > 0
