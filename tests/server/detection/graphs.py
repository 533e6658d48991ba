# SPDX-License-Identifier: AGPL-3.0-or-later
"""Small ONNX models that answer what a test wants, whatever the picture."""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from inference_server.models.coco import COCO_NAMES

SIZE = 64
"""The input's width and height, in pixels."""

COCO_METADATA = {"names": str(dict(enumerate(COCO_NAMES)))}


def constant_model(
    path: Path,
    answer: NDArray[np.float32],
    *,
    metadata: dict[str, str] | None = None,
    input_shape: tuple[int | str, ...] = ("N", 3, SIZE, SIZE),
    input_type: int = TensorProto.FLOAT,
) -> Path:
    """Write a model that gives `answer` (without the batch dimension) for each picture.

    The pictures' mean times zero is added, so that the batch dimension comes from the input.
    """
    nodes = [
        helper.make_node("Cast", ["images"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Reshape", ["nothing", "column"], ["batch"]),
        helper.make_node("Add", ["batch", "answer"], ["output0"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([1, 2, 3], np.int64), "axes"),
        numpy_helper.from_array(np.zeros((), np.float32), "zero"),
        numpy_helper.from_array(np.array([-1, *[1] * answer.ndim], np.int64), "column"),
        numpy_helper.from_array(answer[None].astype(np.float32), "answer"),
    ]
    output = helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["N", *answer.shape])
    graph = helper.make_graph(
        nodes, "constant", [helper.make_tensor_value_info("images", input_type, input_shape)], [output], constants
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, COCO_METADATA if metadata is None else metadata)
    onnx.save(model, path)
    return path


def end_to_end(*rows: tuple[float, float, float, float, float, int]) -> NDArray[np.float32]:
    """Return an end-to-end answer, [300, 6], of rows x1, y1, x2, y2, score, class; the rest is empty."""
    answer = np.zeros((300, 6), np.float32)
    if rows:
        answer[: len(rows)] = rows
    return answer


def candidates(*rows: tuple[float, float, float, float, float, int], count: int = 84) -> NDArray[np.float32]:
    """Return a candidates answer, [4 + 80, count], of rows x1, y1, x2, y2, score, class; the rest scores nothing."""
    answer = np.zeros((4 + len(COCO_NAMES), count), np.float32)
    for column, (left, top, right, bottom, score, number) in enumerate(rows):
        answer[:4, column] = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
        answer[4 + number, column] = score
    return answer
