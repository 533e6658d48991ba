# SPDX-License-Identifier: AGPL-3.0-or-later
"""TensorRT: an engine that was built on the GPU that it runs on, with buffers of CUDA's own runtime (no PyTorch)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from inference_server.detection.backends.model import ModelInput, RawInput, check_outputs, read_input
from inference_server.detection.backends.network import PARALLEL, Floats
from inference_server.detection.backends.onnx import model_input
from inference_server.detection.backends.provider import GPU_BATCH
from inference_server.detection.errors import BackendAbsent, BackendUnavailable, DetectorUnusable
from inference_server.models.digest import sha256_of
from inference_server.models.engines import EngineCache, EngineKey
from inference_server.settings import DetectorSettings

_INSTALL = "Install the extra tensorrt: `uv pip install '.[tensorrt]'`; it fetches TensorRT from its maker's index."
_DRIVER = "Check with `nvidia-smi` that the driver works here and that the container sees the GPU."
_REBUILD = "Engines work on the GPU and with the TensorRT that they were built with: build it again here."
_MOST_HEADER = 1 << 20
_LENGTH_BYTES = 4


class EngineNotBuilt(BackendAbsent):
    """The engine of a model is not there yet; it is built in the background."""


class TensorrtNetwork:
    """An engine, with one context for each picture that may be under way at a time."""

    def __init__(self, path: Path, settings: DetectorSettings) -> None:
        """Load an engine.

        Raises BackendUnavailable where TensorRT, the GPU or the engine cannot be used, DetectorUnusable for a file
        that is none.
        """
        libraries = _libraries()
        metadata, plan = read_engine(path)
        self._metadata = metadata
        # The runtime has to outlive its engine.
        self._runtime = libraries.tensorrt.Runtime(libraries.tensorrt.Logger(libraries.tensorrt.Logger.WARNING))
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise BackendUnavailable(f"TensorRT {libraries.tensorrt.__version__} refuses {path.name}", _REBUILD)
        given, output = _ports(libraries.tensorrt, self._engine)
        taken = read_input(given, metadata, settings.input_size)
        most = _most(self._engine, taken)
        self._input = replace(taken, most=most)
        if self._input.batch is None and most < settings.max_batch:
            raise BackendUnavailable(
                f"the engine takes {most} pictures at a time, detector.max_batch is {settings.max_batch}",
                f"Set detector.max_batch to {most}, or build the engine for more.",
            )
        self._provider = f"TensorRT {libraries.tensorrt.__version__} on {_gpu(libraries.runtime)[0]}"
        self._slots: SimpleQueue[_Slot] = SimpleQueue()
        for _ in range(PARALLEL):
            self._slots.put(_Slot(libraries, self._engine, self._input, output))

    @property
    def input(self) -> ModelInput:
        """What the engine takes."""
        return self._input

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the model's exporter wrote."""
        return self._metadata

    @property
    def provider(self) -> str:
        """The version of TensorRT and the GPU."""
        return self._provider

    @property
    def parallel(self) -> int:
        """How many calls of `run` are worth making at a time: one is copied while the other one is inferred."""
        return PARALLEL

    def run(self, batch: Floats) -> Floats:
        """Return the output for float32 [N, 3, S, S]."""
        slot = self._slots.get()
        try:
            return slot.run(batch)
        finally:
            self._slots.put(slot)


def load_built(path: Path, settings: DetectorSettings, cache: EngineCache) -> TensorrtNetwork:
    """Return the network of an engine file, or of the engine that was built from an ONNX file.

    Raises EngineNotBuilt while there is none, BackendUnavailable when it could not be built.
    """
    if path.suffix.lower() == ".engine":
        return TensorrtNetwork(path, settings)
    key = engine_key(path, settings)
    if engine := cache.find(key):
        return TensorrtNetwork(engine, settings)
    if reason := cache.failure(key):
        raise BackendUnavailable(
            f"its engine could not be built ({reason})",
            f"An update of TensorRT, the model or the settings builds it anew; so does removing {key.id}.failed.json.",
        )
    raise EngineNotBuilt("its engine is not built yet", "It is built in the background and then used by itself.")


def engine_key(path: Path, settings: DetectorSettings) -> EngineKey:
    """Return what the engine of an ONNX file would depend on here.

    Raises BackendAbsent without TensorRT or a GPU, DetectorUnusable for a file that is no detector.
    """
    libraries = _libraries()
    name, capability = _gpu(libraries.runtime)
    return EngineKey(
        weights=sha256_of(path),
        gpu=name,
        capability=capability,
        tensorrt=str(libraries.tensorrt.__version__),
        precision=settings.precision.value,
        size=model_input(path, settings).size,
        most=settings.max_batch or GPU_BATCH,
    )


def read_engine(path: Path) -> tuple[dict[str, str], bytes]:
    """Return an engine file's metadata, each value as the text that the ONNX form would hold, and the engine itself.

    Raises DetectorUnusable for a file that does not begin with a header of Ultralytics.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DetectorUnusable(f"an engine was expected; found {error.strerror or error}") from error
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    end = _LENGTH_BYTES + length
    expected = "an engine with the header of Ultralytics (a length and JSON) was expected"
    if not 0 < length <= _MOST_HEADER or end >= len(content):
        raise DetectorUnusable(f"{expected}; found {len(content)} bytes that begin with {content[:8].hex(' ')}")
    try:
        header = json.loads(content[_LENGTH_BYTES:end])
    except (ValueError, RecursionError) as error:
        raise DetectorUnusable(f"{expected}; found a header that is no JSON ({error})") from error
    if not isinstance(header, dict):
        raise DetectorUnusable(f"{expected}; found {type(header).__name__} as header")
    return {str(key): str(value) for key, value in header.items()}, content[end:]


@dataclass(frozen=True, slots=True)
class _Libraries:
    tensorrt: Any
    runtime: Any


def _libraries() -> _Libraries:
    """Import the extra. Raises BackendAbsent."""
    try:
        return _Libraries(import_module("tensorrt"), import_module("cuda.bindings.runtime"))
    except (ImportError, OSError) as error:
        raise BackendAbsent(f"TensorRT is not installed ({error})", _INSTALL) from error


def _gpu(runtime: Any) -> tuple[str, str]:
    """Return the first GPU's name and compute capability. Raises BackendAbsent."""
    status, count = runtime.cudaGetDeviceCount()
    if int(status) != 0 or not count:
        raise BackendAbsent(f"CUDA finds no GPU ({_name_of(status)})", _DRIVER)
    properties = _checked(runtime.cudaGetDeviceProperties(0))
    name = properties.name
    return (name.decode() if isinstance(name, bytes) else str(name)).strip(
        "\0 "
    ), f"{properties.major}.{properties.minor}"


def _checked(answer: tuple[Any, ...]) -> Any:
    """Return what a call of CUDA's runtime gave. Raises RuntimeError for its status."""
    status, *values = answer
    if int(status) != 0:
        raise RuntimeError(f"CUDA: {_name_of(status)}")
    return values[0] if values else None


def _name_of(status: Any) -> str:
    """Return the name of a status of CUDA, such as cudaErrorInsufficientDriver."""
    return str(getattr(status, "name", status))


def _ports(trt: Any, engine: Any) -> tuple[list[RawInput], str]:
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    outputs = [name for name in names if name not in inputs]
    check_outputs([_shape(engine.get_tensor_shape(name)) for name in outputs])
    return [_raw(trt, engine, name) for name in inputs], outputs[0]


def _raw(trt: Any, engine: Any, name: str) -> RawInput:
    kind = engine.get_tensor_dtype(name)
    # An engine of Ultralytics in f16 takes 16-bit pictures as well; they are converted.
    return RawInput(
        name, str(kind), kind in {trt.DataType.FLOAT, trt.DataType.HALF}, _shape(engine.get_tensor_shape(name))
    )


def _shape(sides: Sequence[int]) -> tuple[int | None, ...]:
    return tuple(side if side >= 0 else None for side in sides)


def _most(engine: Any, given: ModelInput) -> int:
    return given.batch or int(engine.get_tensor_profile_shape(given.name, 0)[2][0])


class _Slot:
    """An execution context with a stream and device memory of its own, which grows to what it needs."""

    def __init__(self, libraries: _Libraries, engine: Any, given: ModelInput, output: str) -> None:
        self._runtime = libraries.runtime
        self._names = given.name, output
        self._context = engine.create_execution_context()
        self._kinds = [np.dtype(libraries.tensorrt.nptype(engine.get_tensor_dtype(name))) for name in self._names]
        self._stream = _checked(self._runtime.cudaStreamCreate())
        self._memory: list[tuple[int, int]] = [(0, 0), (0, 0)]

    def run(self, batch: Floats) -> Floats:
        pictures = np.ascontiguousarray(batch, self._kinds[0])
        if not self._context.set_input_shape(self._names[0], pictures.shape):
            raise RuntimeError(f"the engine refuses pictures of the shape {pictures.shape}")
        answer = np.empty(tuple(self._context.get_tensor_shape(self._names[1])), self._kinds[1])
        kinds, stream = self._runtime.cudaMemcpyKind, self._stream
        addresses = [self._room(index, array.nbytes) for index, array in enumerate((pictures, answer))]
        for name, address in zip(self._names, addresses, strict=True):
            self._context.set_tensor_address(name, address)
        self._copy(addresses[0], pictures.ctypes.data, pictures.nbytes, kinds.cudaMemcpyHostToDevice)
        if not self._context.execute_async_v3(int(stream)):
            raise RuntimeError("TensorRT could not run the engine")
        self._copy(answer.ctypes.data, addresses[1], answer.nbytes, kinds.cudaMemcpyDeviceToHost)
        _checked(self._runtime.cudaStreamSynchronize(stream))
        return np.asarray(answer, np.float32)

    def _copy(self, to: int, source: int, size: int, kind: Any) -> None:
        _checked(self._runtime.cudaMemcpyAsync(to, source, size, kind, self._stream))

    def _room(self, index: int, size: int) -> int:
        address, held = self._memory[index]
        if held < size:
            if held:
                _checked(self._runtime.cudaFree(address))
                self._memory[index] = (0, 0)
            address = int(_checked(self._runtime.cudaMalloc(size)))
            self._memory[index] = (address, size)
        return address

    def __del__(self) -> None:
        """Give the GPU's memory back: a detector that was exchanged is dropped."""
        for address, held in getattr(self, "_memory", ()):
            if held:
                self._runtime.cudaFree(address)
        if hasattr(self, "_stream"):
            self._runtime.cudaStreamDestroy(self._stream)
