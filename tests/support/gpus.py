# SPDX-License-Identifier: AGPL-3.0-or-later
"""Machines without the machines: GPUs that do what a test says, and hardware of any kind."""

from dataclasses import dataclass, field, replace
from datetime import datetime

from inference_server.core.hardware import GIB, GpuAbsence, GpuDevice, GpuReading, NoGpu
from inference_server.hardware.intel import IntelDevices
from inference_server.hardware.memory import Memory
from inference_server.hardware.nvml import NoGpuError
from inference_server.hardware.probe import Hardware
from inference_server.hardware.processor import Processor
from inference_server.hardware.runtime import Runtime

NO_GPU = NoGpu(GpuAbsence.NO_LIBRARY, "No NVIDIA driver was found.", "Install NVIDIA's driver.")
LOST = NoGpu(GpuAbsence.LOST, "The GPU fell off the bus.", "Restart the machine.")
CPU_RUNTIME = Runtime("1.32.0", ("CPUExecutionProvider",), ("onnxruntime",))
CUDA_RUNTIME = Runtime("1.32.0", ("CUDAExecutionProvider", "CPUExecutionProvider"), ("onnxruntime-gpu",), 13)


def card(gib: float = 24, name: str = "RTX 4090") -> GpuDevice:
    """Return a GPU with so much memory."""
    return GpuDevice(0, name, f"GPU-{name}", int(gib * GIB), "580.95.05", (13, 0), (8, 9))


def hardware(
    *gpus: GpuDevice,
    runtime: Runtime | None = CPU_RUNTIME,
    memory_gib: float = 16,
    intel: IntelDevices | None = None,
    no_gpu: NoGpu | None = NO_GPU,
) -> Hardware:
    """Return what a probe would find."""
    size = int(memory_gib * GIB)
    return Hardware(
        processor=Processor("Test CPU", "x86_64", 4.0, 4, ("AVX2",)),
        memory=Memory(size, size, size // 2),
        gpus=gpus,
        no_gpu=None if gpus else no_gpu,
        intel=intel or IntelDevices(),
        runtime=runtime,
    )


@dataclass
class FakeGpus:
    """One GPU behind the seam of NVML. `fails` is raised by every call while it is set."""

    device: GpuDevice = field(default_factory=card)
    fails: NoGpu | None = None
    reading: GpuReading | None = None
    opened: int = 0
    closed: int = 0

    def __call__(self) -> "FakeGpus":
        """Open the library."""
        self._check()
        self.opened += 1
        return self

    def devices(self) -> tuple[GpuDevice, ...]:
        """Return the GPU."""
        self._check()
        return (self.device,)

    def read(self, index: int, at: datetime) -> GpuReading:
        """Return the reading that was set, at this time."""
        self._check()
        assert index == self.device.index
        total = self.device.memory_bytes
        return replace(self.reading, at=at) if self.reading else GpuReading(at, total // 4, total, 10, 50, 80.0, 300.0)

    def close(self) -> None:
        """Count."""
        self.closed += 1

    def _check(self) -> None:
        if self.fails:
            raise NoGpuError(self.fails)
