# SPDX-License-Identifier: AGPL-3.0-or-later
"""YOLOv3-tiny: Darknet weights become one ONNX graph with decoded boxes.

The network is that of Redmon and Farhadi, "YOLOv3: An Incremental Improvement" (2018), in its small form. Batch
normalisation is folded into the convolutions, and the heads are decoded inside the graph:

    centre = (sigmoid(t_xy) + cell) * stride,  size = exp(t_wh) * anchor,  score = sigmoid(objectness) * sigmoid(class)

The finer head uses anchors 1, 2 and 3. The configuration that is published with the weights says 0, 1 and 2, which
is not what they were trained with: with it small boxes come out half their size.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from inference_server.models.coco import COCO_NAMES
from inference_server.models.errors import ConversionError

STRIDE = 32
INPUT_NAME = "images"
OUTPUT_NAME = "output0"

_OPSET = 18
_IR_VERSION = 10
_LEAK = 0.1
_EPSILON = 1e-5
_BOX_FIELDS = 5
_HEAD_FILTERS = 3 * (_BOX_FIELDS + len(COCO_NAMES))

type Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution that keeps the size; normalised ones are followed by a leaky rectifier, others are linear."""

    filters: int
    kernel: int = 3
    normalised: bool = True


@dataclass(frozen=True, slots=True)
class MaxPool:
    """The maximum of 2 x 2 pixels; with stride 1 the picture is padded right and below and keeps its size."""

    stride: int = 2


@dataclass(frozen=True, slots=True)
class Upsample:
    """Twice the size, nearest neighbour."""


@dataclass(frozen=True, slots=True)
class Route:
    """The outputs of earlier layers, by their index in the table, joined along the channels."""

    layers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Head:
    """Boxes decoded with three anchors: width and height in pixels of the input."""

    anchors: tuple[tuple[int, int], ...]


type Layer = Convolution | MaxPool | Upsample | Route | Head

YOLOV3_TINY: tuple[Layer, ...] = (
    Convolution(16),
    MaxPool(),
    Convolution(32),
    MaxPool(),
    Convolution(64),
    MaxPool(),
    Convolution(128),
    MaxPool(),
    Convolution(256),
    MaxPool(),
    Convolution(512),
    MaxPool(stride=1),
    Convolution(1024),
    Convolution(256, kernel=1),
    Convolution(512),
    Convolution(_HEAD_FILTERS, kernel=1, normalised=False),
    Head(((81, 82), (135, 169), (344, 319))),
    Route((13,)),
    Convolution(128, kernel=1),
    Upsample(),
    Route((19, 8)),
    Convolution(256),
    Convolution(_HEAD_FILTERS, kernel=1, normalised=False),
    Head(((23, 27), (37, 58), (81, 82))),
)


def convert_yolov3_tiny(weights: Path, target: Path, input_size: int, metadata: dict[str, str]) -> None:
    """Write the ONNX form of YOLOv3-tiny weights.

    The graph takes `images`, float32 [N, 3, S, S], RGB, 0 to 1, and gives `output0`, float32 [N, 84, M]: centre x,
    centre y, width and height in pixels of the input, then 80 class scores. N is dynamic, S is `input_size`, which
    must be a multiple of 32. `metadata` is added to the model's own (class names, size, stride, task).
    Raises ConversionError for a file that does not hold exactly these weights, OSError for one that cannot be read.
    """
    if input_size <= 0 or input_size % STRIDE:
        raise ConversionError(f"the input size must be a multiple of {STRIDE} pixels, not {input_size}")
    parameters = _Parameters(weights)
    graph = _Graph(parameters, input_size)
    for layer in YOLOV3_TINY:
        graph.add(layer)
    parameters.expect_end()
    onnx.save(graph.model({**_standard_metadata(input_size), **metadata}), target)


def _standard_metadata(input_size: int) -> dict[str, str]:
    return {
        "task": "detect",
        "names": str(dict(enumerate(COCO_NAMES))),
        "imgsz": f"[{input_size}, {input_size}]",
        "stride": str(STRIDE),
        "end2end": "False",
    }


class _Parameters:
    """The numbers of a Darknet file, taken in order.

    The file starts with three int32 (major, minor, revision) and the count of training pictures, int32 before
    version 0.2 and int64 since. Then come float32 numbers, per convolution: biases, the normalisation's scales,
    means and variances where there is one, weights.
    """

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        if len(content) < 20:
            raise ConversionError(f"{path.name} is too short for Darknet weights: {len(content)} bytes")
        major, minor, _revision = np.frombuffer(content, "<i4", 3)
        header = 20 if major * 10 + minor >= 2 else 16
        if (len(content) - header) % 4:
            raise ConversionError(f"{path.name} does not end at a whole number: {len(content)} bytes")
        self._name = path.name
        self._numbers: Floats = np.frombuffer(content, "<f4", offset=header)
        self._position = 0

    def take(self, *shape: int) -> Floats:
        count = int(np.prod(shape))
        end = self._position + count
        if end > self._numbers.size:
            raise ConversionError(
                f"{self._name} ends early: at least {end} numbers expected, {self._numbers.size} found"
            )
        taken = self._numbers[self._position : end].reshape(shape)
        self._position = end
        return taken

    def expect_end(self) -> None:
        if self._position != self._numbers.size:
            raise ConversionError(
                f"{self._name} holds another network: {self._position} numbers expected, {self._numbers.size} found"
            )


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer's output: its name in the graph, its channels and its side in pixels."""

    name: str
    channels: int
    side: int


@dataclass(slots=True)
class _Graph:
    parameters: _Parameters
    input_size: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    layers: list[_Layer] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    boxes: int = 0

    def add(self, layer: Layer) -> None:
        match layer:
            case Convolution():
                self.layers.append(self._convolution(layer))
            case MaxPool():
                self.layers.append(self._max_pool(layer))
            case Upsample():
                self.layers.append(self._upsample())
            case Route():
                self.layers.append(self._route(layer))
            case Head():
                self.layers.append(self._head(layer))

    def model(self, metadata: dict[str, str]) -> onnx.ModelProto:
        size = self.input_size
        self._node("Concat", self.heads, OUTPUT_NAME, axis=2)
        graph = helper.make_graph(
            self.nodes,
            "yolov3-tiny",
            [helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, ["N", 3, size, size])],
            [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["N", 4 + len(COCO_NAMES), self.boxes])],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model, full_check=True)
        return model

    def _convolution(self, layer: Convolution) -> _Layer:
        source, name = self._last(), self._name()
        weights, bias = self._folded(layer, source.channels)
        linear = f"{name}/linear" if layer.normalised else name
        self._node(
            "Conv",
            [source.name, self._constant(f"{name}/weights", weights), self._constant(f"{name}/bias", bias)],
            linear,
            kernel_shape=[layer.kernel] * 2,
            pads=[layer.kernel // 2] * 4,
        )
        if layer.normalised:
            self._node("LeakyRelu", [linear], name, alpha=_LEAK)
        return _Layer(name, layer.filters, source.side)

    def _folded(self, layer: Convolution, channels: int) -> tuple[Floats, Floats]:
        """Return weights and bias, with the normalisation (x - mean) / sqrt(variance) * scale folded in."""
        bias = self.parameters.take(layer.filters)
        shape = (layer.filters, channels, layer.kernel, layer.kernel)
        if not layer.normalised:
            return self.parameters.take(*shape), bias
        scale, mean, variance = self.parameters.take(3, layer.filters)
        factor = scale / np.sqrt(variance + np.float32(_EPSILON))
        return self.parameters.take(*shape) * factor[:, None, None, None], bias - mean * factor

    def _max_pool(self, layer: MaxPool) -> _Layer:
        source, name = self._last(), self._name()
        pads = [0, 0, 1, 1] if layer.stride == 1 else [0, 0, 0, 0]
        self._node("MaxPool", [source.name], name, kernel_shape=[2, 2], strides=[layer.stride] * 2, pads=pads)
        return _Layer(name, source.channels, source.side // layer.stride)

    def _upsample(self) -> _Layer:
        source, name = self._last(), self._name()
        scales = self._constant(f"{name}/scales", np.array([1, 1, 2, 2], np.float32))
        self._node(
            "Resize",
            [source.name, "", scales],
            name,
            mode="nearest",
            nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
        )
        return _Layer(name, source.channels, source.side * 2)

    def _route(self, layer: Route) -> _Layer:
        sources = [self.layers[index] for index in layer.layers]
        if len(sources) == 1:
            return sources[0]
        name = self._name()
        self._node("Concat", [source.name for source in sources], name, axis=1)
        return _Layer(name, sum(source.channels for source in sources), sources[0].side)

    def _head(self, layer: Head) -> _Layer:
        source, name = self._last(), self._name()
        cells, classes, anchors = source.side**2, len(COCO_NAMES), len(layer.anchors)
        fields = self._reshaped(source.name, f"{name}/fields", (0, anchors, _BOX_FIELDS + classes, cells))
        centre, size, objectness, scores = (f"{name}/{part}" for part in ("centre", "size", "objectness", "scores"))
        lengths = self._constant(f"{name}/lengths", np.array([2, 2, 1, classes], np.int64))
        self.nodes.append(helper.make_node("Split", [fields, lengths], [centre, size, objectness, scores], axis=2))
        parts = [
            self._scaled_centre(centre, source.side),
            self._product(self._node("Exp", [size]), f"{name}/anchors", _anchor_column(layer.anchors)),
            self._node("Mul", [self._node("Sigmoid", [objectness]), self._node("Sigmoid", [scores])]),
        ]
        boxes = self._node("Transpose", [self._node("Concat", parts, f"{name}/boxes", axis=2)], perm=[0, 2, 1, 3])
        self.heads.append(self._reshaped(boxes, name, (0, 4 + classes, anchors * cells)))
        self.boxes += anchors * cells
        return _Layer(name, 4 + classes, source.side)

    def _scaled_centre(self, centre: str, side: int) -> str:
        rows, columns = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
        cells = np.stack([columns.ravel(), rows.ravel()])[None, None].astype(np.float32)
        cell = self._constant(f"{centre}/cells", cells)
        placed = self._node("Add", [self._node("Sigmoid", [centre]), cell], f"{centre}/placed")
        return self._product(placed, f"{centre}/stride", np.float32(self.input_size / side))

    def _product(self, source: str, name: str, factor: Floats | np.float32) -> str:
        return self._node("Mul", [source, self._constant(name, np.asarray(factor))])

    def _reshaped(self, source: str, name: str, shape: tuple[int, ...]) -> str:
        return self._node("Reshape", [source, self._constant(f"{name}/shape", np.array(shape, np.int64))], name)

    def _node(self, operator: str, inputs: list[str], name: str | None = None, **attributes: Any) -> str:
        """Add a node with one output and return the output's name; a node without a name is called by its input."""
        output = name or f"{inputs[0]}/{operator.lower()}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def _constant(self, name: str, value: NDArray[np.float32] | NDArray[np.int64]) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def _last(self) -> _Layer:
        return self.layers[-1] if self.layers else _Layer(INPUT_NAME, 3, self.input_size)

    def _name(self) -> str:
        return f"layer{len(self.layers)}"


def _anchor_column(anchors: tuple[tuple[int, int], ...]) -> Floats:
    return np.array(anchors, np.float32)[None, :, :, None]
