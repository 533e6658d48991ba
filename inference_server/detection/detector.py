# SPDX-License-Identifier: AGPL-3.0-or-later
"""The seam between the pipeline and whatever finds objects."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from inference_server.core.detection import Detection


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A decoded frame: RGB, uint8, [height, width, 3], possibly smaller than the frame.

    `width` and `height` are those of the frame itself, in pixels; they are what boxes refer to.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int


@dataclass(frozen=True, slots=True, eq=False)
class StoredPicture:
    """A frame as it is stored: the bytes of a JPEG or PNG, and its width and height in pixels."""

    content: bytes
    width: int
    height: int


class Detector(Protocol):
    """Finds objects. Its methods block, so they are called in a worker thread."""

    @property
    def name(self) -> str:
        """The model's name, for people."""
        ...

    @property
    def provider(self) -> str:
        """What it runs on."""
        ...

    @property
    def input_size(self) -> int:
        """Width and height, in pixels, of what the model sees; pictures need not be larger."""
        ...

    @property
    def parallel(self) -> int:
        """How many calls of `detect` are worth making at a time."""
        ...

    def detect(self, pictures: Sequence[Picture]) -> list[tuple[Detection, ...]]:
        """Return each picture's detections, best first, with boxes in pixels of the frame."""
        ...


@runtime_checkable
class DetectorElsewhere(Detector, Protocol):
    """A detector on another machine: it takes frames as they are stored, and is waited for instead of worked for."""

    async def detect_stored(self, pictures: Sequence[StoredPicture]) -> list[tuple[Detection, ...]]:
        """Return each frame's detections, best first, with boxes in pixels of the frame.

        Raises PictureUnreadable, DetectorLied, DetectorElsewhereError.
        """
        ...

    async def try_out(self) -> None:
        """Return once it has judged a picture that holds nothing. Raises DetectorLied, DetectorElsewhereError."""
        ...
