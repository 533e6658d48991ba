# SPDX-License-Identifier: AGPL-3.0-or-later
"""From Darknet weights to ONNX; what the network sees is tested with the detector."""

import ast
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from inference_server.models.coco import COCO_NAMES
from inference_server.models.darknet import convert_yolov3_tiny
from inference_server.models.errors import ConversionError


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def converted(real_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> onnxruntime.InferenceSession:
    path = tmp_path_factory.mktemp("darknet") / "tiny.onnx"
    convert_yolov3_tiny(real_weights, path, 96, {"license": "Public domain"})
    return session(path)


def test_contract(converted: onnxruntime.InferenceSession) -> None:
    (given,), (answer,) = converted.get_inputs(), converted.get_outputs()
    assert (given.name, given.type, given.shape) == ("images", "tensor(float)", ["N", 3, 96, 96])
    boxes = 3 * (3 * 3 + 6 * 6)
    assert (answer.name, answer.type, answer.shape) == ("output0", "tensor(float)", ["N", 84, boxes])


def test_metadata(converted: onnxruntime.InferenceSession) -> None:
    metadata = converted.get_modelmeta().custom_metadata_map
    assert ast.literal_eval(metadata.pop("names")) == dict(enumerate(COCO_NAMES))
    assert metadata == {
        "task": "detect",
        "imgsz": "[96, 96]",
        "stride": "32",
        "end2end": "False",
        "license": "Public domain",
    }


def test_batch_is_dynamic_and_pictures_do_not_mix(converted: onnxruntime.InferenceSession) -> None:
    pictures = np.random.default_rng(1).random((3, 3, 96, 96), np.float32)
    (together,) = converted.run(None, {"images": pictures})
    for index in range(3):
        (alone,) = converted.run(None, {"images": pictures[index : index + 1]})
        assert together[index] == pytest.approx(alone[0], rel=1e-3, abs=1e-4)


def test_boxes_are_decoded_in_their_cells(converted: onnxruntime.InferenceSession) -> None:
    """A centre lies in its own cell of 32 or 16 pixels; scores are products of probabilities."""
    (answer,) = converted.run(None, {"images": np.full((1, 3, 96, 96), 0.5, np.float32)})
    centres, scores = answer[0, :2], answer[0, 4:]
    for stride, columns in ((32, slice(0, 27)), (16, slice(27, 135))):
        side = 96 // stride
        cells = np.stack([np.tile(np.tile(np.arange(side), side), 3), np.tile(np.repeat(np.arange(side), side), 3)])
        assert np.array_equal(np.floor(centres[:, columns] / stride), cells)
    assert scores.min() >= 0
    assert scores.max() <= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-4], r"w\.weights ends early: at least \d+ numbers expected, 8858733 found"),
        (lambda content: content[:17_000_000], "ends early"),
        (lambda content: content[:-1], "does not end at a whole number"),
        (lambda content: content + bytes(4), "another network: 8858734 numbers expected, 8858735 found"),
        (lambda content: content[:12], "too short"),
    ],
)
def test_other_files_are_refused(
    real_weights: Path, tmp_path: Path, change: Callable[[bytes], bytes], message: str
) -> None:
    wrong = tmp_path / "w.weights"
    wrong.write_bytes(change(real_weights.read_bytes()))
    with pytest.raises(ConversionError, match=message):
        convert_yolov3_tiny(wrong, tmp_path / "m.onnx", 96, {})
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize("size", [0, 100, -32])
def test_other_sizes_are_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(ConversionError, match="multiple of 32"):
        convert_yolov3_tiny(tmp_path / "absent", tmp_path / "m.onnx", size, {})
