# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the doctor says of machines of all kinds."""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from inference_server.core.diagnosis import Finding, FindingState
from inference_server.core.hardware import GpuAbsence, NoGpu, TierName
from inference_server.doctor import extras, machine
from inference_server.hardware.intel import IntelDevices
from inference_server.hardware.memory import Memory
from inference_server.hardware.probe import Hardware
from inference_server.hardware.runtime import Runtime
from inference_server.settings import HardwareSettings, Settings
from tests.support.gpus import CPU_RUNTIME, CUDA_RUNTIME, card, hardware

NODE = Path("/dev/dri/renderD128")
PERMISSION = NoGpu(GpuAbsence.NO_PERMISSION, "This user may not use the NVIDIA driver.", "Give it access.")
NO_DRIVER = NoGpu(GpuAbsence.NO_DRIVER, "Its driver is not loaded.", "modprobe nvidia")
OLD_DRIVER = replace(card(12), driver="535.54", cuda=(12, 2))
OK, WARNING, PROBLEM = FindingState


def test_this_python_is_one_of_the_tested() -> None:
    (finding,) = machine.python()
    assert finding.state is OK
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in finding.found


def test_an_untested_python_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "NEWEST_PYTHON", (3, 11))
    (finding,) = machine.python()
    assert finding.state is WARNING


@pytest.mark.parametrize(
    ("found", "state", "told"),
    [
        (hardware().processor, OK, "4 of 4 threads"),
        (replace(hardware().processor, features=()), WARNING, "none of the features"),
        (replace(hardware().processor, cores=0.5), WARNING, "0.5 of 4 threads"),
    ],
)
def test_processors(found: object, state: FindingState, told: str) -> None:
    finding = machine.processor(replace(hardware(), processor=found))  # type: ignore[arg-type]
    assert finding.state is state
    assert told in finding.found
    assert (finding.remedy is None) is (state is OK)


def test_memory_and_a_containers_limit() -> None:
    assert machine.memory(hardware()).state is OK
    tight = machine.memory(replace(hardware(), memory=Memory(8 << 30, 1 << 30, 100 << 20)))
    assert tight.state is WARNING
    assert tight.found == "8.0 GiB, of which this container may use 1.0 GiB; 0.1 GiB free"


@pytest.mark.parametrize(
    ("found", "state", "told", "remedy"),
    [
        (hardware(), OK, "No NVIDIA GPU: No NVIDIA driver was found.", None),
        (hardware(runtime=CUDA_RUNTIME), WARNING, "No NVIDIA driver", "Install NVIDIA's driver."),
        (hardware(no_gpu=PERMISSION), WARNING, "may not use", "Give it access."),
        (hardware(no_gpu=NO_DRIVER), WARNING, "not loaded", "modprobe nvidia"),
        (hardware(card(24), runtime=CUDA_RUNTIME), OK, "driver 580.95.05 (CUDA up to 13.0)", None),
        (hardware(card(24), runtime=CPU_RUNTIME), WARNING, "built without CUDA", "onnxruntime-gpu"),
        (hardware(OLD_DRIVER, runtime=CUDA_RUNTIME), PROBLEM, "wants CUDA 13", "580.65.06 or newer"),
        (hardware(replace(card(80), mig=True), runtime=CUDA_RUNTIME), WARNING, "(MIG)", "nvidia-smi -mig 0"),
        (hardware(replace(card(8), cuda=None), runtime=CUDA_RUNTIME), OK, "unknown version", None),
    ],
)
def test_gpus(found: Hardware, state: FindingState, told: str, remedy: str | None) -> None:
    (finding,) = machine.gpu(found)
    assert finding.state is state
    assert told in finding.found
    assert finding.remedy == remedy or (remedy is not None and remedy in (finding.remedy or ""))


def test_intels_devices() -> None:
    usable = hardware(intel=IntelDevices(gpu=NODE, openvino=True))
    assert [finding.state for finding in machine.gpu(usable)] == [OK, OK]
    without = list(machine.gpu(hardware(intel=IntelDevices(gpu=NODE))))[1]
    assert (without.state, "openvino is not installed" in without.found) == (OK, True)


@pytest.mark.parametrize(
    ("intel", "app", "told", "remedy"),
    [
        (IntelDevices(gpu=NODE, denied=(NODE,), openvino=True), False, "may not be opened", "usermod -aG"),
        (IntelDevices(gpu=NODE, denied=(NODE,), openvino=True), True, "may not be opened", "Restart the app"),
        (IntelDevices(gpu=NODE, driverless=(NODE,), openvino=True), False, "no driver", "intel-opencl-icd"),
        (IntelDevices(gpu=NODE, driverless=(NODE,), openvino=True), True, "no driver", "from 2020 on"),
        (IntelDevices(npu=NODE, driverless=(NODE,), openvino=True), False, "no driver", "linux-npu-driver"),
    ],
)
def test_an_intel_device_that_cannot_be_used_has_a_remedy_for_whoever_reads_it(
    intel: IntelDevices, app: bool, told: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SUPERVISOR_TOKEN", raising=False)
    if app:
        monkeypatch.setenv("SUPERVISOR_TOKEN", "t")
    finding = list(machine.gpu(hardware(intel=intel)))[1]
    assert (finding.state, told in finding.found, remedy in (finding.remedy or "")) == (WARNING, True, True), finding


@pytest.mark.parametrize(
    ("found", "state", "told"),
    [
        (CPU_RUNTIME, OK, "ONNX Runtime 1.32.0"),
        (None, PROBLEM, "cannot be loaded"),
        (Runtime("1", (), ("onnxruntime", "onnxruntime-gpu")), PROBLEM, "overwrite each other"),
        (CUDA_RUNTIME, WARNING, "build for GPUs"),
    ],
)
def test_runtimes(found: Runtime | None, state: FindingState, told: str) -> None:
    finding = machine.runtime(hardware(runtime=found))
    assert finding.state is state
    assert told in finding.found


def _tier(wanted: TierName | None, found: Hardware) -> Finding:
    return machine.tier(found, Settings(hardware=HardwareSettings(tier=wanted)))


def test_tiers() -> None:
    assert _tier(None, hardware()).found == "cpu: no GPU that could be used; detector yolo26n, analyst none"
    beyond = _tier(TierName.NVIDIA_24GB, hardware(card(8), runtime=CUDA_RUNTIME))
    assert beyond.state is WARNING
    assert "it wants 22.0 GiB of GPU memory, and RTX 4090 has 8.0 GiB" in beyond.found
    assert "nvidia-8gb fits this machine" in (beyond.remedy or "")
    below = _tier(TierName.NVIDIA_8GB, hardware(card(24), runtime=CUDA_RUNTIME))
    assert below.state is OK
    assert below.found.endswith("nvidia-24gb would fit too")


def _missing(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    known: Callable[[str], object] = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in modules else known(name))


def test_extras_that_nobody_asks_for_are_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    _missing(monkeypatch, "asyncpg", "redis", "openvino", "llama_cpp", "ultralytics")
    (finding,) = extras.look(Settings())
    assert (finding.state, finding.found) == (OK, "installed: clips")


def test_extras_that_the_settings_ask_for_are_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    _missing(monkeypatch, "av", "asyncpg", "redis", "openvino", "llama_cpp", "ultralytics")
    settings = Settings.model_validate(
        {"database_url": "postgresql://db/hsi", "redis_url": "redis://queue", "hardware": {"tier": "intel"}}
        | {"analyst": {"backend": "llama_cpp"}}
    )
    first, *missing = extras.look(settings)
    assert first.found == "installed: none"
    assert [(finding.state, finding.found.partition(",")[0]) for finding in missing] == [
        (WARNING, "clips.enabled is on"),
        (PROBLEM, "the database is PostgreSQL"),
        (PROBLEM, "redis_url is set"),
        (PROBLEM, "hardware.tier is intel"),
        (PROBLEM, "analyst.backend is llama_cpp"),
    ]
    assert "uv tool install '.[postgres]'" in (missing[1].remedy or "")
