# SPDX-License-Identifier: AGPL-3.0-or-later
"""The memory of NVIDIA GPUs that this process uses, where NVML tells it."""

import importlib
import os
from typing import Any


def memory_used() -> int | None:
    """Return the bytes that this process uses on all GPUs; None where there is no GPU, or none that tells."""
    try:
        nvml: Any = importlib.import_module("pynvml")
        nvml.nvmlInit()
    except Exception:  # noqa: BLE001 - not installed, no driver: NVML's errors have no base class without it
        return None
    try:
        used = [
            process.usedGpuMemory
            for number in range(nvml.nvmlDeviceGetCount())
            for process in nvml.nvmlDeviceGetComputeRunningProcesses(nvml.nvmlDeviceGetHandleByIndex(number))
            if process.pid == os.getpid() and process.usedGpuMemory is not None
        ]
    except nvml.NVMLError:
        return None
    finally:
        nvml.nvmlShutdown()
    return sum(used) if used else None
