# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where memory runs out batches become smaller, nothing crashes and no picture is lost."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference_server.core.detection import Box, Detection, Label
from inference_server.core.message import StageName
from inference_server.detection.backends.opening import Opened
from inference_server.detection.detector import Picture
from inference_server.detection.errors import DetectorLied, DetectorOutOfMemory
from inference_server.observability.health import HealthState
from inference_server.pipeline.fitting import FittingDetector
from tests.support.bench import Bench, ScriptedDetector, a_person, bench

WORDS = (
    "CUDA error cudaErrorMemoryAllocation:out of memory",
    "[ONNXRuntimeError] : 6 : BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 10",
    "CUDA: cudaError_t.cudaErrorMemoryAllocation",
    "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
    "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0",
    "[GPU] clEnqueueNDRangeKernel, error code: -4 CL_MEM_OBJECT_ALLOCATION_FAILURE",
    "std::bad_alloc",
)
SEEN = (Detection(Label.PERSON, 0.9, Box(1, 1, 2, 2)),)


class Tight:
    """A detector with memory for so many pictures at a time."""

    name, provider, input_size, parallel = "Tight", "CUDAExecutionProvider", 32, 1

    def __init__(self, room: int, words: str = WORDS[0]) -> None:
        """Begin without a call."""
        self.room = room
        self.words = words
        self.calls: list[int] = []

    def detect(self, pictures: Sequence[Picture]) -> list[tuple[Detection, ...]]:
        """See a person in each picture, where there is room for all of them."""
        self.calls.append(len(pictures))
        if len(pictures) > self.room:
            raise RuntimeError(self.words)
        return [SEEN for _ in pictures]


def _pictures(count: int) -> list[Picture]:
    return [Picture(np.zeros((4, 4, 3), np.uint8), 4, 4) for _ in range(count)]


@pytest.mark.parametrize("words", WORDS)
def test_a_batch_that_does_not_fit_is_halved_and_stays_so(words: str) -> None:
    tight, told = Tight(3, words), []
    fitting = FittingDetector(tight, 8, shrunk=lambda batch, reason: told.append((batch, reason)))
    assert fitting.detect(_pictures(10)) == [SEEN] * 10
    assert tight.calls == [8, 4, 2, 2, 2, 2, 2]
    assert told == [(4, words), (2, words)]
    tight.calls.clear()
    assert fitting.detect(_pictures(3)) == [SEEN] * 3
    assert (tight.calls, fitting.batch, len(told)) == ([2, 1], 2, 2)


def test_one_picture_that_does_not_fit_is_tried_again_without_idle_models() -> None:
    tight = Tight(0)
    fitting = FittingDetector(tight, 1, make_room=lambda: setattr(tight, "room", 1))
    assert fitting.detect(_pictures(2)) == [SEEN] * 2
    assert tight.calls == [1, 1, 1]


def test_then_it_says_what_to_do() -> None:
    asked: list[None] = []
    fitting = FittingDetector(Tight(0), 4, make_room=lambda: asked.append(None))
    with pytest.raises(DetectorOutOfMemory, match="no memory for one picture on CUDAExecutionProvider") as told:
        fitting.detect(_pictures(4))
    assert "detector.model" in told.value.remedy
    assert (len(asked), fitting.batch) == (1, 1)


@pytest.mark.parametrize("said", [[], [SEEN] * 5, None])
def test_a_detector_that_says_too_little_or_too_much_is_asked_once(said: Any) -> None:
    script = ScriptedDetector()
    vars(script)["detect"] = lambda _pictures: said
    with pytest.raises(DetectorLied):
        FittingDetector(script, 4).detect(_pictures(3))


def test_other_failures_are_the_detectors_own() -> None:
    tight = Tight(0, "a wrong shape")
    with pytest.raises(RuntimeError, match="a wrong shape"):
        FittingDetector(tight, 4).detect(_pictures(4))
    assert tight.calls == [4]


class _TightScript(ScriptedDetector):
    """The detector of the bench, with memory for so many pictures at a time."""

    room = 2

    def detect(self, pictures: Sequence[Picture]) -> list[tuple[Detection, ...]]:
        if len(pictures) > self.room:
            raise RuntimeError(WORDS[1])
        return super().detect(pictures)


async def _with(made: Bench, detector: _TightScript) -> None:
    detector.script = made.detector.script
    made.judging.exchange(Opened(detector, batch=8))
    await asyncio.sleep(0)


async def test_no_picture_is_lost_where_batches_do_not_fit(tmp_path: Path) -> None:
    """From the file to what health says."""
    async with bench(tmp_path) as made:
        await _with(made, tight := _TightScript())
        await made.take(*(made.picture(a_person()) for _ in range(8)))
        await made.work()
        assert sorted(number for call in tight.calls for number in call) == list(range(1, 9))
        assert len(await made.detections()) == 8
        await asyncio.sleep(0)
        health = next(one for one in made.health.components if one.name == "detector")
        assert (health.state, health.details["batch"]) == (HealthState.DEGRADED, 2)
        assert "2 picture(s) are inferred at a time" in (health.last_error or "")
        assert health.still_works == "Pictures are judged, fewer at a time."
        assert "set detector.max_batch to 2" in (health.remedy or "")


async def test_pictures_wait_while_there_is_memory_for_none(tmp_path: Path) -> None:
    async with bench(tmp_path) as made:
        tight = _TightScript()
        tight.room = 0
        await _with(made, tight)
        await made.take(*(made.picture(a_person()) for _ in range(2)))
        claimed = await made.broker.claim(StageName.DETECT, 32)
        with pytest.raises(Exception, match="no memory for one picture"):
            await made.detect.consume(claimed)
        assert not made.judging.breaker.is_closed, "it is left alone at once, whatever the number of pictures"
        health = next(one for one in made.health.components if one.name == "detector")
        assert health.state is HealthState.DOWN
        assert "hardware.tier" in (health.remedy or "")
        await made.broker.release(claimed)
        tight.room = 1
        made.judging.breaker.succeeded()
        await made.work()
        assert len(await made.detections()) == 2
