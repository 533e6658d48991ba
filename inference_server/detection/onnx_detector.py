# SPDX-License-Identifier: AGPL-3.0-or-later
"""A detector on ONNX Runtime."""

import ast
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import batched
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from inference_server.core.detection import Detection
from inference_server.core.memory import return_free_memory
from inference_server.detection.detector import Picture
from inference_server.detection.errors import DetectorUnusable
from inference_server.detection.postprocess import read_layout
from inference_server.detection.preprocess import empty_batch, place
from inference_server.settings import DetectorSettings

CPU = "CPUExecutionProvider"
DEFAULT_INPUT_SIZE = 640
PARALLEL = 2
"""Two pictures at a time, each on half of the threads: while one is decoded the other one is inferred, and no thread
waits for another at the end of each layer. On two cores that is a tenth more than one picture on both."""


@dataclass(frozen=True, slots=True)
class ModelInput:
    """What a model takes: float32 [N, 3, size, size] under this name; `batch` is N where it is fixed."""

    name: str
    size: int
    batch: int | None


class OnnxDetector:
    """Runs an ONNX model with one of the two outputs that `postprocess` reads. Safe to use from several threads."""

    def __init__(self, path: Path, settings: DetectorSettings, *, name: str | None = None) -> None:
        """Load and validate a model, and run it once so that the first picture is not the slow one.

        Raises DetectorUnusable for a file that cannot serve.
        """
        self._settings = settings
        self._name = name or path.stem
        threads = settings.threads or _cores()
        self._parallel = min(PARALLEL, threads)
        self._session = _open_session(path, math.ceil(threads / self._parallel))
        metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        try:
            self._input = _read_input(self._session, metadata)
            self._layout = read_layout(self._trial_run(), metadata)
        except DetectorUnusable as error:
            raise DetectorUnusable(f"{path.name} cannot be used as a detector: {error}") from error
        return_free_memory()

    @property
    def name(self) -> str:
        """The model's name, for people."""
        return self._name

    @property
    def provider(self) -> str:
        """ONNX Runtime's name of what the model runs on."""
        return str(self._session.get_providers()[0])

    @property
    def input_size(self) -> int:
        """Width and height, in pixels, of what the model sees; pictures need not be larger."""
        return self._input.size

    @property
    def parallel(self) -> int:
        """How many calls of `detect` are worth making at a time; they share the threads of the settings."""
        return self._parallel

    def detect(self, pictures: Sequence[Picture]) -> list[tuple[Detection, ...]]:
        """Return each picture's detections, best first, with boxes in pixels of the frame."""
        size = self._input.batch or self._settings.max_batch
        return [found for group in batched(pictures, size) for found in self._detect_group(group)]

    def _trial_run(self) -> tuple[int, ...]:
        """Run once on grey and return the output's shape: what a model states of itself may leave it open."""
        outputs = self._session.get_outputs()
        if len(outputs) != 1:
            raise DetectorUnusable(f"one output was expected; found {len(outputs)}")
        try:
            return self._run(empty_batch(self._input.batch or 1, self._input.size)).shape
        except Exception as error:  # ONNX Runtime's errors have no public base class
            raise DetectorUnusable(f"the trial run failed: {error}") from error

    def _detect_group(self, pictures: Sequence[Picture]) -> list[tuple[Detection, ...]]:
        batch = empty_batch(self._input.batch or len(pictures), self._input.size)
        letterboxes = [place(picture, slot) for picture, slot in zip(pictures, batch, strict=False)]
        output = self._run(batch)
        return [
            self._layout.read(rows, letterbox, picture, self._settings.threshold)
            for rows, letterbox, picture in zip(output, letterboxes, pictures, strict=False)
        ]

    def _run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        output = self._session.run(None, {self._input.name: batch})[0]
        return np.asarray(output, np.float32)


def _cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _open_session(path: Path, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # The arena would hold on to the memory of the largest run, and saves no time that can be measured.
    options.enable_cpu_mem_arena = False
    # Spinning threads would take the cores that the language model beside it needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(path, options, providers=[CPU])
    except Exception as error:  # ONNX Runtime's errors have no public base class
        found = f"{path.stat().st_size} bytes that ONNX Runtime refuses" if path.is_file() else "no such file"
        raise DetectorUnusable(f"{path.name}: an ONNX model was expected; found {found} ({error})") from error


def _read_input(session: Any, metadata: Mapping[str, str]) -> ModelInput:
    inputs = session.get_inputs()
    expected = "one input, float32 [N, 3, S, S]"
    if len(inputs) != 1:
        raise DetectorUnusable(f"{expected} was expected; found {len(inputs)} inputs")
    name, kind, shape = inputs[0].name, inputs[0].type, list(inputs[0].shape)
    if kind != "tensor(float)" or len(shape) != 4 or shape[1] != 3:
        raise DetectorUnusable(f"{expected} was expected; found {name}, {kind} {shape}")
    sides = [side if isinstance(side, int) else _stated_size(metadata) for side in shape[2:]]
    if sides[0] != sides[1]:
        raise DetectorUnusable(f"{expected} was expected; found {name}, {kind} {shape}, which is not square")
    return ModelInput(name, sides[0], shape[0] if isinstance(shape[0], int) else None)


def _stated_size(metadata: Mapping[str, str]) -> int:
    """Return the side that an exporter wrote (`imgsz`, such as "[640, 640]") for a model that takes any size."""
    try:
        stated = ast.literal_eval(metadata.get("imgsz", ""))
        return int(stated[0] if isinstance(stated, list | tuple) else stated)
    except (ValueError, SyntaxError, TypeError, IndexError):
        return DEFAULT_INPUT_SIZE
