# SPDX-License-Identifier: AGPL-3.0-or-later
"""Python, processor, memory, GPU and the tier that they make."""

import grp
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from inference_server import __version__
from inference_server.core.diagnosis import Finding, ok, problem, warning
from inference_server.core.hardware import GIB, GpuAbsence, GpuDevice, TierName
from inference_server.doctor.access import is_app
from inference_server.hardware.intel import IntelDevices
from inference_server.hardware.probe import Hardware
from inference_server.hardware.runtime import GPU_PACKAGE, MINIMUM_DRIVER, Runtime
from inference_server.hardware.tiers import choose
from inference_server.settings import Settings

OLDEST_PYTHON, NEWEST_PYTHON = (3, 12), (3, 14)
FAST = frozenset({"AVX2", "NEON"})
"""Without one of these, inference is many times slower."""
LITTLE_MEMORY = 256 << 20


def python() -> Iterator[Finding]:
    """Look at the interpreter."""
    found = f"hsi {__version__} on Python {platform.python_version()}, {platform.system()} {platform.release()}"
    if not OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON:
        yield warning("python", found, "Use Python 3.12, 3.13 or 3.14: others are not tested.")
    elif sys.maxsize <= 1 << 32:
        yield problem("python", f"{found}, of 32 bits", "Use a 64-bit system: ONNX Runtime needs it.")
    else:
        yield ok("python", found)


def processor(hardware: Hardware) -> Finding:
    """Look at the processor."""
    cpu = hardware.processor
    features = ", ".join(cpu.features) or "none of the features that speed inference up"
    found = f"{cpu.model} ({cpu.architecture}), {cpu.cores:g} of {cpu.threads} threads may be used; {features}"
    if not FAST & set(cpu.features):
        return warning("processor", found, "Expect slow inference: use a processor with AVX2 (x86) or NEON (arm64).")
    if cpu.cores < 1:
        return warning("processor", found, "Allow the container one processor at least.")
    return ok("processor", found)


def memory(hardware: Hardware) -> Finding:
    """Look at the memory."""
    has = hardware.memory
    limit = f", of which this container may use {_gib(has.usable)}" if has.limited else ""
    found = f"{_gib(has.total)}{limit}; {_gib(has.available)} free"
    if has.available < LITTLE_MEMORY:
        return warning("memory", found, "End what else uses memory, or allow the container more.")
    return ok("memory", found)


def gpu(hardware: Hardware) -> Iterator[Finding]:
    """Look at the GPUs, and whether their driver serves the ONNX Runtime that is installed."""
    for device in hardware.gpus:
        yield _gpu(device, hardware.runtime)
    if hardware.no_gpu is not None:
        yield _no_gpu(hardware)
    if hardware.missing_gpu:
        yield problem("gpu", hardware.missing_gpu, "Set hardware.gpu to one of these, or remove it.")
    elif len(hardware.gpus) > 1 and (used := hardware.best_gpu):
        why = "hardware.gpu or CUDA_VISIBLE_DEVICES names it" if hardware.wanted_gpu else "it has the most memory"
        yield ok("gpu", f"{used.name} ({used.index}, {used.uuid}) is the one that is used: {why}")
    for node in (hardware.intel.gpu, hardware.intel.npu):
        if node is not None:
            yield _intel(node, hardware.intel)


def _intel(node: Path, intel: IntelDevices) -> Finding:
    if node in intel.denied:
        return warning("gpu", f"{node} (Intel) may not be opened by this process", _way_to(node))
    if not intel.openvino:
        return ok("gpu", f"{node} (Intel) is not used: the extra openvino is not installed")
    if node in intel.driverless:
        return warning("gpu", f"{node} (Intel) is not used: OpenVINO finds no driver for it", _driver_of(node, intel))
    return ok("gpu", f"{node} (Intel), with OpenVINO")


def _way_to(node: Path) -> str:
    """Return how this process gets to open a device node."""
    if is_app():
        return "Restart the app: what it may open is settled when it starts. Its version has to know the device, too."
    group = _group_of(node)
    return (
        f"Add the user that runs the server to the group {group} and log in anew: `sudo usermod -aG {group} USER`. "
        f"A container is started with `--device {node} --group-add {group}`."
    )


def _group_of(node: Path) -> str:
    """Return the name of the group that owns a node, or its number where this system has no name for it."""
    try:
        gid = node.stat().st_gid
    except OSError:
        return "render"
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _driver_of(node: Path, intel: IntelDevices) -> str:
    if node == intel.npu:
        return "Install Intel's driver for NPUs (linux-npu-driver). Until then the GPU or the processor is used."
    if is_app():
        return "The app brings the driver for Intel GPUs from 2020 on. With an older one the processor is used."
    return "Install Intel's OpenCL driver: intel-opencl-icd, or for GPUs from before 2020 intel-opencl-icd-legacy1."


def _no_gpu(hardware: Hardware) -> Finding:
    why = hardware.no_gpu
    assert why is not None  # noqa: S101 - its caller has looked
    found = f"No NVIDIA GPU: {why.message}"
    wants_one = hardware.runtime is not None and GPU_PACKAGE in hardware.runtime.packages
    if why.reason is GpuAbsence.NO_LIBRARY and not wants_one:
        return ok("gpu", found)
    return warning("gpu", found, why.remedy or "Nothing has to be done on a machine without one.")


def _gpu(device: GpuDevice, runtime: Runtime | None) -> Finding:
    cuda = f"CUDA up to {device.cuda[0]}.{device.cuda[1]}" if device.cuda else "CUDA of an unknown version"
    compute = f", compute capability {device.compute[0]}.{device.compute[1]}" if device.compute else ""
    found = f"{device.name}, {_gib(device.memory_bytes)}, driver {device.driver} ({cuda}){compute}"
    if device.mig:
        return warning("gpu", f"{found}, divided into instances (MIG)", "Turn MIG off: nvidia-smi -mig 0.")
    if runtime is None or not runtime.has_cuda:
        return warning(
            "gpu",
            f"{found}; it is not used: ONNX Runtime was built without CUDA",
            "Install onnxruntime-gpu instead of onnxruntime.",
        )
    if runtime.cuda and device.cuda and device.cuda[0] < runtime.cuda:
        oldest = MINIMUM_DRIVER.get(runtime.cuda, f"one for CUDA {runtime.cuda}")
        return problem(
            "gpu",
            f"{found}; ONNX Runtime {runtime.version} wants CUDA {runtime.cuda}, and falls back to the processor",
            f"Update NVIDIA's driver to {oldest} or newer.",
        )
    return ok("gpu", found)


def tier(hardware: Hardware, settings: Settings) -> Finding:
    """Look at the tier in use."""
    chosen = choose(hardware, settings.hardware.tier)
    name = chosen.tier.name
    runs = f"detector {settings.detector.model or chosen.tier.detector}, analyst {chosen.tier.analyst or 'none'}"
    if chosen.misfit:
        return warning("tier", f"{name} ({runs}) does not fit: {chosen.misfit}", chosen.remedy or "Choose another one.")
    largest = choose(hardware, None).tier.name
    smaller = "" if largest is name else f"; {largest} would fit too"
    return ok("tier", f"{name}: {chosen.reason}; {runs}{smaller}")


def runtime(hardware: Hardware) -> Finding:
    """Look at ONNX Runtime."""
    has = hardware.runtime
    if has is None:
        return problem("onnxruntime", "ONNX Runtime cannot be loaded", "Reinstall it: pip install onnxruntime.")
    found = f"ONNX Runtime {has.version}: {', '.join(has.providers)}"
    if len(has.packages) > 1:
        return problem(
            "onnxruntime",
            f"{found}; {' and '.join(has.packages)} are both installed and overwrite each other",
            "Uninstall both, then install the one that is wanted.",
        )
    if choose(hardware, None).tier.name is TierName.CPU and GPU_PACKAGE in has.packages and not hardware.gpus:
        return warning("onnxruntime", f"{found}; it is the build for GPUs", "Without a GPU onnxruntime is smaller.")
    return ok("onnxruntime", found)


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
