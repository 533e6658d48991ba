# SPDX-License-Identifier: AGPL-3.0-or-later
"""The process that runs a checkpoint. CI has no PyTorch: modules that follow the little of it that is used stand in.

Where HSI_EXPORT_PYTHON names an interpreter with ultralytics, a real checkpoint gives what the predictor was recorded
to answer.
"""

import asyncio
import gc
import os
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from inference_server.detection.backends.network import NetworkDetector
from inference_server.detection.backends.pytorch import PytorchNetwork
from inference_server.detection.errors import BackendAbsent, BackendUnavailable, DetectorUnusable
from inference_server.detection.preprocess import empty_batch
from inference_server.settings import Backend, DetectorSettings, Device, Precision
from tests.server.detection.parity import record
from tests.server.detection.test_parity import answered, unmatched

SETTINGS = DetectorSettings(backend=Backend.PYTORCH, device=Device.CPU, input_size=320)

TORCH = """
import contextlib
import numpy

print("torch says something")
__version__ = "2.0"

class cuda:
    is_available = staticmethod(lambda: False)

device = str
inference_mode = contextlib.nullcontext

class Tensor:
    def __init__(self, values): self.values = values
    def to(self, place): return self
    float = cpu = contiguous = lambda self: self
    def numpy(self): return self.values

def from_numpy(values): return Tensor(values)
"""
TASKS = """
import os, pathlib
import numpy, torch

class Stride:
    max = staticmethod(lambda: 32)

class Model:
    names, stride, task, args, end2end = {0: "person"}, Stride, "detect", {"imgsz": 640}, False
    def fuse(self, verbose): return self
    def float(self): return self
    def eval(self): return self
    def __call__(self, pictures):
        print("ultralytics says something")
        mean = pictures.values.mean()
        if mean > 10: os._exit(9)
        if mean > 1: raise MemoryError("too large")
        found = numpy.zeros((len(pictures.values), 300, 6), numpy.float32)
        found[:, 0] = 0, 0, 32, 32, mean, 0
        return torch.Tensor(found), "more"

def load_checkpoint(path, device):
    content = pathlib.Path(path).read_text()
    if content != "fine": raise TypeError(f"{content} is no checkpoint")
    model = Model()
    if os.environ.get("ULTRALYTICS_SAFE_LOAD") != "1" or os.environ.get("YOLO_OFFLINE") != "1": model.task = "unsafe"
    return model, {}
"""


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint that the stand-in loads."""
    nn = tmp_path / "modules" / "ultralytics" / "nn"
    nn.mkdir(parents=True)
    (nn / "tasks.py").write_text(TASKS)
    (tmp_path / "modules" / "torch.py").write_text(TORCH)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    path = tmp_path / "m.pt"
    path.write_text("fine")
    return path


def _filled(value: float, count: int = 1) -> np.ndarray:
    return np.full((count, 3, 320, 320), value, np.float32)


def test_it_answers_like_any_network(checkpoint: Path) -> None:
    network = PytorchNetwork(checkpoint, SETTINGS, Device.CPU)
    assert (network.provider, network.input.size, network.parallel) == ("PyTorch cpu f32", 320, 1)
    assert network.metadata["end2end"] == "True"
    detector = NetworkDetector(network, SETTINGS, name="M")
    assert detector.provider == network.provider
    for count, value in ((1, 0.5), (3, 0.25), (1, 0.75)):
        output = network.run(_filled(value, count))
        assert output.shape == (count, 300, 6)
        assert output[-1, 0, 4] == pytest.approx(value)


def test_an_error_is_told_and_the_process_goes_on(checkpoint: Path) -> None:
    network = PytorchNetwork(checkpoint, SETTINGS, Device.CPU)
    with pytest.raises(RuntimeError, match="MemoryError: too large"):
        network.run(_filled(2))
    assert network.run(_filled(0.5))[0, 0, 4] == pytest.approx(0.5)


def test_a_process_that_died_is_started_again(checkpoint: Path) -> None:
    network = PytorchNetwork(checkpoint, SETTINGS, Device.CPU)
    with pytest.raises(RuntimeError, match="the process of PyTorch died"):
        network.run(_filled(20))
    assert network.run(_filled(0.5))[0, 0, 4] == pytest.approx(0.5)


def test_no_process_is_left_behind(checkpoint: Path) -> None:
    before = set(psutil.Process().children())
    network = PytorchNetwork(checkpoint, SETTINGS, Device.CPU)
    (child,) = set(psutil.Process().children()) - before
    del network
    gc.collect()
    assert not child.is_running()


def test_what_is_no_checkpoint_is_refused(checkpoint: Path) -> None:
    checkpoint.write_text("page")
    with pytest.raises(DetectorUnusable, match=r"a checkpoint .* was expected; found TypeError: page is no checkpoint"):
        PytorchNetwork(checkpoint, SETTINGS, Device.CPU)
    with pytest.raises(DetectorUnusable, match="found no such file"):
        PytorchNetwork(checkpoint.with_name("absent.pt"), SETTINGS, Device.CPU)
    with pytest.raises(BackendUnavailable, match=r"takes a checkpoint \(\.pt\), found m\.onnx"):
        PytorchNetwork(checkpoint.with_name("m.onnx"), SETTINGS, Device.CPU)


def test_what_is_not_there_is_named(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendUnavailable, match="finds no GPU"):
        PytorchNetwork(checkpoint, SETTINGS, Device.CUDA)
    halved = SETTINGS.model_copy(update={"precision": Precision.F16})
    with pytest.raises(BackendUnavailable, match="f16 needs a GPU"):
        PytorchNetwork(checkpoint, halved, Device.AUTO)
    with pytest.raises(BackendUnavailable, match="says nothing"):
        PytorchNetwork(checkpoint, SETTINGS, Device.CPU, python="/bin/true")
    monkeypatch.setenv("PYTHONPATH", str(checkpoint.parent / "empty"))
    if _has_torch():
        pytest.skip("ultralytics is installed")
    with pytest.raises(BackendAbsent, match="is not installed") as absent:
        PytorchNetwork(checkpoint, SETTINGS, Device.CPU)
    assert "the extra export" in absent.value.remedy


def _has_torch() -> bool:
    from importlib.util import find_spec

    return find_spec("torch") is not None and find_spec("ultralytics") is not None


@pytest.mark.slow
@pytest.mark.skipif(
    "HSI_EXPORT_PYTHON" not in os.environ, reason="HSI_EXPORT_PYTHON names no interpreter with ultralytics"
)
async def test_a_real_checkpoint_gives_what_was_recorded(tmp_path: Path) -> None:
    python, path = os.environ["HSI_EXPORT_PYTHON"], tmp_path / "tiny.pt"
    maker = await asyncio.create_subprocess_exec(python, record.__file__, str(path))
    assert await maker.wait() == 0
    settings = SETTINGS.model_copy(update={"confidence": record.CONFIDENCE})
    network = await asyncio.to_thread(PytorchNetwork, path, settings, Device.CPU, python)
    detector = NetworkDetector(network, settings, name="Tiny")
    for name in record.PICTURES:
        assert unmatched(detector, name, answered("end_to_end", name)) == ([], [])
    assert network.run(empty_batch(2, 320)).shape == (2, 300, 6)
    assert sys.modules.get("torch") is None
