# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a model file says of itself, whatever runs it: its input, and what exporters write into the metadata."""

import ast
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inference_server.detection.errors import DetectorUnusable

DEFAULT_INPUT_SIZE = 640
TASK = "detect"
MOST_PIXELS_A_SIDE = 4096
"""A model that wants more takes gigabytes for each picture."""
MOST_IN_A_BATCH = 64
MOST_OUTPUT_BYTES = 64 << 20
"""Of one picture; [84, 33600], the candidates of 1280 pixels, are 11 MB."""
_FLOAT_BYTES = 4

_EXPECTED = "one input, float32 [N, 3, S, S]"


@dataclass(frozen=True, slots=True)
class ModelInput:
    """What a model takes: float32 [N, 3, size, size] under this name.

    `batch` is N where it is fixed; `most` is what it is at most, where the model says that.
    """

    name: str
    size: int
    batch: int | None
    most: int | None = None


@dataclass(frozen=True, slots=True)
class RawInput:
    """One input as a library tells it: name, element type in its own words, sides (None where they may vary)."""

    name: str
    kind: str
    is_float32: bool
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        """Describe it for people."""
        return f"{self.name}, {self.kind} [{', '.join('any' if side is None else str(side) for side in self.shape)}]"


def read_input(inputs: Sequence[RawInput], metadata: Mapping[str, str], wanted_size: int | None) -> ModelInput:
    """Return what a model takes, with `wanted_size` where the model leaves its size open.

    Raises DetectorUnusable for what cannot be fed, and for a wanted size that the model does not take.
    """
    if len(inputs) != 1:
        raise DetectorUnusable(f"{_EXPECTED} was expected; found {len(inputs)} inputs")
    given = inputs[0]
    if not given.is_float32 or len(given.shape) != 4 or given.shape[1] != 3:
        raise DetectorUnusable(f"{_EXPECTED} was expected; found {given}")
    batch, _, height, width = given.shape
    if batch is not None and not 1 <= batch <= MOST_IN_A_BATCH:
        raise DetectorUnusable(f"at most {MOST_IN_A_BATCH} pictures at a time were expected; found {given}")
    fixed = {side for side in (height, width) if side is not None}
    if len(fixed) > 1:
        raise DetectorUnusable(f"{_EXPECTED} was expected; found {given}, which is not square")
    size = _sized(fixed.pop(), wanted_size) if fixed else wanted_size or _stated_size(metadata)
    _check_size(size, _stated_stride(metadata))
    return ModelInput(given.name, size, batch)


def check_outputs(shapes: Sequence[Sequence[int | None]]) -> None:
    """Raise DetectorUnusable unless there is one output, and one that a machine can hold where its size is stated."""
    if len(shapes) != 1:
        raise DetectorUnusable(f"one output was expected; found {len(shapes)}")
    per_picture = [side for side in shapes[0][1:] if side is not None]
    if math.prod(per_picture) * _FLOAT_BYTES > MOST_OUTPUT_BYTES:
        raise DetectorUnusable(
            f"an output of at most {MOST_OUTPUT_BYTES >> 20} MiB for a picture was expected; found {list(shapes[0])}"
        )


def check_task(metadata: Mapping[str, str]) -> None:
    """Raise DetectorUnusable for a model that says it does something else than detecting (segment, pose...)."""
    task = metadata.get("task", TASK).strip().lower()
    if task != TASK:
        raise DetectorUnusable(f"a model for the task {TASK} was expected; found one for the task {task!r}")


def _sized(fixed: int, wanted: int | None) -> int:
    if wanted is not None and wanted != fixed:
        raise DetectorUnusable(
            f"an input of {wanted} pixels was wanted (detector.input_size); the model takes {fixed} pixels and no "
            "other: remove the setting, or export the model with dynamic=True"
        )
    return fixed


def _check_size(size: int, stride: int) -> None:
    if not 1 <= size <= MOST_PIXELS_A_SIDE:
        raise DetectorUnusable(f"an input of at most {MOST_PIXELS_A_SIDE} pixels a side was expected; found {size}")
    if size % stride:
        raise DetectorUnusable(f"an input that is a multiple of the model's stride {stride} was expected; found {size}")


def _stated_size(metadata: Mapping[str, str]) -> int:
    """Return the side that an exporter wrote (`imgsz`, such as "[640, 640]") for a model that takes any size."""
    return _number(metadata.get("imgsz", "")) or DEFAULT_INPUT_SIZE


def _stated_stride(metadata: Mapping[str, str]) -> int:
    """Return the largest stride that an exporter wrote, else 1: what says nothing is believed to take its own size."""
    stated = _number(metadata.get("stride", "")) or 1
    return stated if 1 <= stated <= MOST_PIXELS_A_SIDE else 1


def _number(text: str) -> int | None:
    """Return a number, or the largest of a list of them, from the Python literal that exporters write."""
    try:
        stated = ast.literal_eval(text)
        return max(int(value) for value in stated) if isinstance(stated, list | tuple) else int(stated)
    except (ValueError, SyntaxError, TypeError, OverflowError, MemoryError, RecursionError):
        return None
