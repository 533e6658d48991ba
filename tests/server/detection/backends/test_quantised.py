# SPDX-License-Identifier: AGPL-3.0-or-later
"""A model that its owner quantised keeps its 8-bit numbers on every backend, also where f32 is asked for."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from inference_server.detection.backends.onnx import OnnxNetwork
from inference_server.detection.backends.openvino import OpenvinoNetwork
from inference_server.detection.preprocess import empty_batch, place
from inference_server.settings import DetectorSettings, Device
from tests.server.detection.parity.record import SIZE
from tests.server.detection.test_parity import FOLDER, pictures

SETTINGS = DetectorSettings(threads=1)


class _Calibration(CalibrationDataReader):
    def __init__(self, batches: list[np.ndarray]) -> None:
        self._batches: Iterator[np.ndarray] = iter(batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"images": batch}


@pytest.fixture(scope="module")
def batches() -> list[np.ndarray]:
    """The pictures of the parity test, as the network takes them."""
    made = []
    for picture in pictures().values():
        batch = empty_batch(1, SIZE)
        place(picture, batch[0])
        made.append(batch)
    return made


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory, batches: list[np.ndarray]) -> Path:
    """The small network with its convolutions in 8 bits, as ONNX Runtime's own tool makes it."""
    target = tmp_path_factory.mktemp("quantised") / "int8.onnx"
    quantize_static(
        FOLDER / "candidates.onnx",
        target,
        _Calibration(batches),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv"],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    model = onnx.load(target)
    assert sum(node.op_type == "QuantizeLinear" for node in model.graph.node) > 20
    return target


def test_it_answers_alike_on_every_backend(quantised: Path, batches: list[np.ndarray]) -> None:
    """8 bits round elsewhere than 32 do; the two runtimes agree with each other, and roughly with the original."""
    original = OnnxNetwork(FOLDER / "candidates.onnx", SETTINGS)
    first, second = OnnxNetwork(quantised, SETTINGS), OpenvinoNetwork(quantised, SETTINGS, Device.CPU)
    assert first.metadata["names"] == second.metadata["names"] == original.metadata["names"]
    for batch in batches:
        wanted, *answers = (network.run(batch)[0, 4:] for network in (original, first, second))
        for scores in answers:
            assert scores.shape == wanted.shape
            assert np.corrcoef(scores.ravel(), wanted.ravel())[0, 1] > 0.5
        assert np.abs(answers[0] - wanted).max() > 1e-4, "nothing was rounded: this is not the quantised network"
