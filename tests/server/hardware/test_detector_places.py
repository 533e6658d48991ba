# SPDX-License-Identifier: AGPL-3.0-or-later
"""Each detector has a place in the memory of the device that it really runs on, until it was used for the last time."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from inference_server.core.hardware import GIB, MIB
from inference_server.detection.backends.opening import Opened
from inference_server.hardware import machine as machine_module
from inference_server.hardware.budget import ModelMemoryError, ModelSpec
from inference_server.hardware.detector import DetectorPlaces
from inference_server.hardware.machine import Machine, Plan
from inference_server.hardware.probe import Hardware
from inference_server.models.catalogue import memory_of
from inference_server.models.errors import ModelUnavailable
from inference_server.models.store import ResolvedModel
from inference_server.observability.health import HealthBoard
from inference_server.settings import DetectorSettings, Device, HardwareSettings
from tests.support.bench import ScriptedDetector
from tests.support.gpus import CUDA_RUNTIME, NO_GPU, FakeGpus, card, hardware
from tests.support.home import MovableClock

ON_GPU, ON_PROCESSOR = "CUDAExecutionProvider", "CPUExecutionProvider"
MODEL = ResolvedModel(Path("/nowhere/yolo26m.onnx"), "yolo26m", "YOLO26m")
NEED = memory_of("yolo26m")


@dataclass
class House:
    """A machine, and detectors that open as a test says."""

    machine: Machine
    settings: DetectorSettings = field(default_factory=DetectorSettings)
    provider: str = ON_GPU
    denied: list[ModelUnavailable | None] = field(default_factory=list)
    fails: list[Exception] = field(default_factory=list)

    @property
    def places(self) -> DetectorPlaces[Opened]:
        """Return what is tested."""
        return DetectorPlaces(self.machine.plan, self.settings, self._open)

    async def used(self) -> tuple[dict[str, int], dict[str, int]]:
        """Return what stands in the budgets of the GPU and of the memory."""
        plan = await self.machine.plan()
        gpu = plan.gpu.use.models if plan.gpu else ()
        return {one.name: one.bytes for one in gpu}, {one.name: one.bytes for one in plan.memory.use.models}

    async def until_used(self, expected: tuple[dict[str, int], dict[str, int]]) -> None:
        """Return once that stands there."""
        async with asyncio.timeout(20):
            while await self.used() != expected:  # noqa: ASYNC110 - an end of life tells nobody
                await asyncio.sleep(0)

    def _open(self, _model: ResolvedModel, no_room: ModelUnavailable | None) -> Opened:
        self.denied.append(no_room)
        if self.fails:
            raise self.fails.pop(0)
        return Opened(ScriptedDetector(provider=ON_PROCESSOR if no_room else self.provider))


type Built = Callable[..., House]


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> Built:
    """Return what makes a house on some hardware."""

    def make(found: Hardware, *, device: Device = Device.AUTO, **settings: int) -> House:
        monkeypatch.setattr(machine_module, "probe", lambda _open: found)
        clock, gpus = MovableClock(), FakeGpus()
        gpus.fails = NO_GPU  # NVML says nothing of what is free
        made = Machine(HardwareSettings.model_validate(settings), HealthBoard(clock), clock, open_gpus=gpus)
        return House(made, DetectorSettings(device=device))

    return make


async def test_it_is_charged_to_the_gpu_that_it_runs_on(built: Built) -> None:
    house = built(hardware(card(24), runtime=CUDA_RUNTIME))
    opened = await house.places.open(MODEL)
    assert await house.used() == ({"yolo26m": NEED.gpu.bytes}, {})
    assert house.denied == [None]
    del opened
    await house.until_used(({}, {}))


@pytest.mark.parametrize("device", [Device.AUTO, Device.CUDA])
async def test_one_that_fell_back_to_the_processor_is_charged_there(built: Built, device: Device) -> None:
    house = built(hardware(card(24), runtime=CUDA_RUNTIME), device=device)
    house.provider = ON_PROCESSOR
    opened = await house.places.open(MODEL)
    assert await house.used() == ({}, {"yolo26m": NEED.processor.bytes})
    assert not opened.on_gpu


async def test_a_small_machine_holds_no_detector_that_fell_back(built: Built) -> None:
    house = built(hardware(card(24), runtime=CUDA_RUNTIME), memory_bytes=64 * MIB)
    house.provider = ON_PROCESSOR
    with pytest.raises(ModelMemoryError, match="yolo26m needs 350 MiB") as refused:
        await house.places.open(MODEL)
    assert "hardware.memory_bytes" in refused.value.remedy
    assert await house.used() == ({}, {})


async def test_without_room_on_the_gpu_it_runs_on_the_processor(built: Built) -> None:
    house = built(hardware(card(24), runtime=CUDA_RUNTIME), gpu_memory_bytes=512 * MIB)
    opened = await house.places.open(MODEL)
    (denied,) = house.denied
    assert "the models on the GPU may take 512 MiB" in str(denied)
    assert (opened.on_gpu, await house.used()) == (False, ({}, {"yolo26m": NEED.processor.bytes}))


async def test_memory_that_runs_out_while_opening_is_tried_again_and_then_the_processor(built: Built) -> None:
    house = built(hardware(card(24), runtime=CUDA_RUNTIME))
    house.fails = [MemoryError("CUDA out of memory"), MemoryError("CUDA out of memory")]
    opened = await house.places.open(MODEL)
    first, second, third = house.denied
    assert (first, second) == (None, None)
    assert "CUDA out of memory" in str(third)
    assert await house.used() == ({}, {"yolo26m": NEED.processor.bytes})
    assert not opened.on_gpu


@pytest.mark.parametrize("found", [hardware(), hardware(card(24), runtime=CUDA_RUNTIME)], ids=["no GPU", "not wanted"])
async def test_on_the_processor_nothing_is_asked_of_a_gpu(built: Built, found: Hardware) -> None:
    house = built(found, device=Device.CPU)
    house.provider = ON_PROCESSOR
    opened = await house.places.open(MODEL)
    assert await house.used() == ({}, {"yolo26m": NEED.processor.bytes})
    assert not opened.on_gpu


async def test_both_have_a_place_while_one_takes_over_from_the_other(built: Built) -> None:
    house = built(hardware(card(24), runtime=CUDA_RUNTIME))
    old = await house.places.open(MODEL)
    new = await house.places.open_beside(MODEL, 2 * GIB)
    assert await house.used() == ({"yolo26m": NEED.gpu.bytes, "yolo26m (2)": 2 * GIB}, {})
    del old
    await house.until_used(({"yolo26m (2)": 2 * GIB}, {}))
    third = await house.places.open_beside(MODEL, 0)
    assert await house.used() == ({"yolo26m (2)": 2 * GIB, "yolo26m": NEED.gpu.bytes}, {})
    assert new.on_gpu
    assert third.on_gpu


async def test_what_takes_over_is_refused_where_both_have_no_room(built: Built) -> None:
    house = built(hardware(card(24), runtime=CUDA_RUNTIME), gpu_memory_bytes=1000 * MIB)
    old = await house.places.open(MODEL)
    with pytest.raises(ModelMemoryError, match="of which 650 MiB are always in use"):
        await house.places.open_beside(MODEL, 0)
    assert house.denied == [None], "it is not opened to find out"
    assert await house.used() == ({"yolo26m": NEED.gpu.bytes}, {})
    assert old.on_gpu


async def test_room_is_made_of_models_that_nobody_uses(built: Built) -> None:
    house = built(hardware(card(24), runtime=CUDA_RUNTIME))
    plan: Plan = await house.machine.plan()
    assert plan.gpu is not None
    left: list[str] = []
    async with plan.gpu.lease(ModelSpec(name="idle", bytes=MIB, load=lambda: "it", unload=left.append)):
        await house.machine.make_room()
        assert left == []
    await house.machine.make_room()
    assert (left, await house.used()) == (["it"], ({}, {}))
