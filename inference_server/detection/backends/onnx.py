# SPDX-License-Identifier: AGPL-3.0-or-later
"""ONNX Runtime: on the processor, and on NVIDIA GPUs with its CUDA and TensorRT providers.

A provider that cannot work is dropped by the library without an error, and the model runs on the processor. So what a
session really runs on is compared with what was asked for.
"""

import math
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from inference_server.detection.backends.model import ModelInput, RawInput, check_outputs, read_input
from inference_server.detection.backends.network import PARALLEL, Floats, threads_of
from inference_server.detection.backends.provider import GPU_BATCH
from inference_server.detection.errors import BackendAbsent, BackendUnavailable, DetectorUnusable
from inference_server.settings import DetectorSettings, Precision

_FLOAT32 = "tensor(float)"
GPU_REMEDY = (
    "Install the extra gpu in place of the plain runtime, whose files are the same: `uv pip install '.[gpu]'`, then "
    "`uv pip uninstall onnxruntime` and `uv pip install --reinstall --no-deps onnxruntime-gpu`."
)
_DRIVER_REMEDY = (
    "Check with `nvidia-smi` that the driver works here and is new enough for CUDA 13, that the container sees the "
    "GPU, and that the extra gpu is installed."
)


class Provider(StrEnum):
    """ONNX Runtime's names of what it runs on."""

    CPU = "CPUExecutionProvider"
    CUDA = "CUDAExecutionProvider"
    TENSORRT = "TensorrtExecutionProvider"


class OnnxNetwork:
    """An ONNX file in a session of ONNX Runtime."""

    def __init__(
        self, path: Path, settings: DetectorSettings, provider: Provider = Provider.CPU, engines: Path | None = None
    ) -> None:
        """Load a model. The TensorRT provider keeps the engines that it builds in the folder `engines`.

        Raises BackendUnavailable where the provider cannot be had, DetectorUnusable for a file that cannot serve.
        """
        _require(provider)
        if provider is not Provider.CPU:
            _find_cuda()
        threads = threads_of(settings)
        self._parallel = min(PARALLEL, threads)
        chosen = _providers(provider, path, settings, engines)
        self._session = _open(path, math.ceil(threads / self._parallel), chosen)
        if (got := self.provider) != provider:
            raise BackendUnavailable(f"ONNX Runtime dropped {provider} and took {got}", _DRIVER_REMEDY)
        self._metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        check_outputs([_shape(output) for output in self._session.get_outputs()])
        self._input = _read_input(self._session, self._metadata, settings)

    @property
    def input(self) -> ModelInput:
        """What the model takes."""
        return self._input

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the model's exporter wrote."""
        return self._metadata

    @property
    def provider(self) -> str:
        """ONNX Runtime's name of what the model really runs on."""
        return str(self._session.get_providers()[0])

    @property
    def parallel(self) -> int:
        """How many calls of `run` are worth making at a time."""
        return self._parallel

    def run(self, batch: Floats) -> Floats:
        """Return the output for float32 [N, 3, S, S]."""
        return np.asarray(self._session.run(None, {self._input.name: batch})[0], np.float32)


def model_input(path: Path, settings: DetectorSettings) -> ModelInput:
    """Return what an ONNX file takes. Raises DetectorUnusable."""
    session = _open(path, 1, [Provider.CPU])
    return _read_input(session, session.get_modelmeta().custom_metadata_map, settings)


def _read_input(session: Any, metadata: Mapping[str, str], settings: DetectorSettings) -> ModelInput:
    return read_input([_raw(given) for given in session.get_inputs()], metadata, settings.input_size)


def _require(provider: Provider) -> None:
    """Raise BackendAbsent for a provider that the installed ONNX Runtime does not have."""
    if provider in onnxruntime.get_available_providers():
        return
    reason = f"the installed ONNX Runtime has no {provider}"
    if _is_installed("onnxruntime") and _is_installed("onnxruntime-gpu"):
        reason += " (onnxruntime and onnxruntime-gpu are both installed, and the former's files won)"
    raise BackendAbsent(reason, GPU_REMEDY)


def _find_cuda() -> None:
    """Load CUDA and cuDNN from the packages that the extra gpu installs: the providers look on the system's path alone.

    What is not there is left to the provider, which says what it lacks. The library prints; stdout is for answers.
    """
    with redirect_stdout(sys.stderr):
        onnxruntime.preload_dlls()


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def _providers(
    provider: Provider, path: Path, settings: DetectorSettings, engines: Path | None
) -> list[Provider | tuple[Provider, dict[str, str]]]:
    """Return the providers in order of preference, each with its options."""
    # Without this 32-bit numbers are rounded to 19 bits on the way into a multiplication.
    cuda = (Provider.CUDA, {"use_tf32": "0"})
    match provider:
        case Provider.CPU:
            return [Provider.CPU]
        case Provider.CUDA:
            return [cuda, Provider.CPU]
        case Provider.TENSORRT:
            options = {
                "trt_fp16_enable": str(settings.precision is Precision.F16),
                "trt_int8_enable": str(settings.precision is Precision.INT8),
            }
            options |= _profile(model_input(path, settings), settings.max_batch or GPU_BATCH)
            if engines is not None:
                engines.mkdir(parents=True, exist_ok=True)
                options |= {"trt_engine_cache_enable": "True", "trt_engine_cache_path": str(engines)}
            return [(Provider.TENSORRT, options), cuda, Provider.CPU]


def _profile(given: ModelInput, most: int) -> dict[str, str]:
    """Return the batches for which TensorRT builds: without them it builds anew, for minutes, at each larger one."""
    if given.batch is not None:
        return {}
    sides = f"3x{given.size}x{given.size}"
    counts = {"min": 1, "opt": most, "max": most}
    return {f"trt_profile_{kind}_shapes": f"{given.name}:{count}x{sides}" for kind, count in counts.items()}


def _open(path: Path, threads: int, providers: list[Provider | tuple[Provider, dict[str, str]]]) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # The arena would hold on to the memory of the largest run, and saves no time that can be measured. Without it a
    # pattern of the memory makes each run take one large block from the system anew: a third more time for YOLO26n.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    # Spinning threads would take the cores that the language model beside it needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # ONNX Runtime's errors have no public base class
        found = f"{path.stat().st_size} bytes that ONNX Runtime refuses" if path.is_file() else "no such file"
        raise DetectorUnusable(f"an ONNX model was expected; found {found} ({error})") from error


def _raw(given: Any) -> RawInput:
    return RawInput(given.name, given.type, given.type == _FLOAT32, _shape(given))


def _shape(value: Any) -> tuple[int | None, ...]:
    return tuple(side if isinstance(side, int) else None for side in value.shape)
