# SPDX-License-Identifier: AGPL-3.0-or-later
"""The tool process that gives the convolutions of an ONNX model 8-bit numbers.

Usage: python quantise_tool.py MODEL.onnx TARGET.onnx PICTURES.npy METHOD FORM

PICTURES.npy holds uint8 [n, 3, S, S], as the model takes them but 0 to 255. METHOD (minmax, percentile) says
how the range of an activation follows from the values that occur, FORM (asymmetric, symmetric) whether zero may be
anywhere in it, or is in the middle as TensorRT wants it. Needs nothing of ours, and ONNX Runtime with the package onnx.
Prints `progress 0.25` again and again. What is written keeps the model's metadata.

Weights have a scale for each channel, activations one for each tensor. The last convolutions, whose outputs are boxes
and scores, keep their numbers: they take little time, and with YOLOv3-tiny the boxes overlap by 0.95 instead of 0.89.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SCALE = 255


def quantise(model: Path, target: Path, pictures: Path, method: str, symmetric: bool) -> None:
    """Write the quantised form of a model. Raises ValueError for a model that has nothing to quantise, and others."""
    import onnx  # noqa: PLC0415
    from onnxruntime.quantization import QuantType  # noqa: PLC0415
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer  # noqa: PLC0415
    from onnxruntime.quantization.quant_utils import load_model_with_shape_infer  # noqa: PLC0415

    source = onnx.load(str(model))
    if any(node.op_type in {"QuantizeLinear", "DequantizeLinear"} for node in source.graph.node):
        raise ValueError("the model is quantised already")
    names = _name_convolutions(source.graph)
    kept = {node.name for node in last_convolutions(source.graph)}
    with tempfile.TemporaryDirectory() as folder:
        named = Path(folder) / "named.onnx"
        chosen = [name for name in names if name not in kept]
        if not chosen:
            raise ValueError("the model has no convolutions to quantise")
        onnx.save(source, str(named))
        ranges = _ranges(named, pictures, method, symmetric)
        quantizer = QDQQuantizer(
            load_model_with_shape_infer(named),
            True,  # a scale for each channel
            False,
            QuantType.QInt8,
            QuantType.QInt8 if symmetric else QuantType.QUInt8,
            ranges,
            chosen,
            [],
            ["Conv"],
            {"WeightSymmetric": True, "ActivationSymmetric": symmetric},
        )
        quantizer.quantize_model()
    quantizer.model.topological_sort()
    written = quantizer.model.model
    del written.metadata_props[:]
    written.metadata_props.extend(source.metadata_props)
    onnx.save(written, str(target))


def _name_convolutions(graph: Any) -> list[str]:
    """Give every convolution a name of its own, by which it can be chosen, and return the names."""
    names = []
    for number, node in enumerate(graph.node):
        if node.op_type == "Conv":
            node.name = node.name or f"Conv_{number}"
            names.append(node.name)
    return names


def last_convolutions(graph: Any) -> list[Any]:
    """Return the convolutions from which no other one is reached: what they give are boxes and scores."""
    used_by: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            used_by.setdefault(name, []).append(node)
    reaches: dict[int, bool] = {}
    for node in reversed(graph.node):  # the nodes of a model are in the order in which they can be computed
        after = [follower for name in node.output for follower in used_by.get(name, [])]
        reaches[id(node)] = any(each.op_type == "Conv" or reaches[id(each)] for each in after)
    return [node for node in graph.node if node.op_type == "Conv" and not reaches[id(node)]]


def _ranges(model: Path, pictures: Path, method: str, symmetric: bool) -> Any:
    """Return between what values each activation was, over all pictures.

    One picture at a time: all values of a picture take as much memory as the model at work.
    """
    import numpy as np  # noqa: PLC0415
    import onnxruntime  # noqa: PLC0415
    from onnxruntime.quantization import calibrate  # noqa: PLC0415

    methods = calibrate.CalibrationMethod
    chosen = {"minmax": methods.MinMax, "percentile": methods.Percentile}[method]
    options = {
        "minmax": {},
        "percentile": {"percentile": 99.99, "symmetric": symmetric},
    }
    values = np.load(pictures, mmap_mode="r")

    class One(calibrate.CalibrationDataReader):  # type: ignore[misc,unused-ignore]
        def __init__(self, picture: Any) -> None:
            self._left: Iterator[dict[str, Any]] = iter([{name: picture}])

        def get_next(self) -> Any:
            return next(self._left, None)

    onnxruntime.set_default_logger_severity(3)
    with tempfile.TemporaryDirectory() as folder:
        calibrator = calibrate.create_calibrator(
            model, ["Conv"], str(Path(folder) / "augmented.onnx"), chosen, extra_options=options[method]
        )
        name = calibrator.infer_session.get_inputs()[0].name
        for number, picture in enumerate(values):
            calibrator.collect_data(One((picture[None] / np.float32(SCALE)).astype(np.float32)))
            print(f"progress {(number + 1) / len(values):.3f}", flush=True)  # noqa: T201 - read by the server
        return calibrator.compute_data()


if __name__ == "__main__":
    quantise(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4], sys.argv[5] == "symmetric")
