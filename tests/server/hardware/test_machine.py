# SPDX-License-Identifier: AGPL-3.0-or-later
"""The GPU is watched, and health says what is wrong with it and what the models take."""

import asyncio
from dataclasses import replace

import pytest

from inference_server.core.hardware import GIB, GpuReading, TierName
from inference_server.hardware import machine as machine_module
from inference_server.hardware import monitor as monitor_module
from inference_server.hardware.machine import Machine
from inference_server.hardware.monitor import KEPT, STEADY, GpuMonitor
from inference_server.hardware.probe import Hardware
from inference_server.observability.health import ComponentHealth, HealthBoard, HealthState
from inference_server.settings import HardwareSettings
from tests.support.gpus import CUDA_RUNTIME, LOST, NO_GPU, FakeGpus, card, hardware
from tests.support.home import START, MovableClock

CALM = GpuReading(START, 6 * GIB, 24 * GIB, 30, 60, 100.0, 450.0)


class House:
    """A machine with a clock, a health board and GPUs that do what a test says."""

    def __init__(self, **settings: object) -> None:
        """Start without having looked."""
        self.clock = MovableClock()
        self.health = HealthBoard(self.clock)
        self.gpus = FakeGpus(reading=CALM)
        self.settings = HardwareSettings.model_validate(settings)
        self.machine = Machine(self.settings, self.health, self.clock, open_gpus=self.gpus)

    def component(self, name: str) -> ComponentHealth:
        """Return what health says of a part."""
        return next(component for component in self.health.components if component.name == name)


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Hardware]:
    """Let the probe find what is put in here."""
    found = {"it": hardware(card(24), runtime=CUDA_RUNTIME)}
    monkeypatch.setattr(machine_module, "probe", lambda _open: found["it"])
    return found


async def _look(house: House, times: int = STEADY) -> None:
    await house.machine.plan()
    for _ in range(times):
        await house.machine.look()
        house.clock.move(seconds=5)


@pytest.mark.usefixtures("looked")
async def test_a_gpu_that_is_well_is_shown_with_its_history() -> None:
    house = House()
    await _look(house, 2)
    report = await house.machine.report()
    assert (report.tier, report.no_gpu) == (TierName.NVIDIA_24GB, None)
    (gpu,) = report.gpus
    assert [reading.at for reading in gpu.readings] == [START, house.clock.move(seconds=-5)]
    assert gpu.current == gpu.readings[-1]
    component = house.component("gpu")
    assert (component.state, component.remedy) == (HealthState.OK, None)
    assert component.details["temperature_celsius"] == 60
    assert component.details["budget_bytes"] == 23 * GIB
    assert house.gpus.opened == 1


@pytest.mark.usefixtures("looked")
@pytest.mark.parametrize(
    ("reading", "told", "remedy"),
    [
        (replace(CALM, temperature=85), "85 °C hot", "fans"),
        (replace(CALM, memory_used=23 * GIB), "95.8 % full", "hardware.tier"),
        (replace(CALM, throttling=("it reached its power limit",)), "it reached its power limit", "power supply"),
    ],
)
async def test_what_lasts_degrades_health_with_a_remedy_and_heals(reading: GpuReading, told: str, remedy: str) -> None:
    house = House()
    house.gpus.reading = reading
    await _look(house, STEADY - 1)
    assert house.component("gpu").state is HealthState.OK
    await _look(house, 1)
    component = house.component("gpu")
    assert component.state is HealthState.DEGRADED
    assert told in (component.last_error or "")
    assert remedy in (component.remedy or "")
    house.gpus.reading = CALM
    await _look(house, 1)
    assert house.component("gpu").state is HealthState.OK


@pytest.mark.usefixtures("looked")
async def test_a_gpu_that_is_lost_while_running_is_told_and_found_again() -> None:
    house = House()
    await _look(house)
    house.gpus.fails = LOST
    await _look(house, 2)
    component = house.component("gpu")
    assert (component.state, component.details["present"]) == (HealthState.DEGRADED, False)
    assert component.last_error == "The GPU is gone: The GPU fell off the bus."
    report = await house.machine.report()
    assert (report.no_gpu, report.gpus[0].current) == (LOST, None)
    assert len(report.gpus[0].readings) == STEADY
    house.gpus.fails = None
    await _look(house, 1)
    assert house.component("gpu").state is HealthState.OK
    assert (await house.machine.report()).no_gpu is None
    assert house.gpus.opened == 2


async def test_without_a_gpu_everything_works_and_says_so(looked: dict[str, Hardware]) -> None:
    looked["it"] = hardware()
    house = House()
    house.gpus.fails = NO_GPU
    await _look(house)
    component = house.component("gpu")
    assert (component.state, component.details) == (
        HealthState.OK,
        {"present": False, "why_not": "No NVIDIA driver was found."},
    )
    report = await house.machine.report()
    assert (report.tier, report.gpus, report.no_gpu) == (TierName.CPU, (), NO_GPU)
    assert [use.device for use in report.memory] == ["the memory"]
    assert report.memory[0].budget == 12 * GIB


async def test_a_tier_that_does_not_fit_is_said_in_health(looked: dict[str, Hardware]) -> None:
    looked["it"] = hardware()
    house = House(tier="nvidia-12gb")
    await house.machine.plan()
    component = house.component("hardware")
    assert component.state is HealthState.DEGRADED
    assert component.last_error == "The tier nvidia-12gb does not fit: No NVIDIA driver was found."
    assert component.details["detector"] == "yolo26m"
    assert "cpu fits this machine" in (component.remedy or "")


@pytest.mark.usefixtures("looked")
async def test_the_history_is_an_hour_long() -> None:
    clock = MovableClock()
    monitor = GpuMonitor(FakeGpus(), HardwareSettings(), clock)
    for _ in range(KEPT + 5):
        await monitor.look()
        clock.move(seconds=monitor_module.INTERVAL_SECONDS)
    (gpu,) = monitor.history
    assert len(gpu.readings) == KEPT
    assert (gpu.readings[-1].at - gpu.readings[0].at).total_seconds() == 3595


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, (23 * GIB, 12 * GIB)),
        ({"gpu_memory_bytes": 4 * GIB, "memory_bytes": 2 * GIB}, (4 * GIB, 2 * GIB)),
        ({"gpu_memory_bytes": 1 << 42, "memory_bytes": 1 << 44}, (24 * GIB, 16 * GIB)),
    ],
)
@pytest.mark.usefixtures("looked")
async def test_a_budget_is_never_more_than_there_is(settings: dict[str, int], expected: tuple[int, int]) -> None:
    plan = await House(**settings).machine.plan()
    assert tuple(budget.budget for budget in plan.budgets) == expected


@pytest.mark.usefixtures("looked")
async def test_it_watches_until_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_module, "INTERVAL_SECONDS", 0)
    house = House()
    watching = asyncio.create_task(house.machine.run())
    async with asyncio.timeout(20):
        while len((await house.machine.report()).gpus) == 0:  # noqa: ASYNC110 - a part that goes on for ever
            await asyncio.sleep(0)
    watching.cancel()
    assert isinstance((await asyncio.gather(watching, return_exceptions=True))[0], asyncio.CancelledError)
    assert house.gpus.closed == house.gpus.opened
