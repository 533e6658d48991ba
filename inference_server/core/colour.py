# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures of every colour mode as RGB."""

import numpy as np
from PIL import Image


def as_rgb(image: Image.Image) -> Image.Image:
    """Return a picture as RGB. Of 16-bit grey the high byte counts, where Pillow would show it as white."""
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image, np.uint16) >> 8).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")
