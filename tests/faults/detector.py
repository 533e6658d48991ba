# SPDX-License-Identifier: AGPL-3.0-or-later
"""A detector that sees what the number in a picture says, and the ways in which it can be wrong."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inference_server.core.detection import Box, Detection, Label
from inference_server.detection.detector import Picture
from inference_server.pipeline.retry import PermanentError
from tests.faults.pictures import Kind, kind_of, seen_in

LATE_SECONDS = 2.0
FOR_EVER_SECONDS = 3600.0


def _person(confidence: float = 0.9, x: float = 4.0) -> tuple[Detection, ...]:
    return (Detection(Label.PERSON, confidence, Box(x, 4, 12, 30)),)


def _fail(_right: list[tuple[Detection, ...]]) -> Any:
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


def _hang(right: list[tuple[Detection, ...]]) -> Any:
    time.sleep(FOR_EVER_SECONDS)
    return right


def _late(right: list[tuple[Detection, ...]]) -> Any:
    time.sleep(LATE_SECONDS)
    return right


WRONG: dict[str, Callable[[list[tuple[Detection, ...]]], Any]] = {
    "fails": _fail,
    "hangs": _hang,
    "is late": _late,
    "says nothing": lambda _right: None,
    "leaves one out": lambda right: right[1:],
    "adds one": lambda right: [*right, ()],
    "says no number": lambda right: [_person(math.nan) for _ in right],
    "is more than certain": lambda right: [_person(7.0) for _ in right],
    "draws no rectangle": lambda right: [_person(x=math.nan) for _ in right],
    "draws outside": lambda right: [_person(x=9000.0) for _ in right],
}
"""What a detector makes of the right answer, by what is wrong with it."""


@dataclass
class NumberedDetector:
    """Implements Detector. `seconds` is how long a call takes; the file `mode` says what is wrong with it now."""

    seconds: float = 0.0
    mode: Path | None = None
    name: str = "Numbered"
    provider: str = "Numbers"
    input_size: int = 64
    parallel: int = 2
    _failed: set[int] = field(default_factory=set)

    def detect(self, pictures: Sequence[Picture]) -> list[tuple[Detection, ...]]:
        """Return what the number in each picture says, or something else."""
        time.sleep(self.seconds)
        right = [self._seen(int.from_bytes(picture.pixels[0, 0].tobytes())) for picture in pictures]
        wrong = self.mode.read_text() if self.mode is not None and self.mode.exists() else ""
        return WRONG[wrong](right) if wrong else right

    def _seen(self, number: int) -> tuple[Detection, ...]:
        kind = kind_of(number)
        if kind is Kind.UNJUDGEABLE:
            raise PermanentError("nobody can judge this")
        if kind is Kind.DIFFICULT and number not in self._failed:
            self._failed.add(number)
            raise RuntimeError("this one is difficult")
        return seen_in(number)
