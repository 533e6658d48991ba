# SPDX-License-Identifier: AGPL-3.0-or-later
"""What we find is what Ultralytics' own predictor finds, on a network with its architecture and each of its heads.

`parity/record.py` recorded the predictor's answers once, with PyTorch; none of its code runs here. Compared are boxes
within 1 px and scores within 0.001, from the picture to the detections, on pictures whose longer side is the network's:
these need no resize. The fourth one is twice as large. OpenCV, which resizes for the predictor, takes exactly the mean
of four pixels there, and so does this test; from there on it is compared like the others. Our own resize averages over
all pixels (Pillow) where OpenCV's picks some, so at other scales the two see slightly different pictures. What is left
of a scene then is the business of the tests with real weights.

Two rules are ours alone (`postprocess.py`): boxes of one object under several names of a category are one detection,
and what lies beside the picture, in the bars, is none. What these drop is accounted for; nothing else may be missing.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from inference_server.core.detection import Box, Detection, Label
from inference_server.detection.detector import Detector, Picture
from inference_server.detection.postprocess import SAME_LABEL_OVERLAP, SAME_OBJECT_OVERLAP
from inference_server.settings import Backend, DetectorSettings, Device
from tests.server.detection.parity.record import CONFIDENCE, NAMES, OVERLAP, PICTURES, SIZE, scenes
from tests.support.detectors import detector_on

FOLDER = Path(__file__).with_name("parity")
HEADS = ("end_to_end", "candidates")


@pytest.fixture(scope="module", params=[Backend.ONNX, Backend.OPENVINO])
def backend(request: pytest.FixtureRequest) -> Backend:
    """What runs the network."""
    found: Backend = request.param
    return found


@pytest.fixture(scope="module", params=HEADS)
def head(request: pytest.FixtureRequest) -> str:
    """Which of the network's heads."""
    return str(request.param)


@pytest.fixture(scope="module")
def detector(backend: Backend, head: str) -> Detector:
    """The network."""
    settings = DetectorSettings(backend=backend, device=Device.CPU, confidence=CONFIDENCE, threads=1)
    return detector_on(FOLDER / f"{head}.onnx", settings)


def test_the_recording_says_something() -> None:
    """Enough boxes of several classes, whose scores differ: on a constant answer parity would be worth nothing."""
    for head in HEADS:
        found = [one for name in PICTURES for one in answered(head, name)]
        assert len(found) > 50
        assert len({one.label for one in found}) >= 6
        assert np.std([one.confidence for one in found]) > 0.1


@pytest.mark.parametrize("name", PICTURES)
def test_parity(detector: Detector, head: str, name: str) -> None:
    assert unmatched(detector, name, answered(head, name)) == ([], [])


def test_the_suppression_is_the_one_that_was_recorded() -> None:
    assert SAME_LABEL_OVERLAP == OVERLAP
    assert all(name in Label for name in NAMES)


def pictures() -> dict[str, Picture]:
    """Return the pictures as the detector takes them; the large one is resized as OpenCV does it."""
    return {name: _picture(pixels) for name, pixels in scenes().items()}


def answered(head: str, name: str) -> list[Detection]:
    """Return what the predictor answered for a picture, without what lies beside it."""
    recorded = json.loads((FOLDER / "answers.json").read_text())[head][name]
    return [one for row in recorded if (one := _detection(row)).box.width and one.box.height]


def unmatched(detector: Detector, name: str, theirs: Sequence[Detection]) -> tuple[list[Detection], list[Detection]]:
    """Return what only this detector finds in a picture, and what only the predictor does without a good reason."""
    (found,) = detector.detect([pictures()[name]])
    assert found, "the picture shows something to this network"
    ours, missing = list(found), []
    for wanted in theirs:
        match = next((one for one in ours if _is_same(one, wanted)), None)
        if match is None:
            missing.append(wanted)
        else:
            ours.remove(match)
    return ours, [one for one in missing if not any(_is_other_name(stronger, one) for stronger in found)]


def _picture(pixels: NDArray[np.uint8]) -> Picture:
    height, width = pixels.shape[:2]
    if max(height, width) == 2 * SIZE:
        quads = pixels.reshape(height // 2, 2, width // 2, 2, 3).astype(np.uint16)
        pixels = ((quads.sum(axis=(1, 3)) + 2) >> 2).astype(np.uint8)
    return Picture(pixels, width, height)


def _detection(row: list[float]) -> Detection:
    left, top, right, bottom, score, number = row
    return Detection(Label(NAMES[int(number)]), score, Box(left, top, right - left, bottom - top))


def _is_same(ours: Detection, theirs: Detection) -> bool:
    apart = np.abs(np.array(_corners(ours.box)) - np.array(_corners(theirs.box))).max()
    return ours.label is theirs.label and apart <= 1 and abs(ours.confidence - theirs.confidence) <= 1e-3


def _is_other_name(stronger: Detection, weaker: Detection) -> bool:
    """Whether one is the other under a better name of the same category."""
    return (
        stronger.label.category is weaker.label.category
        and stronger.confidence >= weaker.confidence - 1e-3
        and stronger.box.overlap(weaker.box) > SAME_OBJECT_OVERLAP - 0.02
    )


def _corners(box: Box) -> tuple[float, float, float, float]:
    return box.x, box.y, box.x + box.width, box.y + box.height
