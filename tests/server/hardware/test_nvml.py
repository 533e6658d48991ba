# SPDX-License-Identifier: AGPL-3.0-or-later
"""What NVML says and how it fails, on a library that stands in for it, on the real one, and on a real GPU."""

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from inference_server.core.hardware import GIB, GpuAbsence, GpuDevice, GpuReading
from inference_server.hardware.nvml import Gpus, NoGpuError, Nvml
from inference_server.hardware.probe import probe
from tests.support.gpus import FakeGpus

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)


def library(**changes: Any) -> Any:
    """Return a stand-in for `pynvml` with one RTX 4090; a change that is a number is the error that is raised."""
    answers: dict[str, Any] = {
        "nvmlInit": None,
        "nvmlShutdown": None,
        "nvmlDeviceGetCount": 1,
        "nvmlDeviceGetHandleByIndex": "handle",
        "nvmlDeviceGetName": b"RTX 4090",
        "nvmlDeviceGetUUID": "GPU-1",
        "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=24 * GIB, used=6 * GIB),
        "nvmlSystemGetDriverVersion": "580.95.05",
        "nvmlSystemGetCudaDriverVersion_v2": 13020,
        "nvmlDeviceGetCudaComputeCapability": (8, 9),
        "nvmlDeviceGetMigMode": [0, 0],
        "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=37),
        "nvmlDeviceGetTemperature": 61,
        "nvmlDeviceGetPowerUsage": 120_500,
        "nvmlDeviceGetEnforcedPowerLimit": 450_000,
        "nvmlDeviceGetCurrentClocksEventReasons": 0x1 | 0x4 | 0x40,
    }

    def function(answer: Any) -> Callable[..., Any]:
        def call(*_arguments: Any) -> Any:
            if isinstance(answer, pynvml.NVMLError):
                raise answer
            return answer

        return call

    names = {name: function(changes.pop(name, answer)) for name, answer in answers.items()}
    assert not changes
    constants = {name: value for name, value in vars(pynvml).items() if name.startswith("NVML_")}
    return SimpleNamespace(**constants, NVMLError=pynvml.NVMLError, **names)


def _error(number: int) -> Any:
    return pynvml.NVMLError(number)


def test_a_gpu_is_described_and_read() -> None:
    with Nvml(library()) as gpus:
        assert gpus.devices() == (GpuDevice(0, "RTX 4090", "GPU-1", 24 * GIB, "580.95.05", (13, 2), (8, 9), mig=False),)
        reading = gpus.read(0, NOW)
    assert reading == GpuReading(
        NOW, 6 * GIB, 24 * GIB, 37, 61, 120.5, 450.0, ("it reached its power limit", "it is too hot (hardware)")
    )
    assert reading.memory_percent == 25.0


@pytest.mark.parametrize(
    ("number", "reason", "remedy"),
    [
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, GpuAbsence.NO_LIBRARY, "--gpus all"),
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, GpuAbsence.NO_DRIVER, "modprobe"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, GpuAbsence.NO_DRIVER, "restart the machine"),
        (pynvml.NVML_ERROR_NO_PERMISSION, GpuAbsence.NO_PERMISSION, "/dev/nvidia"),
        (pynvml.NVML_ERROR_UNKNOWN, GpuAbsence.FAILED, "nvidia-smi"),
        (987, GpuAbsence.FAILED, "nvidia-smi"),
    ],
)
def test_each_reason_for_having_no_gpu_has_its_remedy(number: int, reason: GpuAbsence, remedy: str) -> None:
    with pytest.raises(NoGpuError) as caught:
        Nvml(library(nvmlInit=_error(number)))
    assert caught.value.why.reason is reason
    assert remedy in (caught.value.why.remedy or "")


def test_a_driver_without_a_gpu_is_told() -> None:
    with pytest.raises(NoGpuError) as caught:
        Nvml(library(nvmlDeviceGetCount=0)).devices()
    assert caught.value.why.reason is GpuAbsence.NO_DEVICE


@pytest.mark.parametrize("number", [pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED])
def test_a_gpu_that_is_lost_while_it_is_read_is_told(number: int) -> None:
    for name in ("nvmlDeviceGetHandleByIndex", "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetTemperature"):
        with pytest.raises(NoGpuError) as caught:
            Nvml(library(**{name: _error(number)})).read(0, NOW)
        assert caught.value.why.reason is GpuAbsence.LOST


def test_what_a_gpu_does_not_support_is_left_out() -> None:
    names = [name for name in vars(library()) if name.startswith("nvml") and name not in {"nvmlInit", "nvmlShutdown"}]
    needed = {"nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetName"}
    unsupported = _error(pynvml.NVML_ERROR_NOT_SUPPORTED)
    with Nvml(library(**dict.fromkeys(set(names) - needed, unsupported))) as gpus:
        assert gpus.devices() == (GpuDevice(0, "RTX 4090", "", 0, ""),)
        assert gpus.read(0, NOW) == GpuReading(NOW, 0, 0)
        assert gpus.read(0, NOW).memory_percent == 0


def test_the_real_library_says_why_there_is_no_gpu_or_names_it() -> None:
    found = probe()
    assert bool(found.gpus) is (found.no_gpu is None)
    assert found.no_gpu is None or (found.no_gpu.reason in set(GpuAbsence) and found.no_gpu.message.endswith("."))


def _contract(gpus: Gpus) -> None:
    devices = gpus.devices()
    assert [device.index for device in devices] == list(range(len(devices)))
    for device in devices:
        reading = gpus.read(device.index, NOW)
        assert reading.at == NOW
        assert reading.memory_total == device.memory_bytes
        assert 0 <= reading.memory_used <= reading.memory_total
        assert 0 <= (reading.utilisation or 0) <= 100
        assert -20 < (reading.temperature or 0) < 130
    gpus.close()


@pytest.mark.parametrize("opened", [lambda: Nvml(library()), FakeGpus()], ids=["stand-in", "fake"])
def test_the_contract(opened: Callable[[], Gpus]) -> None:
    _contract(opened())


@pytest.mark.gpu
def test_a_real_gpu_keeps_the_contract() -> None:
    try:
        gpus = Nvml()
    except NoGpuError as error:
        pytest.skip(str(error))
    _contract(gpus)
