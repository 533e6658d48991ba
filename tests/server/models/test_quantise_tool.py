# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the quantiser makes of a network, and what the engine's builder makes of that."""

import asyncio
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from inference_server.models import engine_tool
from inference_server.models.quantise_tool import last_convolutions
from inference_server.models.quantised import Form, Method
from inference_server.models.quantising import quantise
from inference_server.models.tool_process import ToolError
from tests.server.detection.parity.record import SIZE
from tests.server.detection.test_parity import FOLDER

MODEL = FOLDER / "end_to_end.onnx"
SCALED = {"QuantizeLinear", "DequantizeLinear"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some noise, as the tool takes it."""
    path = tmp_path_factory.mktemp("pictures") / "pictures.npy"
    np.save(path, np.random.default_rng(1).integers(0, 256, (3, 3, SIZE, SIZE), np.uint8))
    return path


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> dict[Form, Path]:
    """Both forms of the small network, each made by another method."""
    folder = tmp_path_factory.mktemp("forms")
    made = {Form.ASYMMETRIC: folder / "asymmetric.onnx", Form.SYMMETRIC: folder / "symmetric.onnx"}
    for (form, target), method in zip(made.items(), Method, strict=True):
        told: list[float] = []
        asyncio.run(quantise(MODEL, target, pictures, method=method, form=form, progress=told.append))
        assert told[-1] == 1
    return made


def answer(model: Path | bytes) -> np.ndarray:
    """Return what a network answers to grey."""
    source = model if isinstance(model, bytes) else str(model)
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"images": np.full((1, 3, SIZE, SIZE), 0.4, np.float32)})[0]
    return found


@pytest.mark.parametrize("form", list(Form))
def test_all_convolutions_but_the_last_get_8_bit_numbers(forms: dict[Form, Path], form: Form) -> None:
    target = forms[form]
    original, model = onnx.load(MODEL), onnx.load(target)
    makers = {name: node for node in model.graph.node for name in node.output}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    floats = [node for node in convolutions if node.input[1] not in makers]
    assert len(convolutions) == sum(node.op_type == "Conv" for node in original.graph.node)
    last = last_convolutions(original.graph)
    assert {name for node in floats for name in node.output} == {name for node in last for name in node.output}
    assert 0 < len(floats) < len(convolutions) / 2
    assert {entry.key: entry.value for entry in model.metadata_props} == {
        entry.key: entry.value for entry in original.metadata_props
    }
    assert answer(target).shape == answer(MODEL).shape


def test_tensorrt_gets_zeros_in_the_middle_and_no_32_bit_integers(forms: dict[Form, Path]) -> None:
    target = forms[Form.SYMMETRIC]
    model = onnx.load(target)
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    zeros = [values[node.input[2]] for node in model.graph.node if node.op_type in SCALED and len(node.input) > 2]
    assert zeros
    assert not any(zero.any() for zero in zeros)
    engine_tool._restore_biases(model, onnx)
    onnx.checker.check_model(model)
    assert not any(
        tensor.data_type == onnx.TensorProto.INT32 for tensor in model.graph.initializer if "bias" in tensor.name
    )
    restored = answer(model.SerializeToString())
    assert np.abs(restored - answer(target)).max() < 1.0, "boxes in pixels of the input"


async def test_a_model_that_is_quantised_already_is_refused(
    forms: dict[Form, Path], tmp_path: Path, pictures: Path
) -> None:
    with pytest.raises(ToolError, match="the model is quantised already"):
        await quantise(
            forms[Form.ASYMMETRIC],
            tmp_path / "again.onnx",
            pictures,
            method=Method.MINMAX,
            form=Form.ASYMMETRIC,
            progress=lambda _done: None,
        )
