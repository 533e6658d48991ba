# SPDX-License-Identifier: AGPL-3.0-or-later
"""Watches the GPUs: what they do now and did in the last hour, and whether something is wrong with them."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from inference_server.core.clock import Clock
from inference_server.core.hardware import GpuDevice, GpuHistory, GpuReading, NoGpu
from inference_server.hardware.nvml import Gpus, NoGpuError, OpenGpus
from inference_server.settings import HardwareSettings

_LOGGER = logging.getLogger(__name__)

INTERVAL_SECONDS = 5.0
KEPT = 720
"""Readings of an hour."""
STEADY = 3
"""So many readings in a row make a state: a moment at the power limit is nothing to worry about."""


@dataclass(frozen=True, slots=True)
class GpuProblem:
    """Something that is wrong with a GPU, and what to do."""

    message: str
    remedy: str


@dataclass(slots=True)
class _Watched:
    device: GpuDevice
    readings: deque[GpuReading] = field(default_factory=lambda: deque(maxlen=KEPT))


class GpuMonitor:
    """Reads the GPUs. NVML is opened once and again after it failed; all of it happens on worker threads."""

    def __init__(self, open_gpus: OpenGpus, settings: HardwareSettings, clock: Clock) -> None:
        """Take how NVML is opened; nothing is opened yet."""
        self._open = open_gpus
        self._settings = settings
        self._clock = clock
        self._gpus: Gpus | None = None
        self._devices: tuple[GpuDevice, ...] = ()
        self._watched: dict[str, _Watched] = {}
        self.no_gpu: NoGpu | None = None
        """Why there is no GPU, or none any more."""

    @property
    def history(self) -> tuple[GpuHistory, ...]:
        """Every GPU that was seen, with its readings. One that is gone has no current one."""
        gone = self.no_gpu is not None
        return tuple(
            GpuHistory(one.device, one.readings[-1] if one.readings and not gone else None, tuple(one.readings))
            for one in self._watched.values()
        )

    @property
    def was_there(self) -> bool:
        """Whether there ever was a GPU since the start."""
        return bool(self._watched)

    async def look(self) -> None:
        """Read every GPU once. A GPU that cannot be read is no error: `no_gpu` says why."""
        try:
            seen = await asyncio.to_thread(self._read)
        except NoGpuError as error:
            if self.no_gpu is None or self.no_gpu.reason is not error.why.reason:
                _LOGGER.log(logging.ERROR if self.was_there else logging.INFO, "No GPU: %s", error)
            self.no_gpu = error.why
            await self.close()
            return
        if self.no_gpu is not None:
            _LOGGER.info("The GPU is there")
        self.no_gpu = None
        known = self._watched
        self._watched = {device.key: known.get(device.key) or _Watched(device) for device, _ in seen}
        for device, reading in seen:
            self._watched[device.key].readings.append(reading)

    async def close(self) -> None:
        """Let go of NVML; the next look opens it again."""
        gpus, self._gpus = self._gpus, None
        if gpus is not None:
            try:
                await asyncio.to_thread(gpus.close)
            except NoGpuError as error:
                _LOGGER.debug("NVML could not be closed: %s", error)

    def problems(self) -> tuple[GpuProblem, ...]:
        """Return what is wrong now, the worst first."""
        if self.no_gpu is not None:
            if not self.was_there:
                return ()
            return (
                GpuProblem(f"The GPU is gone: {self.no_gpu.message}", self.no_gpu.remedy or "Restart the machine."),
            )
        return tuple(problem for one in self._watched.values() for problem in self._problems_of(one))

    def _problems_of(self, watched: _Watched) -> Sequence[GpuProblem]:
        recent = list(watched.readings)[-STEADY:]
        if len(recent) < STEADY:
            return ()
        name, newest, found = watched.device.name, recent[-1], []
        if all((reading.temperature or 0) >= self._settings.gpu_hot_celsius for reading in recent):
            found.append(
                GpuProblem(f"{name} is {newest.temperature} °C hot.", "Clean its fans and let air in; it slows down.")
            )
        lasting = set.intersection(*(set(reading.throttling) for reading in recent))
        if lasting:
            reasons = ", ".join(reason for reason in newest.throttling if reason in lasting)
            found.append(
                GpuProblem(
                    f"{name} runs slower than it could: {reasons}.",
                    "Check its cooling and its power supply; nvidia-smi -q -d PERFORMANCE tells more.",
                )
            )
        if all(reading.memory_percent >= self._settings.gpu_full_percent for reading in recent):
            found.append(
                GpuProblem(
                    f"The memory of {name} is {newest.memory_percent:g} % full.",
                    "End what else uses it, or choose a smaller tier (hardware.tier).",
                )
            )
        return found

    def _read(self) -> tuple[tuple[GpuDevice, GpuReading], ...]:
        if self._gpus is None:
            self._gpus = self._open()
            self._devices = self._gpus.devices()
        return tuple((device, self._gpus.read(device.index, self._clock.now())) for device in self._devices)
