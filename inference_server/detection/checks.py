# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a detector says is checked before it is believed."""

import math
from collections.abc import Sequence

from inference_server.core.detection import Box, Detection
from inference_server.detection.detector import Picture, StoredPicture
from inference_server.detection.errors import DetectorLied


def checked(
    pictures: Sequence[Picture | StoredPicture], found: Sequence[Sequence[Detection]] | None
) -> list[tuple[Detection, ...]]:
    """Return the detections, each box cut at its picture's edges. Raises DetectorLied for what no picture can hold."""
    if found is None or len(found) != len(pictures):
        raise DetectorLied(f"{len(pictures)} pictures, {0 if found is None else len(found)} results")
    return [tuple(_checked(picture, item) for item in items) for picture, items in zip(pictures, found, strict=True)]


def _checked(picture: Picture | StoredPicture, detection: Detection) -> Detection:
    box = detection.box
    if not 0 <= detection.confidence <= 1:
        raise DetectorLied(f"a {detection.label} with confidence {detection.confidence}")
    if not all(map(math.isfinite, (box.x, box.y, box.width, box.height))):
        raise DetectorLied(f"a box that is no rectangle: {box}")
    left, top = max(box.x, 0.0), max(box.y, 0.0)
    right, bottom = min(box.x + box.width, picture.width), min(box.y + box.height, picture.height)
    if right <= left or bottom <= top:
        raise DetectorLied(f"a box outside its picture of {picture.width}x{picture.height} pixels: {box}")
    return Detection(detection.label, detection.confidence, Box(left, top, right - left, bottom - top))
