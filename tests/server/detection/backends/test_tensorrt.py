# SPDX-License-Identifier: AGPL-3.0-or-later
"""Engines, on a stand-in for TensorRT and CUDA that computes in the machine's memory; on a GPU, TensorRT itself."""

import ctypes
import json
import sys
from enum import IntEnum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from inference_server.detection.backends import tensorrt
from inference_server.detection.backends.network import NetworkDetector
from inference_server.detection.backends.tensorrt import (
    EngineNotBuilt,
    TensorrtNetwork,
    engine_key,
    load_built,
    read_engine,
)
from inference_server.detection.errors import BackendAbsent, BackendUnavailable, DetectorUnusable
from inference_server.models.digest import note_digest, sha256_of
from inference_server.models.engines import EngineCache, ToolBuilder
from inference_server.settings import Backend, DetectorSettings, Precision
from tests.server.detection.graphs import SIZE, constant_model, end_to_end

ROW = (8.0, 8.0, 24.0, 40.0, 0.9, 0)
SETTINGS = DetectorSettings(backend=Backend.TENSORRT, max_batch=4)
HEADER = {"names": {"0": "person"}, "task": "detect", "stride": 32, "imgsz": [SIZE, SIZE], "end2end": True}


def engine_file(path: Path, header: object = HEADER, plan: bytes = b"plan") -> Path:
    """Write an engine as Ultralytics does."""
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(4, "little") + text + plan)
    return path


class Mode(IntEnum):
    """Whether a tensor is one of the inputs."""

    INPUT, OUTPUT = 1, 2


class Kind(IntEnum):
    """What numbers it holds."""

    FLOAT, HALF = 0, 1


class Context:
    """Runs a network that answers with the same rows and the mean of each picture as score."""

    def __init__(self, kind: type) -> None:
        self._kind = kind
        self._shape: tuple[int, ...] = ()
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, _name: str, shape: tuple[int, ...]) -> bool:
        self._shape = tuple(shape)
        return shape[0] <= 4

    def get_tensor_shape(self, _name: str) -> tuple[int, ...]:
        return self._shape[0], 300, 6

    def set_tensor_address(self, name: str, address: int) -> None:
        self._addresses[name] = address

    def execute_async_v3(self, _stream: int) -> bool:
        given = _at(self._addresses["images"], self._shape, self._kind)
        answer = _at(self._addresses["output0"], (self._shape[0], 300, 6), np.float32)
        answer[:] = end_to_end(ROW)
        answer[:, 0, 4] = given.astype(np.float32).mean(axis=(1, 2, 3))
        return True


class Logger:
    """Says nothing."""

    WARNING = 1

    def __init__(self, _level: int) -> None:
        pass


class Engine:
    """What TensorRT makes of a plan."""

    num_io_tensors = 2

    def __init__(self, kind: Kind) -> None:
        self._kind = kind

    def get_tensor_name(self, index: int) -> str:
        return ("images", "output0")[index]

    def get_tensor_mode(self, name: str) -> Mode:
        return Mode.INPUT if name == "images" else Mode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Kind:
        return self._kind if name == "images" else Kind.FLOAT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, 3, SIZE, SIZE) if name == "images" else (-1, 300, 6)

    def get_tensor_profile_shape(self, _name: str, _profile: int) -> list[tuple[int, ...]]:
        return [(1, 3, SIZE, SIZE), (4, 3, SIZE, SIZE), (4, 3, SIZE, SIZE)]

    def create_execution_context(self) -> Context:
        return Context(np.float16 if self._kind is Kind.HALF else np.float32)


def _at(address: int, shape: tuple[int, ...], kind: type) -> np.ndarray:
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(address), kind).reshape(shape)


class Cuda:
    """CUDA's runtime, with the machine's memory as the GPU's."""

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)  # noqa: N815

    def __init__(self) -> None:
        self.held: dict[int, Any] = {}
        self.gpus = 1
        self.streams = 0

    def cudaGetDeviceCount(self) -> tuple[int, int]:  # noqa: N802
        return 0, self.gpus

    def cudaGetDeviceProperties(self, _index: int) -> tuple[int, SimpleNamespace]:  # noqa: N802
        return 0, SimpleNamespace(name=b"Stand-in\0", major=9, minor=0)

    def cudaStreamCreate(self) -> tuple[int, int]:  # noqa: N802
        self.streams += 1
        return 0, self.streams

    def cudaStreamDestroy(self, _stream: int) -> tuple[int]:  # noqa: N802
        self.streams -= 1
        return (0,)

    def cudaStreamSynchronize(self, _stream: int) -> tuple[int]:  # noqa: N802
        return (0,)

    def cudaMalloc(self, size: int) -> tuple[int, int]:  # noqa: N802
        buffer = ctypes.create_string_buffer(size)
        self.held[ctypes.addressof(buffer)] = buffer
        return 0, ctypes.addressof(buffer)

    def cudaFree(self, address: int) -> tuple[int]:  # noqa: N802
        del self.held[address]
        return (0,)

    def cudaMemcpyAsync(self, to: int, source: int, size: int, _kind: int, _stream: int) -> tuple[int]:  # noqa: N802
        ctypes.memmove(to, source, size)
        return (0,)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    """A machine with the stand-ins."""
    runtime = Cuda()
    plans = {b"plan": Kind.FLOAT, b"halved": Kind.HALF}

    class Runtime:
        def __init__(self, _logger: object) -> None:
            pass

        def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
            return Engine(plans[plan]) if plan in plans else None

    library: Any = ModuleType("tensorrt")
    library.__version__ = "11.4.0"
    library.Runtime, library.TensorIOMode, library.DataType = Runtime, Mode, Kind
    library.Logger = Logger
    library.nptype = lambda kind: np.float16 if kind is Kind.HALF else np.float32
    modules = {"tensorrt": library, "cuda.bindings.runtime": runtime}
    monkeypatch.setattr(tensorrt, "import_module", modules.__getitem__)
    return runtime


@pytest.mark.parametrize("plan", [b"plan", b"halved"])
def test_an_engine_answers_like_any_network(cuda: Cuda, tmp_path: Path, plan: bytes) -> None:
    network = TensorrtNetwork(engine_file(tmp_path / "m.engine", plan=plan), SETTINGS)
    assert network.provider == "TensorRT 11.4.0 on Stand-in"
    assert (network.input.size, network.input.batch, network.parallel) == (SIZE, None, 2)
    detector = NetworkDetector(network, SETTINGS, name="M")
    assert detector.provider == network.provider
    for count in (4, 1, 3):
        batch = np.stack([np.full((3, SIZE, SIZE), (number + 1) / 8, np.float32) for number in range(count)])
        scores = network.run(batch)[:, 0, 4]
        assert scores == pytest.approx([(number + 1) / 8 for number in range(count)], abs=1e-3)


def test_the_memory_of_an_engine_that_was_exchanged_is_given_back(cuda: Cuda, tmp_path: Path) -> None:
    network = TensorrtNetwork(engine_file(tmp_path / "m.engine"), SETTINGS)
    for count in (1, 4, 2):
        network.run(np.zeros((count, 3, SIZE, SIZE), np.float32))
    assert cuda.held
    del network
    assert (cuda.held, cuda.streams) == ({}, 0)


def test_an_engine_for_fewer_pictures_is_told_with_the_remedy(cuda: Cuda, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"max_batch": 8})
    with pytest.raises(BackendUnavailable, match=r"takes 4 pictures at a time, detector\.max_batch is 8") as told:
        TensorrtNetwork(engine_file(tmp_path / "m.engine"), settings)
    assert told.value.remedy.startswith("Set detector.max_batch to 4")


def test_an_engine_of_another_gpu_is_refused(cuda: Cuda, tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable, match=r"TensorRT 11\.4\.0 refuses m\.engine"):
        TensorrtNetwork(engine_file(tmp_path / "m.engine", plan=b"of another"), SETTINGS)


def test_an_engine_is_found_under_its_key_and_its_failure_told(cuda: Cuda, tmp_path: Path) -> None:
    weights, cache = constant_model(tmp_path / "m.onnx", end_to_end(ROW)), EngineCache(tmp_path)
    key = engine_key(weights, SETTINGS)
    assert (key.gpu, key.capability, key.tensorrt, key.size, key.most) == ("Stand-in", "9.0", "11.4.0", SIZE, 4)
    with pytest.raises(EngineNotBuilt, match="not built yet"):
        load_built(weights, SETTINGS, cache)
    engine = engine_file(tmp_path / f"{key.id}.engine")
    note_digest(engine, sha256_of(engine))
    assert load_built(weights, SETTINGS, cache).provider.startswith("TensorRT")
    halved = SETTINGS.model_copy(update={"precision": Precision.F16})
    cache.note_failure(engine_key(weights, halved), "out of memory")
    assert load_built(weights, SETTINGS, cache).provider.startswith("TensorRT")
    with pytest.raises(BackendUnavailable, match=r"could not be built \(out of memory\)"):
        load_built(weights, halved, cache)


def test_without_a_gpu_or_the_library_that_is_said(cuda: Cuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda.gpus = 0
    with pytest.raises(BackendAbsent, match="CUDA finds no GPU"):
        engine_key(tmp_path / "m.onnx", SETTINGS)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(BackendAbsent, match="TensorRT is not installed") as told:
        TensorrtNetwork(engine_file(tmp_path / "m.engine"), SETTINGS)
    assert "the extra tensorrt" in told.value.remedy


def test_a_header_becomes_the_metadata_of_the_onnx_form(tmp_path: Path) -> None:
    metadata, plan = read_engine(engine_file(tmp_path / "m.engine"))
    assert metadata == {
        "names": "{'0': 'person'}",
        "task": "detect",
        "stride": "32",
        "imgsz": "[64, 64]",
        "end2end": "True",
    }
    assert plan == b"plan"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "found 0 bytes"),
        (b"\x01", "found 1 bytes that begin with 01"),
        (b"<html>404</html>", "found 16 bytes that begin with 3c 68"),
        (b"\xff\xff\xff\xff{}", "found 6 bytes"),
        (b"\x02\x00\x00\x00{}", "found 6 bytes"),
        (b"\x02\x00\x00\x00{]plan", "found a header that is no JSON"),
        (b"\x02\x00\x00\x00[]plan", "found list as header"),
        (b"\x04\x00\x00\x00\xff\xfe\xfd\xfcplan", "found a header that is no JSON"),
    ],
)
def test_what_is_no_engine_is_refused(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "m.engine"
    path.write_bytes(content)
    with pytest.raises(DetectorUnusable, match=f"an engine .* was expected; {found}"):
        read_engine(path)
    with pytest.raises(DetectorUnusable, match="an engine was expected; found No such file"):
        read_engine(tmp_path / "absent.engine")


@pytest.mark.gpu
@pytest.mark.parametrize("precision", [Precision.F32, Precision.F16])
async def test_tensorrt_itself_builds_and_runs(tmp_path: Path, precision: Precision) -> None:
    pytest.importorskip("tensorrt", reason="TensorRT is not installed")
    pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    settings = SETTINGS.model_copy(update={"precision": precision})
    weights, cache = constant_model(tmp_path / "m.onnx", end_to_end(ROW)), EngineCache(tmp_path / "engines")
    try:
        key = engine_key(weights, settings)
    except BackendAbsent as error:
        pytest.skip(str(error))
    await cache.build(weights, key, ToolBuilder(), lambda _done: None)
    network = load_built(weights, settings, cache)
    answer = network.run(np.zeros((3, 3, SIZE, SIZE), np.float32))
    assert np.abs(answer - end_to_end(ROW)).max() < (1e-2 if precision is Precision.F16 else 1e-5)
