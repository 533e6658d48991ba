# SPDX-License-Identifier: AGPL-3.0-or-later
"""The tool process that builds a TensorRT engine on the GPU that it is for.

Usage: python engine_tool.py MODEL.onnx TARGET.engine PRECISION SIZE MOST

PRECISION is f32, f16, or int8 for a model that holds its 8-bit numbers and their scales. SIZE is the width and height
of an input that takes any, MOST the largest batch. Needs nothing of ours, and the packages of the extra `tensorrt`.
Prints `progress 0.25` again and again. The engine is preceded by what the model's exporter wrote, in the form of
Ultralytics: the length as four bytes, little-endian, and JSON.
"""

import json
import sys
from pathlib import Path
from typing import Any


def build(weights: Path, target: Path, precision: str, size: int, most: int) -> None:
    """Write the engine. Raises RuntimeError with the builder's reason, and whatever the libraries raise."""
    import onnx  # noqa: PLC0415
    import tensorrt as trt  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - an extra

    model = onnx.load(str(weights))
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    config = builder.create_builder_config()
    if precision == "f16":
        model = _halved(model, trt, config)
    elif precision == "int8":
        _restore_biases(model, onnx)
        if hasattr(trt.BuilderFlag, "INT8"):  # from TensorRT 11 on the model's own numbers are taken unasked
            config.set_flag(trt.BuilderFlag.INT8)
    else:
        config.clear_flag(trt.BuilderFlag.TF32)  # which rounds 32-bit numbers to 19 bits on the way
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model.SerializeToString()):
        raise RuntimeError("; ".join(str(parser.get_error(index)) for index in range(parser.num_errors)))
    _set_shapes(builder, config, network.get_input(0), size, most)
    config.progress_monitor = _monitor(trt)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise RuntimeError("TensorRT built nothing; its messages above say why")
    header = json.dumps(metadata).encode()
    with target.open("wb") as file:
        file.write(len(header).to_bytes(4, "little") + header)
        file.write(plan)


def _halved(model: Any, trt: Any, config: Any) -> Any:
    """Ask for 16-bit numbers: by a flag, or from TensorRT 11 on, which computes in the model's own, in the model."""
    if hasattr(trt.BuilderFlag, "FP16"):
        config.set_flag(trt.BuilderFlag.FP16)
        return model
    from onnxruntime.transformers.float16 import convert_float_to_float16  # noqa: PLC0415

    return convert_float_to_float16(model, keep_io_types=True)


def _restore_biases(model: Any, onnx: Any) -> None:
    """Turn 32-bit integers with a scale, which ONNX Runtime adds to 8-bit products, into the floats that they mean.

    TensorRT's parser takes scales of 8-bit numbers alone.
    """
    graph = model.graph
    values = {tensor.name: tensor for tensor in graph.initializer}
    for node in list(graph.node):
        given = values.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if given is None or given.data_type != onnx.TensorProto.INT32:
            continue
        scale = onnx.numpy_helper.to_array(values[node.input[1]])
        bias = (onnx.numpy_helper.to_array(given) * scale).astype("float32")
        graph.initializer.append(onnx.numpy_helper.from_array(bias, node.output[0]))
        graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    for tensor in [each for each in graph.initializer if each.data_type == onnx.TensorProto.INT32]:
        if tensor.name not in used:
            graph.initializer.remove(tensor)


def _set_shapes(builder: Any, config: Any, given: Any, size: int, most: int) -> None:
    sides = [size if side < 0 else side for side in list(given.shape)[2:]]
    if all(side >= 0 for side in given.shape):
        return
    profile = builder.create_optimization_profile()
    least, usual, largest = ([count, 3, *sides] for count in (1, most, most))
    if given.shape[0] >= 0:
        least = usual = largest = [given.shape[0], 3, *sides]
    profile.set_shape(given.name, least, usual, largest)
    config.add_optimization_profile(profile)


def _monitor(trt: Any) -> Any:
    """Return what prints the progress of the outermost phases."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc,unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                self.steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            if steps := self.steps.get(phase_name):
                print(f"progress {min(1.0, (step + 1) / steps):.3f}", flush=True)  # noqa: T201 - read by the server
            return True

        def phase_finish(self, phase_name: str) -> None:
            self.steps.pop(phase_name, None)

    return Monitor()


if __name__ == "__main__":
    build(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
