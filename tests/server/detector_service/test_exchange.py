# SPDX-License-Identifier: AGPL-3.0-or-later
"""The service builds an engine while it answers, tells how far it is, and loses no request when it takes over."""

import asyncio
from pathlib import Path

from inference_server.detection.backends.opening import Opened
from inference_server.detection.errors import DetectorUnusable
from inference_server.hardware.budget import ModelMemoryError
from inference_server.hardware.detector import DetectorPlaces
from inference_server.models.engines import EngineCache
from inference_server.models.store import ResolvedModel
from inference_server.observability.health import HealthBoard
from inference_server.pipeline.engine_building import EngineBuilding
from inference_server.pipeline.judging import Judging
from tests.server.models.test_engines import KEY, ScriptedBuilder
from tests.support.detector_service import GatedDetector, RunningService, running_service
from tests.support.pictures import plain_png


class Yard:
    """What builds an engine in a test: the builder waits until it may go on."""

    def __init__(self, folder: Path, new: GatedDetector | Exception) -> None:
        """Take the detector that the engine becomes, or why it cannot be opened."""
        self.cache = EngineCache(folder / "engines")
        self.builder = ScriptedBuilder(go_on=asyncio.Event())
        self.new = new

    def engines(self, judging: Judging, health: HealthBoard, _places: DetectorPlaces[Opened]) -> EngineBuilding:
        """Return what builds it."""
        return EngineBuilding(
            judging,
            self.cache,
            self.builder,
            source_of=lambda model: (model.path, KEY),
            open_again=self._open,
            health=health,
        )

    async def _open(self, _model: ResolvedModel, engine_bytes: int) -> Opened:
        assert engine_bytes > 0
        if isinstance(self.new, Exception):
            raise self.new
        return Opened(self.new, batch=2)

    def finish(self) -> None:
        """Let the engine be built."""
        assert self.builder.go_on is not None
        self.builder.go_on.set()


async def _ask(service: RunningService, number: int) -> tuple[int, str]:
    status, answer, _ = await service.post(data=plain_png(number), headers={"Content-Type": "image/png"})
    return status, answer.get("provider", answer.get("detail"))


async def test_requests_under_way_end_on_the_old_detector_and_new_ones_go_to_the_engine(tmp_path: Path) -> None:
    old, new = GatedDetector(provider="CUDAExecutionProvider"), GatedDetector(provider="TensorRT 11 on a GPU")
    yard = Yard(tmp_path, new)
    async with running_service(tmp_path, old, engines=yard.engines) as service:
        told = await service.until_health(lambda told: told["engine_build"] is not None)
        assert told["engine_build"]["state"] == "ok"
        assert told["engine_build"]["progress"] < 1
        old.gate.clear()
        early = [asyncio.create_task(_ask(service, number)) for number in range(1, 6)]
        await service.until_health(lambda told: told["queue"]["waiting"] == 5)
        yard.finish()
        told = await service.until_health(lambda told: told["provider"] == new.provider)
        assert (told["engine"], told["batch"], told["queue"]["waiting"]) == ("TensorRT", 2, 5)
        assert await _ask(service, 9) == (200, new.provider)
        assert new.calls == [[9]]
        old.gate.set()
        assert await asyncio.gather(*early) == [(200, old.provider)] * 5
        told = await service.until_health(lambda told: told["engine_build"]["progress"] == 1)
        assert (told["queue"]["waiting"], told["status"]) == (0, "ok")


async def test_an_engine_without_room_is_told_and_the_detector_stays(tmp_path: Path) -> None:
    old = GatedDetector()
    yard = Yard(tmp_path, ModelMemoryError("m needs 650 MiB", "Raise hardware.gpu_memory_bytes."))
    async with running_service(tmp_path, old, engines=yard.engines) as service:
        yard.finish()
        told = await service.until_health(lambda told: (told["engine_build"] or {}).get("state") == "degraded")
        assert "no room for it beside the detector in use: m needs 650 MiB" in told["engine_build"]["message"]
        assert "Restart the server" in told["engine_build"]["message"]
        assert await _ask(service, 1) == (200, old.provider)


async def test_an_engine_that_cannot_be_used_is_told_and_the_detector_stays(tmp_path: Path) -> None:
    old = GatedDetector()
    yard = Yard(tmp_path, DetectorUnusable("the engine lies"))
    async with running_service(tmp_path, old, engines=yard.engines) as service:
        yard.finish()
        told = await service.until_health(lambda told: (told["engine_build"] or {}).get("state") == "degraded")
        assert (told["engine_build"]["progress"], "the engine lies" in told["engine_build"]["message"]) == (None, True)
        assert await _ask(service, 1) == (200, old.provider)
