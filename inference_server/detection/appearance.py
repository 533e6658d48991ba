# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an object and a whole picture look like, in a few bytes: computed while the pixels are at hand, stored for good.

The look of an object: the inner part of its box is divided into three stripes, one above the other (head, body and
legs of a person), and each stripe is described by a histogram of hue (8 bins, of what has colour) and brightness (4
bins, of what has none), as in M. J. Swain and D. H. Ballard, "Color Indexing", IJCV 7 (1991). Two looks are compared
by the Bhattacharyya coefficient of their histograms.

The view of a picture: the mean brightness of 8 x 6 fields, and the mean red, green and blue of all of it. Two views
show the same scene when their fields correlate, which a change of the light as a whole does not disturb; they were
taken in the same light when the means are near each other. Looks are worth comparing only in the same light.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from inference_server.core.detection import Box, Detection
from inference_server.detection.detector import Picture

STRIPES, HUES, GREYS = 3, 8, 4
BINS = HUES + GREYS
LOOK_BYTES = STRIPES * BINS
MOST_COLUMNS, MOST_ROWS = 24, 48
"""Pixels of a crop that are looked at, evenly chosen: more say nothing new about its colours."""
INNER = 0.7
"""Share of a box's width that is looked at; beside it there is more of the background."""
LEAST_SATURATION, LEAST_VALUE = 0.2, 0.15
"""Below either a pixel has no colour worth a name."""

COLUMNS, ROWS = 8, 6
VIEW_BYTES = COLUMNS * ROWS + 3
SAME_SCENE = 0.8
FLAT = 2.0
"""Levels of 255: a view whose fields differ by less than that has nothing to correlate."""
SAME_LIGHT = 16
"""Levels of 255 by which each of the three means may differ."""

_GREY = np.full(3, 1 / 3, np.float32)

type Floats = NDArray[np.float64]


def with_looks(picture: Picture, found: Sequence[Detection]) -> tuple[Detection, ...]:
    """Return a picture's detections with their looks."""
    return tuple(replace(item, appearance=look_of(picture, item.box)) for item in found)


def look_of(picture: Picture, box: Box) -> bytes:
    """Return what lies in a box (pixels of the frame): LOOK_BYTES bytes, each stripe's histogram scaled to 255."""
    bins = _bins(_crop(picture, box))
    height = len(bins)
    stripes = [bins[height * part // STRIPES : max(height * (part + 1) // STRIPES, 1)] for part in range(STRIPES)]
    return b"".join(_histogram(stripe if stripe.size else bins) for stripe in stripes)


def likeness(one: bytes | None, other: bytes | None) -> float | None:
    """Return how alike two looks are, 0 to 1; None where one is not known."""
    if one is None or other is None or len(one) != LOOK_BYTES or len(other) != LOOK_BYTES:
        return None
    return float(likenesses([one], [other])[0, 0])


def likenesses(first: Sequence[bytes | None], second: Sequence[bytes | None]) -> Floats:
    """Return how alike every look of one list is to every one of the other, [n, m], 0 to 1; NaN where not known."""
    one, other = _roots(first), _roots(second)
    return np.asarray(np.einsum("isb,jsb->ij", one, other) / STRIPES, np.float64)


def blended(old: bytes | None, new: bytes | None, share: float) -> bytes | None:
    """Return a look that has become a share of the way from an old one to a new one."""
    if old is None or new is None or len(old) != len(new):
        return new or old
    mixed = (1 - share) * np.frombuffer(old, np.uint8) + share * np.frombuffer(new, np.uint8)
    return np.rint(mixed).astype(np.uint8).tobytes()


def view_of(picture: Picture) -> bytes:
    """Return what the whole picture looks like: VIEW_BYTES bytes."""
    pixels = picture.pixels[:: max(1, len(picture.pixels) // 48), :: max(1, picture.pixels.shape[1] // 64)]
    height, width, _ = pixels.shape
    small = pixels.astype(np.float32)
    means = small.reshape(-1, 3).mean(axis=0)
    fields = _averages(height, ROWS) @ (small @ _GREY) @ _averages(width, COLUMNS).T
    return bytes(np.rint([*fields.ravel(), *means]).astype(np.uint8))


@lru_cache(maxsize=64)
def _averages(length: int, parts: int) -> NDArray[np.float32]:
    """Return what makes a column of values the means of its parts, [parts, length]; a part without any is 0."""
    rows = np.zeros((parts, length), np.float32)
    for row, part in zip(rows, np.array_split(np.arange(length), parts), strict=True):
        row[part] = 1 / max(len(part), 1)
    return rows


def same_scene(one: bytes | None, other: bytes | None) -> bool:
    """Return whether two views show the same scene, in whatever light; one that is not known shows any."""
    if not _known(one, other):
        return True
    first, second = (np.frombuffer(view or b"", np.uint8)[:-3].astype(np.float64) for view in (one, other))
    first, second = first - first.mean(), second - second.mean()
    if min(first.std(), second.std()) < FLAT:
        return bool(max(first.std(), second.std()) < 2 * FLAT)
    correlation = float(first @ second / np.sqrt((first @ first) * (second @ second)))
    return correlation >= SAME_SCENE


def same_light(one: bytes | None, other: bytes | None) -> bool:
    """Return whether two views were taken in like light, so that looks can be compared; not when one is not known."""
    if one is None or other is None or not _known(one, other):
        return False
    return all(-SAME_LIGHT <= first - second <= SAME_LIGHT for first, second in zip(one[-3:], other[-3:], strict=True))


def _known(one: bytes | None, other: bytes | None) -> bool:
    return one is not None and other is not None and len(one) == len(other) == VIEW_BYTES


def _crop(picture: Picture, box: Box) -> NDArray[np.uint8]:
    """Return the inner part of a box, never empty, with few enough pixels."""
    height, width = picture.pixels.shape[:2]
    across, down = width / picture.width, height / picture.height
    left = round((box.x + box.width * (1 - INNER) / 2) * across)
    top = round(box.y * down)
    left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    right = min(max(left + 1, round((box.x + box.width * (1 + INNER) / 2) * across)), width)
    bottom = min(max(top + 1, round((box.y + box.height) * down)), height)
    crop = picture.pixels[top:bottom, left:right]
    return crop[:: -(-len(crop) // MOST_ROWS), :: -(-crop.shape[1] // MOST_COLUMNS)]


def _bins(pixels: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Return the bin of hue or brightness of each of the pixels [h, w, 3], RGB."""
    colours = pixels.astype(np.float32) / 255
    red, green, blue = colours[..., 0], colours[..., 1], colours[..., 2]
    value, least = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    spread = value - least
    coloured = (value >= LEAST_VALUE) & (spread >= LEAST_SATURATION * value)
    safe = np.where(spread > 0, spread, 1)
    hue = np.where(
        value == red,
        (green - blue) / safe % 6,
        np.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    hues = np.minimum((hue * (HUES / 6)).astype(np.intp) % HUES, HUES - 1)
    greys = np.minimum((value * GREYS).astype(np.intp), GREYS - 1) + HUES
    return np.where(coloured, hues, greys)


def _histogram(bins: NDArray[np.intp]) -> bytes:
    """Return how many pixels each bin has, of 255 in all."""
    counts = np.bincount(bins.ravel(), minlength=BINS)
    return bytes(np.rint(counts * (255 / counts.sum())).astype(np.uint8))


def _roots(looks: Sequence[bytes | None]) -> Floats:
    """Return the square roots of the looks' shares, [n, stripes, bins]; NaN for one that is not known."""
    known = [look if look is not None and len(look) == LOOK_BYTES else None for look in looks]
    flat = np.frombuffer(b"".join(look or bytes(LOOK_BYTES) for look in known), np.uint8).astype(np.float64)
    shares = flat.reshape(len(looks), STRIPES, BINS)
    sums = shares.sum(axis=2, keepdims=True)
    roots = np.sqrt(shares / np.where(sums > 0, sums, 1))
    roots[[look is None for look in known]] = np.nan
    return np.asarray(roots)
