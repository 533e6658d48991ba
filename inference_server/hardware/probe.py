# SPDX-License-Identifier: AGPL-3.0-or-later
"""Looks at the whole machine once."""

from dataclasses import dataclass

from inference_server.core.hardware import GpuDevice, NoGpu
from inference_server.hardware import intel, memory, processor, runtime
from inference_server.hardware.cgroup import Cgroup
from inference_server.hardware.intel import IntelDevices
from inference_server.hardware.memory import Memory
from inference_server.hardware.nvml import NoGpuError, Nvml, OpenGpus
from inference_server.hardware.processor import Processor
from inference_server.hardware.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Hardware:
    """What the machine has. Without GPUs `no_gpu` says why; without a runtime there is none that could be loaded."""

    processor: Processor
    memory: Memory
    gpus: tuple[GpuDevice, ...]
    no_gpu: NoGpu | None
    intel: IntelDevices
    runtime: Runtime | None
    wanted_gpu: str | None = None
    """The GPU that somebody chose: its index, or the beginning of its UUID."""

    @property
    def missing_gpu(self) -> str | None:
        """Why the chosen GPU is not there; None where it is, where none was chosen, and where there are none at all."""
        if not self.wanted_gpu or not self.gpus or any(gpu.is_called(self.wanted_gpu) for gpu in self.gpus):
            return None
        there = ", ".join(f"{gpu.index} ({gpu.name}, {gpu.uuid})" for gpu in self.gpus)
        return f"no GPU is called {self.wanted_gpu} (hardware.gpu); there are {there}"

    @property
    def best_gpu(self) -> GpuDevice | None:
        """The chosen GPU, else the one with the most memory; not divided (MIG), the first of equals."""
        whole = [gpu for gpu in self.gpus if not gpu.mig and (not self.wanted_gpu or gpu.is_called(self.wanted_gpu))]
        return max(whole, key=lambda gpu: gpu.memory_bytes, default=None)


def probe(open_gpus: OpenGpus = Nvml) -> Hardware:
    """Look at everything; it blocks, for seconds where a GPU has to wake up. What is not there is no error."""
    group = Cgroup.of_this_process()
    gpus, no_gpu = _gpus(open_gpus)
    return Hardware(
        processor=processor.look(cgroup=group),
        memory=memory.look(group),
        gpus=gpus,
        no_gpu=no_gpu,
        intel=intel.look(),
        runtime=_runtime(),
    )


def _gpus(open_gpus: OpenGpus) -> tuple[tuple[GpuDevice, ...], NoGpu | None]:
    try:
        opened = open_gpus()
        try:
            return opened.devices(), None
        finally:
            opened.close()
    except NoGpuError as error:
        return (), error.why


def _runtime() -> Runtime | None:
    try:
        return runtime.look()
    except ImportError:
        return None
