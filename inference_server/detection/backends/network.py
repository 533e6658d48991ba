# SPDX-License-Identifier: AGPL-3.0-or-later
"""A detector made of a network that some library runs, and of the same steps before and after it for all of them."""

import logging
import os
from collections.abc import Mapping, Sequence
from itertools import batched
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inference_server.core.detection import Detection
from inference_server.core.memory import is_out_of_memory, return_free_memory
from inference_server.detection.backends.model import MOST_OUTPUT_BYTES, ModelInput, check_task
from inference_server.detection.backends.provider import batch_of
from inference_server.detection.detector import Picture
from inference_server.detection.errors import DetectorUnusable
from inference_server.detection.postprocess import read_layout
from inference_server.detection.preprocess import empty_batch, place
from inference_server.settings import DetectorSettings

_LOGGER = logging.getLogger(__name__)

PARALLEL = 2
"""Two pictures at a time, each on half of the threads: while one is decoded the other one is inferred, and no thread
waits for another at the end of each layer. On two cores that is a tenth more than one picture on both."""

type Floats = NDArray[np.float32]


class Network(Protocol):
    """A loaded model. `run` blocks and may be called from several threads."""

    @property
    def input(self) -> ModelInput:
        """What it takes."""
        ...

    @property
    def metadata(self) -> Mapping[str, str]:
        """What its exporter wrote."""
        ...

    @property
    def provider(self) -> str:
        """What it runs on, for people: what is really used, not what was asked for."""
        ...

    @property
    def parallel(self) -> int:
        """How many calls of `run` are worth making at a time."""
        ...

    def run(self, batch: Floats) -> Floats:
        """Return the only output for float32 [N, 3, S, S]. Raises whatever the library raises."""
        ...


class NetworkDetector:
    """Runs a network with one of the two outputs that `postprocess` reads. Safe to use from several threads."""

    def __init__(self, network: Network, settings: DetectorSettings, *, name: str) -> None:
        """Check the network by running it once, so that the first picture is not the slow one either.

        Raises DetectorUnusable, saying what was expected and found.
        """
        self._network = network
        self._settings = settings
        self._name = name
        check_task(network.metadata)
        self._layout = read_layout(self._trial_run(), network.metadata)
        return_free_memory()

    @property
    def name(self) -> str:
        """The model's name, for people."""
        return self._name

    @property
    def provider(self) -> str:
        """What the model runs on."""
        return self._network.provider

    @property
    def input_size(self) -> int:
        """Width and height, in pixels, of what the model sees; pictures need not be larger."""
        return self._network.input.size

    @property
    def parallel(self) -> int:
        """How many calls of `detect` are worth making at a time; they share the threads of the settings."""
        return self._network.parallel

    @property
    def batch(self) -> int:
        """How many pictures one inference takes at most: what the model has fixed, the settings, or what suits it."""
        given = self._network.input
        suits = self._settings.max_batch or batch_of(self._network.provider)
        return given.batch or min(suits, given.most or suits)

    def detect(self, pictures: Sequence[Picture]) -> list[tuple[Detection, ...]]:
        """Return each picture's detections, best first, with boxes in pixels of the frame."""
        return [found for group in batched(pictures, self.batch) for found in self._detect_group(group)]

    def _trial_run(self) -> tuple[int, ...]:
        """Run on grey and return the output's shape: what a model states of itself may leave it open.

        One picture and the largest batch: some models take any number and answer for one. Where the memory does not
        last for that many, the batches become smaller later.
        """
        shape = self._tried(self._network.input.batch or 1)
        try:
            self._tried(self.batch)
        except DetectorUnusable as error:
            if error.__cause__ is None or not is_out_of_memory(error.__cause__):
                raise
            _LOGGER.warning("%s has no memory for %d pictures at a time", self.provider, self.batch)
        return shape

    def _tried(self, count: int) -> tuple[int, ...]:
        try:
            output = self._network.run(empty_batch(count, self._network.input.size))
        except Exception as error:  # the libraries' errors have no common base class
            of = f" with {count} pictures" if count > 1 else ""
            raise DetectorUnusable(f"the trial run{of} failed: {error}") from error
        if output.nbytes > MOST_OUTPUT_BYTES * count:
            raise DetectorUnusable(
                f"at most {MOST_OUTPUT_BYTES >> 20} MiB of output for a picture were expected; found {output.shape}, "
                f"{output.nbytes >> 20} MiB"
            )
        if output.ndim and output.shape[0] != count:
            raise DetectorUnusable(f"an output for each of {count} pictures was expected; found {list(output.shape)}")
        return output.shape

    def _detect_group(self, pictures: Sequence[Picture]) -> list[tuple[Detection, ...]]:
        batch = empty_batch(self._network.input.batch or len(pictures), self._network.input.size)
        letterboxes = [place(picture, slot) for picture, slot in zip(pictures, batch, strict=False)]
        output = self._network.run(batch)
        return [
            self._layout.read(rows, letterbox, picture, self._settings.threshold)
            for rows, letterbox, picture in zip(output, letterboxes, pictures, strict=False)
        ]


def threads_of(settings: DetectorSettings) -> int:
    """Return how many processor threads a detector may use."""
    return settings.threads or _cores()


def _cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
