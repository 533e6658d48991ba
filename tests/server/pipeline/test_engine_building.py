# SPDX-License-Identifier: AGPL-3.0-or-later
"""An engine is built while another backend judges, and then takes over; no picture is lost on the way."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from inference_server.core.detection import Detection
from inference_server.detection.backends.opening import Opened, default_loaders, onnx_loader, open_detector
from inference_server.detection.backends.tensorrt import EngineNotBuilt
from inference_server.detection.detector import Detector, Picture
from inference_server.detection.errors import BackendAbsent, BackendUnavailable
from inference_server.models.engines import EngineBuildError, EngineCache, EngineKey
from inference_server.models.store import ResolvedModel
from inference_server.observability.health import ComponentHealth, HealthState
from inference_server.pipeline.engine_building import COMPONENT, EngineBuilding
from inference_server.settings import Backend, DetectorSettings, Device
from tests.server.detection.graphs import constant_model, end_to_end
from tests.server.models.test_engines import KEY, ScriptedBuilder
from tests.support.bench import Bench, a_person, bench

SETTINGS = DetectorSettings(backend=Backend.TENSORRT, threads=1)


@dataclass
class House:
    """A pipeline whose detector is to run on an engine. What stands for TensorRT here is OpenVINO."""

    bench: Bench
    cache: EngineCache
    builder: ScriptedBuilder
    model: ResolvedModel

    def open(self, model: ResolvedModel) -> Opened:
        """Open the detector as the server does, with what stands for TensorRT."""
        engines = default_loaders(self.model.path.parent)

        def built(path: Path, settings: DetectorSettings, _device: Device) -> object:
            if reason := self.cache.failure(KEY):
                raise BackendUnavailable(f"its engine could not be built ({reason})", "Update TensorRT.")
            if self.cache.find(KEY) is None:
                raise EngineNotBuilt("its engine is not built yet", "It is built in the background.")
            return engines[Backend.OPENVINO](path, settings, Device.CPU)

        return open_detector(model, SETTINGS, {Backend.TENSORRT: built, Backend.ONNX: onnx_loader()})  # type: ignore[dict-item]

    def building(self) -> EngineBuilding:
        """Return what builds the engine."""
        return EngineBuilding(
            self.bench.judging,
            self.cache,
            self.builder,
            source_of=self.source_of,
            open_again=self.opened,
            health=self.bench.health,
        )

    def source_of(self, model: ResolvedModel) -> tuple[Path, EngineKey]:
        """Return the model's own file and the key of this machine."""
        return model.path, KEY

    async def load(self) -> None:
        """Load the detector."""

        async def resolve() -> ResolvedModel:
            return self.model

        await self.bench.judging.load(resolve, self.opened)

    async def opened(self, model: ResolvedModel, _engine_bytes: int = 0) -> Opened:
        """Open the detector on a thread."""
        return await asyncio.to_thread(self.open, model)

    def health(self, name: str) -> ComponentHealth | None:
        """Return a component's report."""
        return next((one for one in self.bench.health.components if one.name == name), None)

    @property
    def provider(self) -> str | None:
        """What the detector runs on."""
        return self.bench.judging.status.provider


@pytest.fixture
async def without_detector(tmp_path: Path) -> AsyncIterator[Bench]:
    """A pipeline that waits for its detector."""
    async with bench(tmp_path, detector=False) as made:
        yield made


@pytest.fixture
def house(without_detector: Bench, tmp_path: Path) -> House:
    """A house without an engine."""
    weights = constant_model(tmp_path / "m.onnx", end_to_end((8, 8, 24, 40, 0.9, 0)))
    model = ResolvedModel(weights, "m", "M")
    return House(without_detector, EngineCache(tmp_path / "engines"), ScriptedBuilder(go_on=asyncio.Event()), model)


async def test_another_backend_judges_until_the_engine_is_there(house: House) -> None:
    changed = house.bench.judging.changed
    await house.load()
    assert house.provider == "CPUExecutionProvider"
    status = house.bench.judging.status
    assert (status.judges, status.wanted_provider) == (True, "TensorRT on an NVIDIA GPU (f32)")
    assert status.message is not None
    assert "its engine is not built yet" in status.message
    detector = house.health("detector")
    assert detector is not None
    assert (detector.state, detector.details["wanted"]) == (HealthState.DEGRADED, status.wanted_provider)

    building = asyncio.create_task(house.building().run())
    await house.builder.begun.wait()
    report = house.health(COMPONENT)
    assert report is not None
    assert (report.state, report.details["progress"]) == (HealthState.OK, 0.5)
    before = changed.count
    assert house.builder.go_on is not None
    house.builder.go_on.set()
    await building

    assert house.provider == "OpenVINO CPU f32"
    assert house.bench.judging.status.wanted_provider is None
    assert house.bench.judging.status.message is None
    assert changed.count > before
    detector, report = house.health("detector"), house.health(COMPONENT)
    assert detector is not None
    assert report is not None
    assert (detector.state, report.state, report.details["progress"]) == (HealthState.OK, HealthState.OK, 1.0)


async def test_an_engine_that_is_there_is_used_at_once(house: House) -> None:
    assert house.builder.go_on is not None
    house.builder.go_on.set()
    await house.cache.build(house.model.path, KEY, house.builder, lambda _done: None)
    await house.load()
    assert house.provider == "OpenVINO CPU f32"
    await house.building().run()
    assert house.builder.builds == 1


async def test_a_failed_build_is_told_and_not_tried_at_each_start(house: House) -> None:
    house.builder.error = EngineBuildError("out of memory")
    assert house.builder.go_on is not None
    house.builder.go_on.set()
    await house.load()
    await house.building().run()
    assert house.provider == "CPUExecutionProvider"
    message = house.bench.judging.status.message
    assert message is not None
    assert "its engine could not be built (out of memory)" in message
    report = house.health(COMPONENT)
    assert report is not None
    assert (report.state, report.last_error) == (HealthState.DEGRADED, "out of memory")
    assert report.remedy is not None
    assert f"{KEY.id}.failed.json" in report.remedy
    await house.building().run()
    assert house.builder.builds == 1


async def test_without_tensorrt_nothing_is_built(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_model: ResolvedModel) -> tuple[Path, EngineKey]:
        raise BackendAbsent("TensorRT is not installed", "Install it.")

    monkeypatch.setattr(house, "source_of", absent)
    await house.load()
    await house.building().run()
    assert (house.builder.builds, house.health(COMPONENT)) == (0, None)


class _Held:
    """A detector whose answers wait until they may go."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.loop = asyncio.get_running_loop()
        self.begun = asyncio.Event()
        self.may_go = asyncio.Event()
        self.name, self.provider, self.input_size, self.parallel = "Held", "held", detector.input_size, 1

    def detect(self, pictures: Sequence[Picture]) -> list[tuple[Detection, ...]]:
        self.loop.call_soon_threadsafe(self.begun.set)
        asyncio.run_coroutine_threadsafe(self.may_go.wait(), self.loop).result(30)
        return self._detector.detect(pictures)


async def test_an_exchange_loses_no_picture_and_repeats_none(tmp_path: Path) -> None:
    """The old detector ends what it has begun; what comes after goes to the new one."""
    async with bench(tmp_path) as house:
        new, held = house.detector, _Held(house.detector)
        house.judging.exchange(Opened(held))
        await house.take(house.picture(a_person()))
        working = asyncio.create_task(house.work(house.detect))
        await held.begun.wait()
        house.judging.exchange(Opened(new))
        assert house.judging.status.provider == "Script"
        assert new.calls == []
        held.may_go.set()
        await working
        await house.take(*(house.picture(a_person()) for _ in range(3)))
        await house.work()
        assert sorted(number for call in new.calls for number in call) == [1, 2, 3, 4]
        assert len(await house.detections()) == 4


async def test_nothing_is_exchanged_before_there_is_a_detector(without_detector: Bench) -> None:
    with pytest.raises(RuntimeError, match="no detector yet"):
        without_detector.judging.exchange(Opened(without_detector.detector))
