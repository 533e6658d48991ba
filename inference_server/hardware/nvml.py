# SPDX-License-Identifier: AGPL-3.0-or-later
"""NVIDIA GPUs, as NVML tells about them: the only module that knows its library."""

import importlib
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, Self

from inference_server.core.hardware import GpuAbsence, GpuDevice, GpuReading, NoGpu

THROTTLING: dict[int, str] = {
    0x04: "it reached its power limit",
    0x08: "the hardware slows it down",
    0x20: "it is too hot (driver)",
    0x40: "it is too hot (hardware)",
    0x80: "the power supply asks it to brake",
    0x200: "the board's limit is reached",
    0x400: "its voltage is at its limit",
}
"""The reasons of nvmlClocksEventReasons* that say that something is wrong; others (idle, a chosen clock) do not."""

_INSTALL = (
    "Install NVIDIA's driver; in a container also the NVIDIA Container Toolkit, and start it with --gpus all. "
    "Without an NVIDIA GPU nothing has to be done."
)
_RELOAD = "Load the driver (modprobe nvidia), or restart the machine: after an update both parts have to be new."
_PERMISSION = "Give this user access to /dev/nvidia* (in a container: --gpus all, NVIDIA_DRIVER_CAPABILITIES=all)."
_LOST = "Restart the machine. If it happens again, check the GPU's power, cooling and seat."
_REPORT = "Run nvidia-smi: it says what the driver complains about."


class NoGpuError(Exception):
    """No GPU can be used, or not this one; `why` tells the reasons apart."""

    def __init__(self, why: NoGpu) -> None:
        """Keep the reason."""
        super().__init__(why.message)
        self.why = why


class Gpus(Protocol):
    """Tells about the GPUs. Its methods block."""

    def devices(self) -> tuple[GpuDevice, ...]:
        """Return all GPUs, at least one. Raises NoGpuError."""
        ...

    def read(self, index: int, at: datetime) -> GpuReading:
        """Return what a GPU does now. Raises NoGpuError."""
        ...

    def close(self) -> None:
        """Let go of the library."""
        ...


type OpenGpus = Callable[[], Gpus]
"""Opens the library. Raises NoGpuError."""


def _imported() -> Any:
    try:
        return importlib.import_module("pynvml")
    except ImportError as error:
        message = f"NVIDIA GPUs cannot be looked for: {error}."
        raise NoGpuError(NoGpu(GpuAbsence.NO_LIBRARY, message, "Install nvidia-ml-py.")) from error


class Nvml:
    """The GPUs through NVML (nvidia-ml-py). What a GPU does not support is None."""

    def __init__(self, library: Any = None) -> None:
        """Open NVML; `library` stands in for the module `pynvml`. Raises NoGpuError."""
        self._library: Any = library or _imported()
        self._call(self._library.nvmlInit)

    def __enter__(self) -> Self:
        """Give the GPUs."""
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Let go of the library."""
        self.close()

    def devices(self) -> tuple[GpuDevice, ...]:
        """Return all GPUs, at least one. Raises NoGpuError."""
        count = int(self._call(self._library.nvmlDeviceGetCount))
        if count == 0:
            raise NoGpuError(NoGpu(GpuAbsence.NO_DEVICE, "The NVIDIA driver is there and finds no GPU.", _REPORT))
        return tuple(map(self._device, range(count)))

    def read(self, index: int, at: datetime) -> GpuReading:
        """Return what a GPU does now. Raises NoGpuError."""
        library = self._library
        handle = self._call(library.nvmlDeviceGetHandleByIndex, index)
        memory = self._maybe(library.nvmlDeviceGetMemoryInfo, handle)
        rates = self._maybe(library.nvmlDeviceGetUtilizationRates, handle)
        reasons = self._maybe(library.nvmlDeviceGetCurrentClocksEventReasons, handle) or 0
        return GpuReading(
            at=at,
            memory_used=int(memory.used) if memory else 0,
            memory_total=int(memory.total) if memory else 0,
            utilisation=int(rates.gpu) if rates else None,
            temperature=self._maybe(library.nvmlDeviceGetTemperature, handle, library.NVML_TEMPERATURE_GPU),
            power=self._watts(library.nvmlDeviceGetPowerUsage, handle),
            power_limit=self._watts(library.nvmlDeviceGetEnforcedPowerLimit, handle),
            throttling=tuple(text for bit, text in THROTTLING.items() if reasons & bit),
        )

    def close(self) -> None:
        """Let go of the library."""
        self._maybe(self._library.nvmlShutdown)

    def _device(self, index: int) -> GpuDevice:
        library = self._library
        handle = self._call(library.nvmlDeviceGetHandleByIndex, index)
        memory = self._maybe(library.nvmlDeviceGetMemoryInfo, handle)
        cuda = self._maybe(library.nvmlSystemGetCudaDriverVersion_v2)
        compute = self._maybe(library.nvmlDeviceGetCudaComputeCapability, handle)
        mig = self._maybe(library.nvmlDeviceGetMigMode, handle)
        return GpuDevice(
            index=index,
            name=_text(self._call(library.nvmlDeviceGetName, handle)),
            uuid=_text(self._maybe(library.nvmlDeviceGetUUID, handle)),
            memory_bytes=int(memory.total) if memory else 0,
            driver=_text(self._maybe(library.nvmlSystemGetDriverVersion)),
            cuda=(cuda // 1000, cuda % 1000 // 10) if cuda else None,
            compute=(int(compute[0]), int(compute[1])) if compute else None,
            mig=bool(mig and mig[0]),
        )

    def _watts(self, function: Callable[..., Any], handle: Any) -> float | None:
        milliwatts = self._maybe(function, handle)
        return None if milliwatts is None else round(milliwatts / 1000, 1)

    def _maybe(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return what the library answers, None for what this GPU, driver or library does not know."""
        try:
            return self._call(function, *arguments)
        except NoGpuError as error:
            if error.why.reason in {GpuAbsence.FAILED, GpuAbsence.NO_PERMISSION}:
                return None
            raise

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except self._library.NVMLError as error:
            raise NoGpuError(_explained(self._library, error)) from error


def _explained(library: Any, error: Any) -> NoGpu:
    """Return what an error of NVML means, by its number."""
    known = {
        library.NVML_ERROR_LIBRARY_NOT_FOUND: (GpuAbsence.NO_LIBRARY, "No NVIDIA driver was found.", _INSTALL),
        library.NVML_ERROR_DRIVER_NOT_LOADED: (
            GpuAbsence.NO_DRIVER,
            "NVIDIA's library is installed, its driver is not loaded.",
            _RELOAD,
        ),
        library.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
            GpuAbsence.NO_DRIVER,
            "NVIDIA's library and its loaded driver are of different versions.",
            _RELOAD,
        ),
        library.NVML_ERROR_NO_PERMISSION: (
            GpuAbsence.NO_PERMISSION,
            "This user may not use the NVIDIA driver.",
            _PERMISSION,
        ),
        library.NVML_ERROR_GPU_NOT_FOUND: (GpuAbsence.NO_DEVICE, "The NVIDIA driver finds no GPU.", _REPORT),
        library.NVML_ERROR_GPU_IS_LOST: (GpuAbsence.LOST, "The GPU fell off the bus.", _LOST),
        library.NVML_ERROR_RESET_REQUIRED: (GpuAbsence.LOST, "The GPU has to be reset.", _LOST),
    }
    reason, message, remedy = known.get(
        error.value, (GpuAbsence.FAILED, f"The NVIDIA driver reports: {error}.", _REPORT)
    )
    return NoGpu(reason, message, remedy)


def _text(value: object) -> str:
    """Return a text of NVML, which older versions of its library give as bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
