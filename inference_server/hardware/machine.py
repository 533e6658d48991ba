# SPDX-License-Identifier: AGPL-3.0-or-later
"""The machine as the server uses it: its tier, the memory of its models, its GPUs, and what health says of them."""

import asyncio
import logging
import os
from collections.abc import MutableMapping
from dataclasses import dataclass

from inference_server.core.clock import Clock
from inference_server.core.hardware import HardwareReport, MemoryUse, NoGpu
from inference_server.hardware.budget import GPU, MEMORY, MemoryBudget
from inference_server.hardware.gpu_choice import with_chosen_gpu
from inference_server.hardware.monitor import INTERVAL_SECONDS, GpuMonitor, GpuProblem
from inference_server.hardware.nvml import NoGpuError, Nvml, OpenGpus
from inference_server.hardware.probe import Hardware, probe
from inference_server.hardware.tiers import GPU_RESERVE, ChosenTier, choose
from inference_server.observability.health import Detail, HealthBoard, HealthState
from inference_server.settings import HardwareSettings

_LOGGER = logging.getLogger(__name__)

_CHOOSE_GPU = "Set hardware.gpu to one of these, or remove it, and restart the server."
MEMORY_SHARE = 0.75
"""How much of the machine's memory its models may take unless the settings say."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is known of the machine after the first look, and the memory that its models share."""

    hardware: Hardware
    chosen: ChosenTier
    memory: MemoryBudget
    gpu: MemoryBudget | None

    @property
    def budgets(self) -> tuple[MemoryBudget, ...]:
        """The memory of each device."""
        return (self.memory,) if self.gpu is None else (self.gpu, self.memory)


class Machine:
    """Looks at the machine when somebody first asks, and watches it as long as it runs."""

    def __init__(
        self,
        settings: HardwareSettings,
        health: HealthBoard,
        clock: Clock,
        *,
        open_gpus: OpenGpus = Nvml,
        environment: MutableMapping[str, str] = os.environ,
    ) -> None:
        """Take the settings; nothing is looked at yet. `environment` is where CUDA looks for which GPU it may see."""
        self._environment = environment
        self._settings = settings
        self._health = health
        self._open_gpus = open_gpus
        self._clock = clock
        self._monitor = GpuMonitor(open_gpus, settings, clock)
        self._looking: asyncio.Task[Plan] | None = None
        self._plan: Plan | None = None

    async def plan(self) -> Plan:
        """Return what is known of the machine; the first call looks."""
        looking = self._looking
        if looking is None or (looking.done() and self._plan is None):
            looking = self._looking = asyncio.create_task(self._probe())
        return await asyncio.shield(looking)

    async def make_room(self) -> None:
        """Let every model leave that nobody uses now: memory ran out."""
        for budget in (await self.plan()).budgets:
            await budget.unload_idle()

    async def run(self) -> None:
        """Watch the GPUs and report to health until cancelled."""
        await self.plan()
        try:
            while True:
                await self.look()
                await asyncio.sleep(INTERVAL_SECONDS)
        finally:
            await self._monitor.close()

    async def look(self) -> None:
        """Read the GPUs once and report to health."""
        await self._monitor.look()
        self._report()

    async def report(self) -> HardwareReport:
        """Return the tier, the GPUs with their history and the memory of the models."""
        plan = await self.plan()
        return HardwareReport(
            tier=plan.chosen.tier.name,
            gpus=self._monitor.history,
            no_gpu=self._no_gpu(plan),
            memory=tuple(budget.use for budget in plan.budgets),
        )

    async def _probe(self) -> Plan:
        found = await asyncio.to_thread(probe, self._open_gpus)
        hardware = with_chosen_gpu(found, self._settings.gpu, self._environment)
        chosen = choose(hardware, self._settings.tier)
        _LOGGER.info("Hardware tier: %s (%s)", chosen.tier.name, chosen.reason)
        if chosen.misfit:
            _LOGGER.warning("The tier %s does not fit: %s. %s", chosen.tier.name, chosen.misfit, chosen.remedy)
        plan = Plan(hardware, chosen, self._memory(hardware), self._gpu(hardware))
        self._report_tier(chosen)
        self._report_memory(plan.memory.use)
        self._plan = plan
        return plan

    def _no_gpu(self, plan: Plan) -> NoGpu | None:
        return self._monitor.no_gpu or (None if self._monitor.history else plan.hardware.no_gpu)

    def _memory(self, hardware: Hardware) -> MemoryBudget:
        wanted = self._settings.memory_bytes or int(hardware.memory.usable * MEMORY_SHARE)
        return MemoryBudget(MEMORY, min(wanted, hardware.memory.usable), changed=self._report)

    def _gpu(self, hardware: Hardware) -> MemoryBudget | None:
        """Return the memory of the best GPU, where ONNX Runtime was built to use one."""
        gpu = hardware.best_gpu
        if gpu is None or hardware.runtime is None or not hardware.runtime.has_cuda:
            return None
        wanted = self._settings.gpu_memory_bytes or max(0, gpu.memory_bytes - GPU_RESERVE)
        allowed = min(wanted, gpu.memory_bytes)
        return MemoryBudget(GPU, allowed, free=lambda: self._free(gpu.index), changed=self._report)

    def _free(self, index: int) -> int | None:
        """Return how many bytes of a GPU's memory nobody uses; None where it does not say."""
        try:
            gpus = self._open_gpus()
            try:
                reading = gpus.read(index, self._clock.now())
            finally:
                gpus.close()
        except NoGpuError:
            return None
        return reading.memory_total - reading.memory_used if reading.memory_total else None

    def _report(self) -> None:
        if self._plan is None:
            return
        self._report_memory(self._plan.memory.use)
        hardware = self._plan.hardware
        problems = self._monitor.problems()
        if hardware.missing_gpu:
            problems = (GpuProblem(f"{hardware.missing_gpu}.", _CHOOSE_GPU), *problems)
        used = hardware.best_gpu
        history = [one for one in self._monitor.history if used is None or one.device.key == used.key]
        current = next((one.current for one in history if one.current), None)
        no_gpu = self._no_gpu(self._plan)
        details: dict[str, Detail] = {"present": no_gpu is None, "why_not": no_gpu.message if no_gpu else None}
        if current is not None:
            details |= {
                "gpu": history[0].device.name,
                "utilisation_percent": current.utilisation,
                "memory_used_bytes": current.memory_used,
                "memory_total_bytes": current.memory_total,
                "temperature_celsius": current.temperature,
                "power_watts": current.power,
                "throttling": ", ".join(current.throttling) or None,
            }
        if self._plan.gpu is not None:
            details |= _told(self._plan.gpu.use)
        self._health.report(
            "gpu",
            HealthState.DEGRADED if problems else HealthState.OK,
            last_error=" ".join(problem.message for problem in problems) or None,
            still_works="Pictures are judged, perhaps slower." if problems else None,
            remedy=problems[0].remedy if problems else None,
            **details,
        )

    def _report_memory(self, use: MemoryUse) -> None:
        self._health.report("memory", HealthState.OK, last_error=None, still_works=None, remedy=None, **_told(use))

    def _report_tier(self, chosen: ChosenTier) -> None:
        self._health.report(
            "hardware",
            HealthState.DEGRADED if chosen.misfit else HealthState.OK,
            last_error=f"The tier {chosen.tier.name} does not fit: {chosen.misfit}." if chosen.misfit else None,
            still_works="Models that find room run; the others do not." if chosen.misfit else None,
            remedy=chosen.remedy,
            tier=chosen.tier.name.value,
            why=chosen.reason,
            detector=chosen.tier.detector,
            analyst=chosen.tier.analyst,
        )


def _told(use: MemoryUse) -> dict[str, Detail]:
    """Return the memory of a device as health shows it."""
    return {
        "models": ", ".join(model.name for model in use.models) or None,
        "models_bytes": use.used,
        "budget_bytes": use.budget,
        "evictions": use.evictions,
    }
