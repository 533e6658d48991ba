# SPDX-License-Identifier: AGPL-3.0-or-later
"""The graph of an ONNX file run by PyTorch: the same weights and the same work, for a fair comparison on a GPU.

    python -m benchmarks.torch_graph MODEL.onnx [--device cuda] [--batches 1,8,32] [--modes eager,compile,graph]

Needs torch, onnx, onnxruntime (any build, it only folds what is constant) and numpy, and nothing of ours. Each line of
the output is JSON: what ran, the batch, batches a second, and the largest difference from ONNX Runtime's own answer
on the processor (a large one where boxes of equal scores come in another order). A picture's way begins and ends in the
machine's memory, as in the server.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch  # type: ignore[import-not-found,unused-ignore]
from onnx import numpy_helper
from torch.nn import functional as F  # type: ignore[import-not-found,unused-ignore] # noqa: N812

type Tensors = list[Any]
type Operator = Callable[[Tensors, dict[str, Any]], Any]

_WARM_UPS = 5
_UNSET = 9_000_000_000_000_000_000


def static_model(path: Path, batch: int, size: int | None) -> onnx.ModelProto:
    """Return a model for one batch and size, with all that is constant folded."""
    model = onnx.load(path)
    sides = model.graph.input[0].type.tensor_type.shape.dim
    wanted = size or next((side.dim_value for side in sides[2:] if side.dim_value), 640)
    for side, value in zip(sides, (batch, 3, wanted, wanted), strict=True):
        side.Clear()
        side.dim_value = value
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)


class Graph(torch.nn.Module):  # type: ignore[misc,unused-ignore]
    """The nodes of a static model, one after the other."""

    def __init__(self, model: onnx.ModelProto, device: str) -> None:
        """Take the weights to the device. Raises NotImplementedError for a node that is not known."""
        super().__init__()
        graph = model.graph
        self._input, self._output = graph.input[0].name, graph.output[0].name
        self._known = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
        self._nodes = [self._read(node) for node in graph.node]
        self._weights = {name: torch.from_numpy(np.array(array)).to(device) for name, array in self._known.items()}

    def _read(self, node: onnx.NodeProto) -> tuple[Operator, list[str], list[str], dict[str, Any]]:
        if node.op_type not in _OPERATORS:
            raise NotImplementedError(f"the node {node.op_type} is not known here")
        options = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        # What shapes an answer is read now: on the device nobody could look at it while a graph is recorded.
        options["constants"] = [self._known.get(name) for name in node.input]
        options["outputs"] = len(node.output)
        return _OPERATORS[node.op_type], list(node.input), list(node.output), options

    def forward(self, pictures: Any) -> Any:
        """Return the output for float32 [N, 3, S, S]."""
        values = {**self._weights, self._input: pictures, "": None}
        for operator, inputs, outputs, options in self._nodes:
            found = operator([values[name] for name in inputs], options)
            found = found if isinstance(found, list | tuple) else (found,)
            values.update(zip(outputs, found, strict=False))
        return values[self._output]


def _ints(options: dict[str, Any], place: int, default: list[int] | None = None) -> list[int]:
    constants = options["constants"]
    if place >= len(constants) or constants[place] is None:
        if default is None:
            raise NotImplementedError("a shape that is not constant")
        return default
    return [int(value) for value in np.atleast_1d(constants[place])]


def _padded(options: dict[str, Any], value: Any, fill: float) -> tuple[Any, Any]:
    """Return a tensor and what padding is left to the operator; what is not the same on both sides is added here."""
    if options.get("auto_pad", b"NOTSET") not in {b"NOTSET", b"VALID"}:
        raise NotImplementedError(f"the padding {options['auto_pad']!r}")
    top, left, bottom, right = options.get("pads", [0, 0, 0, 0])
    if (top, left) == (bottom, right):
        return value, (top, left)
    return F.pad(value, (left, right, top, bottom), value=fill), (0, 0)


def _conv(given: Tensors, options: dict[str, Any]) -> Any:
    value, padding = _padded(options, given[0], 0.0)
    bias = given[2] if len(given) > 2 else None
    strides, dilations = options.get("strides", [1, 1]), options.get("dilations", [1, 1])
    return F.conv2d(value, given[1], bias, strides, padding, dilations, options.get("group", 1))


def _max_pool(given: Tensors, options: dict[str, Any]) -> Any:
    value, padding = _padded(options, given[0], -np.inf)
    return F.max_pool2d(value, options["kernel_shape"], options.get("strides", [1, 1]), padding)


def _split(given: Tensors, options: dict[str, Any]) -> Any:
    axis = options.get("axis", 0)
    even = given[0].shape[axis] // options["outputs"]
    return torch.split(given[0], _ints(options, 1, [even] * options["outputs"]), axis)


def _slice(given: Tensors, options: dict[str, Any]) -> Any:
    starts, ends = _ints(options, 1), _ints(options, 2)
    axes = _ints(options, 3, list(range(len(starts))))
    steps = _ints(options, 4, [1] * len(starts))
    parts = [slice(None)] * given[0].ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        parts[axis] = slice(start, None if end > _UNSET else end, step)
    return given[0][tuple(parts)]


def _resize(given: Tensors, options: dict[str, Any]) -> Any:
    if options.get("mode", b"nearest") != b"nearest":
        raise NotImplementedError("a resize that is not by the nearest")
    scales = options["constants"][2] if len(given) > 2 else None
    if scales is not None and len(scales):
        return F.interpolate(given[0], scale_factor=[float(scale) for scale in scales[2:]], mode="nearest")
    return F.interpolate(given[0], size=_ints(options, 3)[2:], mode="nearest")


def _reshape(given: Tensors, options: dict[str, Any]) -> Any:
    sides = [given[0].shape[place] if side == 0 else side for place, side in enumerate(_ints(options, 1))]
    return given[0].reshape(sides)


def _unsqueeze(given: Tensors, options: dict[str, Any]) -> Any:
    value = given[0]
    for axis in sorted(_ints(options, 1)):
        value = value.unsqueeze(axis)
    return value


def _gather(given: Tensors, options: dict[str, Any]) -> Any:
    axis = options.get("axis", 0)
    indices = given[1]
    picked = given[0].index_select(axis, indices.reshape(-1))
    return picked.reshape(*given[0].shape[:axis], *indices.shape, *given[0].shape[axis + 1 :])


def _top_k(given: Tensors, options: dict[str, Any]) -> Any:
    (count,) = _ints(options, 1)
    largest, ordered = bool(options.get("largest", 1)), bool(options.get("sorted", 1))
    return tuple(torch.topk(given[0], count, options.get("axis", -1), largest, ordered))


def _expand(given: Tensors, options: dict[str, Any]) -> Any:
    return given[0].expand(np.broadcast_shapes(tuple(given[0].shape), tuple(_ints(options, 1))))


def _div(given: Tensors, _options: dict[str, Any]) -> Any:
    return given[0] / given[1] if given[0].is_floating_point() else given[0] // given[1]


_KINDS = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float16}
_OPERATORS: dict[str, Operator] = {
    "Add": lambda given, _: given[0] + given[1],
    "Cast": lambda given, options: given[0].to(_KINDS[options["to"]]),
    "Concat": lambda given, options: torch.cat(given, options["axis"]),
    "Conv": _conv,
    "Div": _div,
    "Exp": lambda given, _: torch.exp(given[0]),
    "Expand": _expand,
    "Flatten": lambda given, options: given[0].flatten(options.get("axis", 1)),
    "Gather": _gather,
    "GatherElements": lambda given, options: torch.gather(given[0], options.get("axis", 0), given[1]),
    "Identity": lambda given, _: given[0],
    "LeakyRelu": lambda given, options: F.leaky_relu(given[0], options.get("alpha", 0.01)),
    "MatMul": lambda given, _: given[0] @ given[1],
    "MaxPool": _max_pool,
    "Mod": lambda given, _: given[0] % given[1],
    "Mul": lambda given, _: given[0] * given[1],
    "ReduceMax": lambda given, options: given[0].amax(_ints(options, 1), bool(options.get("keepdims", 1))),
    "Relu": lambda given, _: F.relu(given[0]),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": lambda given, _: torch.sigmoid(given[0]),
    "Slice": _slice,
    "Softmax": lambda given, options: torch.softmax(given[0], options.get("axis", -1)),
    "Split": _split,
    "Sub": lambda given, _: given[0] - given[1],
    "TopK": _top_k,
    "Transpose": lambda given, options: given[0].permute(options["perm"]),
    "Unsqueeze": _unsqueeze,
}


def runners(model: onnx.ModelProto, device: str, modes: list[str]) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """Give each way to run a model: from pictures in the machine's memory to an answer there."""
    graph = Graph(model, device).eval()
    if "eager" in modes:
        yield "torch eager", lambda batch: graph(torch.from_numpy(batch).to(device)).cpu().numpy()
    if "compile" in modes:
        compiled = torch.compile(graph, mode="max-autotune-no-cudagraphs" if device == "cuda" else "default")
        yield "torch compile", lambda batch: compiled(torch.from_numpy(batch).to(device)).cpu().numpy()
    if "graph" in modes and device == "cuda":
        yield "torch CUDA graph", _recorded(graph, model)


def _recorded(graph: Graph, model: onnx.ModelProto) -> Callable[[Any], Any]:
    sides = [side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim]
    given = torch.zeros(sides, device="cuda")
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(_WARM_UPS):
            graph(given)
    torch.cuda.current_stream().wait_stream(aside)
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        answer = graph(given)

    def run(batch: Any) -> Any:
        given.copy_(torch.from_numpy(batch))
        recorded.replay()
        return answer.cpu().numpy()

    return run


def measure(run: Callable[[Any], Any], batch: Any, seconds: float) -> float:
    """Return how many batches a second a runner takes, after a few that are not counted."""
    for _ in range(_WARM_UPS):
        run(batch)
    count, started = 0, time.perf_counter()
    while (took := time.perf_counter() - started) < seconds:
        run(batch)
        count += 1
    return count / took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batches", default="1,8,32")
    parser.add_argument("--modes", default="eager,compile,graph")
    parser.add_argument("--size", type=int, default=None)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # as the server's CUDA backend
    for count in map(int, options.batches.split(",")):
        for told in _of_batch(options, count):
            print(json.dumps({"batch": count, **told}), flush=True)


def _of_batch(options: argparse.Namespace, count: int) -> Iterator[dict[str, Any]]:
    """Give what is told of each runner, or the reason why none can be had."""
    try:
        model = static_model(options.model, count, options.size)
        sides = [side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim]
        batch = np.random.default_rng(0).random(sides, np.float32)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        expected = session.run(None, {model.graph.input[0].name: batch})[0]
        made = runners(model, options.device, options.modes.split(","))
    except Exception as error:  # noqa: BLE001 - a model of one batch takes no other
        yield {"name": "torch", "error": _reason(error)}
        return
    with torch.inference_mode():
        while True:
            name = "torch"
            try:
                if (found := next(made, None)) is None:
                    return
                name, run = found
                difference = float(np.abs(run(batch) - expected).max())
                rate = measure(run, batch, options.seconds)
                yield {"name": name, "difference": difference, "batches_per_second": rate}
            except Exception as error:  # noqa: BLE001 - the next one may work
                yield {"name": name, "error": _reason(error)}


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


if __name__ == "__main__":
    main()
