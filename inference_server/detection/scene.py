# SPDX-License-Identifier: AGPL-3.0-or-later
"""What of a camera's view stays: a signature of each picture, and a baseline learnt of them.

A view is known again by the directions of its edges, as they survive sun, shade, dusk and infrared light. The direction
of an edge is kept as twice its angle (the orientation tensor of Bigun and Granlund, 1987), so that an edge between
light and dark is the same as one between dark and light, and so that what passes by averages out.
"""

import zlib
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference_server.core.view import EDGES, REGIONS, Baseline, Light

_, HEIGHT, WIDTH = EDGES
"""Cells of a signature, whatever the picture's size and aspect."""
COLUMNS, ROWS = 4, 3
"""Regions of a view, of 16 by 12 cells; each is judged by itself, so that what covers a part is told from the whole."""
_FINE = 5
"""Pixels of the fine picture per cell and direction: details are looked at in 320 by 180 pixels, without much noise."""
_PRINTS = 8, 6
"""Blocks of a picture, across and down, that have a checksum."""
FEW_PRINTS = 12
"""With fewer blocks that are not of one brightness nobody can tell a frozen picture."""
PLAIN = -1
"""Instead of a checksum: the block is of one brightness, as a mask or the night is."""

NOISE = 2.0
"""Differences of neighbouring cells, of 255, that are no edge."""
INFRARED_COLOUR = 6.0
"""The mean spread of red, green and blue, of 255, below which a picture is grey."""
DIM = 70.0
"""The mean brightness, of 255, below which a picture in colour is one of dusk or of a lit night."""
DARK = 20.0
"""Where all but a twentieth of the picture is darker than this, of 255, nothing can be seen."""
MASKED = 2.0
"""Cells as black as this at every time are privacy masks: their outlines stay when the lens is covered."""

PERSISTENT = 0.35
"""The strength, of 1, from which an edge of the baseline counts as one that stays."""
FEW_CELLS = 8
"""A region with fewer cells with such edges has nothing to be known again by."""
FEW_REGIONS = 4
"""So does a view with fewer such regions: of it nothing but darkness can be told."""

LEARN_SECONDS = 10.0
"""How far apart the first pictures are that are learnt from."""
KEEP_LEARNING_SECONDS = 60.0
"""And the later ones."""
FIRST_PICTURES = 6
"""From so many pictures on a baseline is one."""
MEMORY = 20
"""The weight of what is known against a new picture: a baseline follows the light within about twenty minutes."""

type Edges = NDArray[np.float32]
"""Edges [2, HEIGHT, WIDTH]: strength (0 to 1) times cosine and sine of twice the angle."""
type PerRegion = NDArray[np.float32]
"""A number [REGIONS] for each region, row by row."""


@dataclass(frozen=True, slots=True, eq=False)
class Signature:
    """What a picture is known again by."""

    light: Light
    brightness: float
    """Mean, of 255."""
    glimmer: float
    """What all but a twentieth of the cells are darker than, of 255."""
    edges: Edges
    black: NDArray[np.bool_]
    """Cells [HEIGHT, WIDTH] that a privacy mask may have made black."""
    energy: PerRegion
    """Mean difference of neighbouring cells that are not black, relative to the brightness."""
    detail: PerRegion
    """Differences of neighbouring pixels relative to those of cells: what a lens out of focus loses."""
    prints: tuple[int, ...]
    """Checksums of the picture's blocks: a living camera's noise changes them all."""

    @property
    def is_dark(self) -> bool:
        """Whether nothing can be seen."""
        return self.glimmer < DARK


@dataclass(frozen=True, slots=True, eq=False)
class Likeness:
    """How a picture compares with a baseline, for the regions that have something to be known again by."""

    found: PerRegion
    """The share of the lasting edges that are there again: 1 all, about 0 those of another view."""
    energy: PerRegion
    """Differences relative to those of the baseline: 1 the same."""
    detail: PerRegion
    """Details relative to those of the baseline: 1 as sharp."""

    @property
    def is_telling(self) -> bool:
        """Whether there are enough regions to judge by."""
        return len(self.found) >= FEW_REGIONS


def sign(pixels: NDArray[np.uint8]) -> Signature:
    """Return the signature of a picture, RGB [height, width, 3]."""
    image = Image.fromarray(pixels)
    cells = np.asarray(image.resize((WIDTH, HEIGHT), Image.Resampling.BOX), np.float32)
    grey = image.convert("L")
    fine = np.asarray(grey.resize((WIDTH * _FINE, HEIGHT * _FINE), Image.Resampling.BOX), np.int16)
    coarse = cells @ np.array([0.299, 0.587, 0.114], np.float32)
    across, down = np.gradient(coarse, axis=1), np.gradient(coarse, axis=0)
    strength = np.hypot(across, down)
    brightness = float(coarse.mean())
    black = coarse <= MASKED
    open_cells = (~_grown(black)).astype(np.float32)
    energy = _per_region(strength * open_cells) / np.maximum(_per_region(open_cells), np.float32(1e-3))
    return Signature(
        light=_light(cells, brightness),
        brightness=brightness,
        glimmer=float(np.percentile(coarse, 95)),
        edges=_edges(across, down, strength),
        black=black,
        energy=energy / np.float32(brightness + 16),
        detail=_details(fine) / (_strongest(strength) + np.float32(NOISE)),
        prints=_prints(np.asarray(grey)),
    )


def is_ready(baseline: Baseline) -> bool:
    """Return whether enough was learnt to judge by a baseline."""
    return baseline.pictures >= FIRST_PICTURES


def learnt(baseline: Baseline | None, seen: Signature, at: datetime) -> Baseline:
    """Return a baseline with what a picture adds; itself where the last one was too short a time ago."""
    black = seen.black.astype(np.float32)
    if baseline is None:
        return Baseline(seen.edges, black, seen.energy, seen.detail, 1, at)
    pause = KEEP_LEARNING_SECONDS if is_ready(baseline) else LEARN_SECONDS
    if abs((at - baseline.learnt_at).total_seconds()) < pause:
        return baseline
    pictures = min(baseline.pictures + 1, MEMORY)

    def mixed(known: NDArray[np.float32], new: NDArray[np.float32]) -> NDArray[np.float32]:
        return known + (new - known) / np.float32(pictures)

    return Baseline(
        mixed(baseline.edges, seen.edges),
        mixed(baseline.black, black),
        mixed(baseline.energy, seen.energy),
        mixed(baseline.detail, seen.detail),
        pictures,
        at,
    )


def compare(seen: Signature, baseline: Baseline) -> Likeness:
    """Return how a picture compares with a baseline."""
    strength = np.hypot(*baseline.edges)
    lasting = strength * (strength > PERSISTENT) * ~_grown(baseline.black > 0.5)
    agreement = (seen.edges * baseline.edges).sum(axis=0) * (lasting > 0)
    expected = _per_region(lasting**2)
    telling = _per_region((lasting > 0).astype(np.float32)) * (WIDTH * HEIGHT / REGIONS) >= FEW_CELLS
    return Likeness(
        found=_per_region(agreement)[telling] / expected[telling],
        energy=seen.energy[telling] / np.maximum(baseline.energy[telling], np.float32(1e-3)),
        detail=seen.detail[telling] / np.maximum(baseline.detail[telling], np.float32(1e-3)),
    )


def same_share(prints: tuple[int, ...], before: tuple[int, ...]) -> float:
    """Return how much of a picture, 0 to 1, is pixel by pixel that of another one; plain parts do not tell."""
    pairs = [(one, other) for one, other in zip(prints, before, strict=False) if PLAIN not in (one, other)]
    return sum(one == other for one, other in pairs) / len(pairs) if len(pairs) >= FEW_PRINTS else 0.0


def _light(cells: NDArray[np.float32], brightness: float) -> Light:
    if float((cells.max(axis=2) - cells.min(axis=2)).mean()) < INFRARED_COLOUR:
        return Light.INFRARED
    return Light.DIM if brightness < DIM else Light.DAY


def _edges(across: NDArray[np.float32], down: NDArray[np.float32], strength: NDArray[np.float32]) -> Edges:
    squared = np.maximum(strength**2, np.float32(1e-6))
    weight = strength / (strength + NOISE + strength.mean() / 2)
    tensor = np.stack([(across**2 - down**2) / squared, 2 * across * down / squared])
    return np.asarray(tensor * weight, np.float32)


def _details(fine: NDArray[np.int16]) -> PerRegion:
    """Return how steep the steepest edges of each region are, above its noise."""
    steps = np.abs(np.diff(fine, axis=1, append=fine[:, -1:])) + np.abs(np.diff(fine, axis=0, append=fine[-1:]))
    usual, steepest = np.percentile(_regions(steps), (50, 95), axis=1)
    return np.asarray(steepest - usual, np.float32)


def _strongest(values: NDArray[np.float32]) -> PerRegion:
    return np.asarray(np.percentile(_regions(values), 95, axis=1), np.float32)


def _per_region(values: NDArray[np.float32]) -> PerRegion:
    """Return the mean of each region, row by row."""
    return np.asarray(_regions(values).mean(axis=1), np.float32)


def _regions[Number: np.generic](values: NDArray[Number]) -> NDArray[Number]:
    """Return the values [REGIONS, number] of each region."""
    height, width = values.shape
    blocks = values.reshape(ROWS, height // ROWS, COLUMNS, width // COLUMNS)
    return blocks.transpose(0, 2, 1, 3).reshape(REGIONS, -1)


def _grown(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the cells and their neighbours."""
    padded = np.pad(cells, 1)
    height, width = cells.shape
    grown = np.zeros_like(cells)
    for row in range(3):
        for column in range(3):
            grown |= padded[row : row + height, column : column + width]
    return grown


def _prints(grey: NDArray[np.uint8]) -> tuple[int, ...]:
    columns, rows = _PRINTS
    return tuple(
        PLAIN if block.min() == block.max() else zlib.crc32(np.ascontiguousarray(block))
        for band in np.array_split(grey, rows)
        for block in np.array_split(band, columns, axis=1)
        if block.size
    )
