# SPDX-License-Identifier: AGPL-3.0-or-later
"""A detector whose batches become smaller where memory runs out, down to one picture, and stay so."""

import logging
from collections.abc import Callable, Sequence

from inference_server.core.detection import Detection
from inference_server.core.memory import is_out_of_memory
from inference_server.detection.checks import checked
from inference_server.detection.detector import Detector, Picture
from inference_server.detection.errors import DetectorOutOfMemory

_LOGGER = logging.getLogger(__name__)

REMEDY = "End what else uses its memory, or choose a smaller model (detector.model) or tier (hardware.tier)."


class FittingDetector:
    """Stands before a detector of this machine. Safe to use from several threads."""

    def __init__(
        self,
        detector: Detector,
        batch: int,
        *,
        make_room: Callable[[], None] = lambda: None,
        shrunk: Callable[[int, str], None] = lambda _batch, _reason: None,
    ) -> None:
        """Take a detector that infers so many pictures at a time.

        `make_room` blocks until idle models have left. `shrunk` is told of each smaller size, and why. Both are called
        on the thread that detects.
        """
        self._detector = detector
        self._make_room = make_room
        self._shrunk = shrunk
        self.batch = batch
        """How many pictures are inferred at a time now."""

    @property
    def name(self) -> str:
        """The model's name, for people."""
        return self._detector.name

    @property
    def provider(self) -> str:
        """What it runs on."""
        return self._detector.provider

    @property
    def input_size(self) -> int:
        """Width and height, in pixels, of what the model sees; pictures need not be larger."""
        return self._detector.input_size

    @property
    def parallel(self) -> int:
        """How many calls of `detect` are worth making at a time."""
        return self._detector.parallel

    def detect(self, pictures: Sequence[Picture]) -> list[tuple[Detection, ...]]:
        """Return each picture's detections, in batches that fit.

        Raises DetectorOutOfMemory where one picture alone does not fit, DetectorLied for an answer that cannot be true,
        and what the detector raises.
        """
        found: list[tuple[Detection, ...]] = []
        while len(found) < len(pictures):
            group = pictures[len(found) : len(found) + self.batch]
            reason = self._try(group, found)
            if reason is not None and len(group) > 1:
                self._shrink(len(group) // 2, reason)
            elif reason is not None:
                self._once_more(group, found)
        return found

    def _try(self, group: Sequence[Picture], found: list[tuple[Detection, ...]]) -> str | None:
        """Add what is in a group of pictures; return why there was no memory for it, if that is so."""
        try:
            found += checked(group, self._detector.detect(group))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            # Its traceback would keep the pictures and the library's buffers until the next attempt is over.
            return str(error) or type(error).__name__
        return None

    def _shrink(self, batch: int, reason: str) -> None:
        if batch >= self.batch:  # another thread was here before
            return
        self.batch = batch
        _LOGGER.warning("Memory ran out on %s (%s): %d pictures at a time from now on", self.provider, reason, batch)
        self._shrunk(batch, reason)

    def _once_more(self, group: Sequence[Picture], found: list[tuple[Detection, ...]]) -> None:
        """Try one picture again, without the models that nobody uses now. Raises DetectorOutOfMemory."""
        self._make_room()
        if (reason := self._try(group, found)) is not None:
            message = f"There is no memory for one picture on {self.provider} ({reason})."
            raise DetectorOutOfMemory(message, REMEDY)
