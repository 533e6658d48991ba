# SPDX-License-Identifier: AGPL-3.0-or-later
"""What OpenVINO alone does: precisions, hints, devices and its own files."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from inference_server.detection.backends import openvino
from inference_server.detection.backends.openvino import OpenvinoNetwork
from inference_server.detection.errors import BackendAbsent, BackendUnavailable
from inference_server.settings import Backend, DetectorSettings, Device, Hint, Precision
from tests.server.detection.graphs import COCO_METADATA, SIZE, constant_model, end_to_end
from tests.support.detectors import detector_on
from tests.support.weights import detector_model_path

ROW = (8.0, 8.0, 24.0, 40.0, 0.9, 0)
SETTINGS = DetectorSettings(backend=Backend.OPENVINO, device=Device.CPU, threads=2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A small model."""
    return constant_model(tmp_path / "m.onnx", end_to_end(ROW))


def _capabilities() -> list[str]:
    return list(openvino.library().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def test_f32_is_forced() -> None:
    """Left alone, a processor that has bf16 computes in it; real weights show whether it does."""
    network = OpenvinoNetwork(detector_model_path(), SETTINGS, Device.CPU)
    assert network.provider == "OpenVINO CPU f32"
    given = np.random.default_rng(1).random((1, 3, network.input.size, network.input.size), np.float32)
    onnx = detector_on(detector_model_path())._network  # type: ignore[attr-defined]
    assert np.abs(network.run(given)[:, 4:] - onnx.run(given)[:, 4:]).max() < 1e-3


def test_another_precision_is_taken_where_the_processor_has_it(path: Path) -> None:
    settings = SETTINGS.model_copy(update={"precision": Precision.BF16})
    if "BF16" in _capabilities():
        assert OpenvinoNetwork(path, settings, Device.CPU).provider == "OpenVINO CPU bf16"
    else:
        with pytest.raises(BackendUnavailable, match="does not compute in bf16"):
            OpenvinoNetwork(path, settings, Device.CPU)


def test_a_precision_that_the_processor_does_not_have_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(openvino._CAPABILITIES, Precision.F16, "no such")
    settings = SETTINGS.model_copy(update={"precision": Precision.F16})
    with pytest.raises(BackendUnavailable, match=r"the CPU \(.+\) does not compute in f16") as told:
        OpenvinoNetwork(path, settings, Device.CPU)
    assert "f32" in told.value.remedy


def test_a_precision_that_openvino_changes_by_itself_is_noticed(path: Path) -> None:
    compiled = OpenvinoNetwork(path, SETTINGS, Device.CPU)._compiled
    with pytest.raises(BackendUnavailable, match="computes in f32 on CPU where bf16 was asked for"):
        openvino._provider(compiled, Precision.BF16)


@pytest.mark.parametrize(("hint", "parallel"), [(Hint.THROUGHPUT, 2), (Hint.LATENCY, 1)])
def test_the_hint_decides_how_many_pictures_are_under_way(path: Path, hint: Hint, parallel: int) -> None:
    network = OpenvinoNetwork(path, SETTINGS.model_copy(update={"hint": hint}), Device.CPU)
    assert network.parallel == parallel


def test_answers_of_many_threads_do_not_mix(tmp_path: Path) -> None:
    """More callers than requests, each with a batch of its own size, and an answer that stays when others follow."""
    settings = SETTINGS.model_copy(update={"max_batch": 5})
    network = OpenvinoNetwork(constant_model(tmp_path / "m.onnx", end_to_end(ROW)), settings, Device.CPU)
    batches = [np.zeros((1 + number % 5, 3, SIZE, SIZE), np.float32) for number in range(40)]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(network.run, batches))
    assert [len(answer) for answer in answers] == [len(batch) for batch in batches]
    assert all(np.array_equal(row, end_to_end(ROW)) for answer in answers for row in answer)


@pytest.mark.parametrize(("most", "batch", "static"), [(1, 1, True), (3, None, False)])
def test_where_pictures_come_alone_no_side_of_the_input_is_left_open(
    tmp_path: Path, most: int, batch: int | None, static: bool
) -> None:
    """It is quicker, and NPUs take nothing else."""
    path = constant_model(tmp_path / "m.onnx", end_to_end(ROW), input_shape=("N", 3, "h", "w"))
    settings = SETTINGS.model_copy(update={"max_batch": most, "input_size": 320})
    network = OpenvinoNetwork(path, settings, Device.CPU)
    assert (network.input.batch, network.input.size) == (batch, 320)
    assert network._compiled.inputs[0].get_partial_shape().is_static is static


@pytest.mark.parametrize("device", [Device.GPU, Device.NPU])
def test_a_device_that_the_system_does_not_show_costs_no_import(
    path: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(openvino._NODES, device, ("/dev/no-such-device",))
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackendAbsent, match=r"the system shows no (GPU|NPU)"):
        OpenvinoNetwork(path, SETTINGS, device)


def test_a_device_that_the_library_does_not_find_is_named_with_those_that_it_does(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(openvino._NODES, Device.NPU, ("/",))
    if "NPU" in openvino.library().Core().available_devices:
        pytest.skip("there is an NPU")
    with pytest.raises(BackendAbsent, match="OpenVINO finds no NPU, only CPU"):
        OpenvinoNetwork(path, SETTINGS, Device.NPU)


def test_its_own_files_are_read_with_their_metadata(path: Path, tmp_path: Path) -> None:
    save = (
        "import sys; sys.modules['openvino_telemetry'] = None; import openvino;"
        "model = openvino.Core().read_model(sys.argv[1]); names = sys.argv[3];"
        "model.set_rt_info(names, ['model_info', 'names']); model.set_rt_info('detect', ['model_info', 'task']);"
        "openvino.save_model(model, sys.argv[2], compress_to_fp16=False)"
    )
    target = tmp_path / "ir.xml"
    subprocess.run([sys.executable, "-c", save, path, target, COCO_METADATA["names"]], check=True)
    detector = detector_on(target, SETTINGS)
    assert detector.provider == "OpenVINO CPU f32"
    network = OpenvinoNetwork(target, SETTINGS, Device.CPU)
    assert (network.metadata["names"], network.metadata["task"]) == (COCO_METADATA["names"], "detect")
