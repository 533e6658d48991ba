# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a machine is made of, what its GPU does, and how much memory its models take. Sizes are bytes."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

MIB = 1 << 20
GIB = 1 << 30


class TierName(StrEnum):
    """The classes of machines, the smallest first."""

    CPU = "cpu"
    INTEL = "intel"
    NVIDIA_8GB = "nvidia-8gb"
    NVIDIA_12GB = "nvidia-12gb"
    NVIDIA_24GB = "nvidia-24gb"


class GpuAbsence(StrEnum):
    """Why no NVIDIA GPU can be used."""

    NO_LIBRARY = "no_library"
    """NVML is not there: no driver is installed, or a container has none."""
    NO_DRIVER = "no_driver"
    """NVML is there, the kernel's driver is not loaded or is of another version."""
    NO_PERMISSION = "no_permission"
    NO_DEVICE = "no_device"
    LOST = "lost"
    """It was there and is gone: it fell off the bus, or has to be reset."""
    FAILED = "failed"
    """Anything else that NVML says."""


@dataclass(frozen=True, slots=True)
class NoGpu:
    """Why there is no GPU, in plain words, and what to do to have one."""

    reason: GpuAbsence
    message: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class GpuDevice:
    """A GPU as NVML describes it. `cuda` is the newest CUDA that its driver serves, `compute` its capability."""

    index: int
    name: str
    uuid: str
    memory_bytes: int
    driver: str
    cuda: tuple[int, int] | None = None
    compute: tuple[int, int] | None = None
    mig: bool = False
    """Whether it is divided into instances (MIG): each of these has only a part of the memory."""

    def is_called(self, name: str) -> bool:
        """Whether this is its index, or the beginning of its UUID."""
        return name == str(self.index) or (not name.isdigit() and self.uuid.lower().startswith(name.lower()))

    @property
    def key(self) -> str:
        """What tells it from others, wherever it is plugged in."""
        return self.uuid or str(self.index)


@dataclass(frozen=True, slots=True)
class GpuReading:
    """What a GPU does at a moment; None for what this GPU does not tell. Percent, bytes, degrees Celsius, watts."""

    at: datetime
    memory_used: int
    memory_total: int
    utilisation: int | None = None
    temperature: int | None = None
    power: float | None = None
    power_limit: float | None = None
    throttling: tuple[str, ...] = ()
    """Why it runs slower than it could, in plain words."""

    @property
    def memory_percent(self) -> float:
        """How much of the memory is in use."""
        return round(100 * self.memory_used / self.memory_total, 1) if self.memory_total > 0 else 0.0


@dataclass(frozen=True, slots=True)
class GpuHistory:
    """A GPU, what it does now (None before the first look) and what it did, the oldest first."""

    device: GpuDevice
    current: GpuReading | None
    readings: tuple[GpuReading, ...]


@dataclass(frozen=True, slots=True)
class ResidentModel:
    """A model that takes memory, or is being loaded. `leases` is by how many it is in use."""

    name: str
    bytes: int
    priority: int
    pinned: bool
    leases: int
    loading: bool


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """What the models on one device may take and take."""

    device: str
    budget: int
    models: tuple[ResidentModel, ...] = ()
    evictions: int = 0
    """How many models had to leave since the start."""

    @property
    def used(self) -> int:
        """What is reserved, by models that are loaded or being loaded."""
        return sum(model.bytes for model in self.models)


@dataclass(frozen=True, slots=True)
class HardwareReport:
    """The tier in use, the GPUs or why there is none, and the memory of the models on each device."""

    tier: TierName
    gpus: tuple[GpuHistory, ...]
    no_gpu: NoGpu | None
    memory: tuple[MemoryUse, ...]
