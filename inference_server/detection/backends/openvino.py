# SPDX-License-Identifier: AGPL-3.0-or-later
"""OpenVINO: on processors, Intel GPUs and Intel NPUs.

It chooses a smaller precision by itself where the processor has one, so f32 is forced unless another was asked for. It
reads ONNX as well as its own .xml. Models that were quantised keep their 8-bit numbers.

Importing it makes it report to its maker through the package openvino-telemetry, which in some versions of Python also
runs the main program a second time. That package is kept from being found, installed or not.
"""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from inference_server.detection.backends.model import ModelInput, RawInput, check_outputs, read_input
from inference_server.detection.backends.network import PARALLEL, Floats, threads_of
from inference_server.detection.errors import BackendAbsent, BackendUnavailable, DetectorUnusable
from inference_server.settings import DetectorSettings, Device, Hint, Precision

_TELEMETRY = "openvino_telemetry"
_DEVICES = {Device.AUTO: "AUTO", Device.CPU: "CPU", Device.GPU: "GPU", Device.NPU: "NPU"}
_NODES = {Device.GPU: ("/dev/dri", "/dev/dxg"), Device.NPU: ("/dev/accel",)}
"""What a driver shows; the second one for a GPU in the Linux of Windows."""
_CAPABILITIES = {Precision.F32: "FP32", Precision.F16: "FP16", Precision.BF16: "BF16", Precision.INT8: "INT8"}
_INSTALL = "Install the extra openvino: `uv pip install '.[openvino]'`."
_DEVICE_REMEDY = (
    "Check that its driver is installed and that the server may open it (/dev/dri for a GPU, /dev/accel for an NPU), "
    "or set detector.device to cpu."
)


class OpenvinoNetwork:
    """A model compiled by OpenVINO, with as many requests as may be under way at a time."""

    def __init__(self, path: Path, settings: DetectorSettings, device: Device) -> None:
        """Read and compile a model.

        Raises BackendUnavailable where the library, the device or the precision cannot be had, DetectorUnusable for a
        file that cannot serve.
        """
        name = _DEVICES[device]
        _require_node(device)
        openvino = library()
        core = openvino.Core()
        _require(core, name, settings.precision)
        model = _read(core, path)
        self._metadata = _metadata(model)
        check_outputs([_shape(output) for output in model.outputs])
        given = read_input([_raw(openvino, given) for given in model.inputs], self._metadata, settings.input_size)
        self._input = _fixed(model, given, alone=settings.max_batch == 1 or device is Device.NPU)
        threads = threads_of(settings)
        self._compiled = _compiled(core, model, name, settings, threads)
        self._provider = _provider(self._compiled, settings.precision)
        best = int(self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._parallel = max(1, min(PARALLEL, best))
        self._requests: SimpleQueue[Any] = SimpleQueue()
        for _ in range(self._parallel):
            self._requests.put(self._compiled.create_infer_request())

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
        """The devices that OpenVINO really uses, and their precision."""
        return self._provider

    @property
    def parallel(self) -> int:
        """How many calls of `run` are worth making at a time."""
        return self._parallel

    def run(self, batch: Floats) -> Floats:
        """Return the output for float32 [N, 3, S, S]: a request of its own is started and waited for."""
        request = self._requests.get()
        try:
            request.start_async({0: batch}, share_inputs=True)
            request.wait()
            # The request's memory is used again by the next picture.
            return np.array(request.get_output_tensor(0).data, np.float32)
        finally:
            self._requests.put(request)


def library() -> Any:
    """Return the library, without its reports to its maker. Raises BackendAbsent."""
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment] # so that importing it fails, as the library allows for
    try:
        import openvino  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise BackendAbsent(f"OpenVINO is not installed ({error})", _INSTALL) from error
    return openvino


def _require_node(device: Device) -> None:
    """Raise BackendAbsent where the system shows no device of a kind: the library need not be loaded to find that."""
    nodes = _NODES.get(device, ())
    if nodes and not any(Path(node).exists() for node in nodes):
        raise BackendAbsent(f"the system shows no {_DEVICES[device]} (none of {', '.join(nodes)})", _DEVICE_REMEDY)


def _require(core: Any, device: str, precision: Precision) -> None:
    """Raise BackendUnavailable where a device is not there or does not compute in a precision."""
    if device == "AUTO":
        return
    found = core.available_devices
    if not any(name == device or name.startswith(f"{device}.") for name in found):
        raise BackendAbsent(f"OpenVINO finds no {device}, only {', '.join(found)}", _DEVICE_REMEDY)
    capabilities = core.get_property(device, "OPTIMIZATION_CAPABILITIES")
    if _CAPABILITIES[precision] not in capabilities:
        name = core.get_property(device, "FULL_DEVICE_NAME")
        has = " or ".join(one for one, capability in _CAPABILITIES.items() if capability in capabilities)
        raise BackendUnavailable(
            f"the {device} ({name}) does not compute in {precision}", f"Set detector.precision to {has}."
        )


def _read(core: Any, path: Path) -> Any:
    try:
        return core.read_model(path)
    except RuntimeError as error:
        found = f"{path.stat().st_size} bytes that OpenVINO refuses" if path.is_file() else "no such file"
        reason = str(error).strip().splitlines()[-1]
        raise DetectorUnusable(f"an ONNX or OpenVINO model was expected; found {found} ({reason})") from error


def _metadata(model: Any) -> Mapping[str, str]:
    """Return what an exporter wrote: into the metadata of ONNX (section framework), or of an .xml (model_info)."""
    found: dict[str, str] = {}
    for section in ("framework", "model_info"):
        if model.has_rt_info(section):
            value = model.get_rt_info(section).value
            if isinstance(value, dict):
                found |= {str(key): str(getattr(entry, "value", entry)) for key, entry in value.items()}
    return found


def _fixed(model: Any, given: ModelInput, *, alone: bool) -> ModelInput:
    """Give a model its one size, and where pictures come alone that too: what is known need not be found out each time.

    NPUs compile nothing whose shape is open.
    """
    fixed = replace(given, batch=1) if alone and given.batch is None else given
    if None in _shape(model.inputs[0]):
        model.reshape([fixed.batch or -1, 3, fixed.size, fixed.size])
    return fixed


def _compiled(core: Any, model: Any, device: str, settings: DetectorSettings, threads: int) -> Any:
    options: dict[str, Any] = {
        "PERFORMANCE_HINT": settings.hint.value.upper(),
        "INFERENCE_PRECISION_HINT": _unquantised(settings.precision).value,
    }
    if device == "CPU":
        streams = min(PARALLEL, threads) if settings.hint is Hint.THROUGHPUT else 1
        options |= {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": streams}
    try:
        return core.compile_model(model, device, options)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        message = f"OpenVINO cannot compile the model for {device} ({reason})"
        raise BackendUnavailable(message, _DEVICE_REMEDY) from error


def _provider(compiled: Any, wanted: Precision) -> str:
    """Return the devices in use and their precision. Raises BackendUnavailable for another than the wanted one."""
    found = ", ".join(compiled.get_property("EXECUTION_DEVICES"))
    try:
        precision = str(compiled.get_property("INFERENCE_PRECISION_HINT").to_string())
    except RuntimeError:  # AUTO, which does not tell
        return f"OpenVINO {found}"
    if precision != _unquantised(wanted):
        raise BackendUnavailable(
            f"OpenVINO computes in {precision} on {found} where {wanted} was asked for",
            f"Set detector.precision to {precision}.",
        )
    return f"OpenVINO {found} {wanted}"


def _unquantised(precision: Precision) -> Precision:
    """Return in what numbers those layers compute that have no 8-bit ones."""
    return Precision.F32 if precision is Precision.INT8 else precision


def _raw(openvino: Any, given: Any) -> RawInput:
    kind = given.get_element_type()
    return RawInput(given.get_any_name(), kind.get_type_name(), kind == openvino.Type.f32, _shape(given))


def _shape(port: Any) -> tuple[int | None, ...]:
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        return ()
    return tuple(side.get_length() if side.is_static else None for side in shape)
