# SPDX-License-Identifier: AGPL-3.0-or-later
"""Boxes as arrays of shape [n, 4] (x1, y1, x2, y2), for when there are many."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inference_server.core.detection import Box

type Floats = NDArray[np.float32]


def corners(boxes: Sequence[Box]) -> Floats:
    """Return boxes as an array of shape [n, 4]."""
    rows = [(box.x, box.y, box.x + box.width, box.y + box.height) for box in boxes]
    return np.array(rows, np.float32).reshape(-1, 4)


def overlaps(first: Floats, second: Floats) -> Floats:
    """Return the intersection over union of every box of one array with every box of the other, [n, m]."""
    left_top = np.maximum(first[:, None, :2], second[None, :, :2])
    right_bottom = np.minimum(first[:, None, 2:], second[None, :, 2:])
    sides = np.maximum(right_bottom - left_top, 0)
    shared = sides[..., 0] * sides[..., 1]
    union = areas(first)[:, None] + areas(second)[None, :] - shared
    result: Floats = shared / np.where(union > 0, union, 1)
    return result


def suppress(boxes: Floats, scores: Floats, limit: float) -> list[int]:
    """Return the indices of the boxes to keep, best score first.

    Non-maximum suppression: a box goes when its overlap with a better one that stays is above `limit`. Of equal
    scores the earlier box stays.
    """
    order = np.argsort(-scores, kind="stable")
    matrix = overlaps(boxes[order], boxes[order])
    kept: list[int] = []
    gone = np.zeros(len(order), bool)
    for rank, index in enumerate(order):
        if not gone[rank]:
            kept.append(int(index))
            gone |= matrix[rank] > limit
    return kept


def areas(boxes: Floats) -> Floats:
    """Return the boxes' areas in square pixels, [n]."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
