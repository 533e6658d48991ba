# SPDX-License-Identifier: AGPL-3.0-or-later
"""A detector that is installed while the server runs judges at once, and one that could not be had is tried again."""

import asyncio
import shutil
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, override

import pytest

from inference_server.core.model import Capability, ModelUnavailable, PullState
from inference_server.core.signal import Signal
from inference_server.detection.backends.opening import Opened
from inference_server.detection.errors import DetectorUnusable
from inference_server.models.catalogue import ModelEntry
from inference_server.models.importing import import_file
from inference_server.models.jobs import ModelJobs
from inference_server.models.store import ModelStore, ResolvedModel
from inference_server.observability.health import ComponentHealth, HealthBoard, HealthState
from inference_server.pipeline import model_health, model_watch
from inference_server.pipeline.judging import Judging
from inference_server.pipeline.model_health import COMPONENT, ModelHealth
from inference_server.pipeline.model_watch import ModelWatch
from tests.support.bench import ScriptedDetector
from tests.support.home import MovableClock, sample_model
from tests.support.virtual_time import in_virtual_time

WANTED, SMALLER, FALLBACK = "large", "small", "fallback"
NO_ROUTE = ModelUnavailable("Large could not be downloaded (no route)", "Connect the server to the internet.")


class _Store(ModelStore):
    """Downloads nothing, as long as there is no network."""

    pulled = 0

    @override
    async def pull(self, model_id: str, *_arguments: Any, **_named: Any) -> Path:
        self.pulled += 1
        raise NO_ROUTE


@dataclass
class House:
    """A detector that is chosen, with the parts around it; `broken` are models that cannot be opened."""

    folder: Path
    broken: dict[str, Exception] = field(default_factory=dict)
    opened: list[ResolvedModel] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Build the parts."""
        self.store = _Store(self.folder, catalogue=[_entry(WANTED), _entry(SMALLER), _entry(FALLBACK)])
        self.jobs = ModelJobs(self.store, MovableClock(), parallel=2, in_use=lambda: None, validate=lambda _file: None)
        self.board = HealthBoard(MovableClock())
        self.judging = Judging(self.board, Signal())
        self.health = ModelHealth(self.jobs, self.board)
        self.watch = ModelWatch(
            self.store,
            self.jobs,
            self.health,
            wanted=(WANTED, SMALLER, FALLBACK),
            exchange=self.exchange,
        )

    async def exchange(self, model: ResolvedModel) -> None:
        """Open a model."""
        if error := self.broken.get(model.model_id):
            raise error
        self.opened.append(model)
        self.judging.exchange(Opened(ScriptedDetector()), model)

    def put(self, model_id: str, content: bytes = b"weights") -> Path:
        """Put a file of the owner's into its place, as another process does."""
        self.folder.mkdir(exist_ok=True)
        part = self.folder / f"{model_id}.part"
        part.write_bytes(content)
        return part.replace(self.folder / f"{model_id}.onnx")

    async def load(self) -> None:
        """Begin with what is installed, where the wanted one could not be had."""

        async def resolve() -> ResolvedModel:
            best = self.store.best_installed((WANTED, SMALLER, FALLBACK), NO_ROUTE)
            if best is None:
                raise NO_ROUTE
            return best

        async def open_model(_model: ResolvedModel) -> Opened:
            return Opened(ScriptedDetector())

        await self.judging.load(lambda: self.watch.resolve(resolve), open_model, pause=self.watch.pause)

    async def until_used(self, model_id: str) -> None:
        """Return once this model judges."""
        async with asyncio.timeout(60):
            while self.judging.status.model != model_id:
                await self.judging.changed.wait(self.judging.changed.count)

    async def until_reported(self, state: HealthState, words: str = "") -> ComponentHealth:
        """Return the report of the models once it has this state and says these words."""
        async with asyncio.timeout(60):
            while True:
                for component in self.board.components:
                    said = component.last_error or ""
                    if component.name == COMPONENT and component.state is state and words in said:
                        return component
                await asyncio.sleep(0.01)


def _entry(model_id: str) -> ModelEntry:
    return replace(sample_model(), id=model_id, name=model_id.title(), capability=Capability.DETECTION)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """A house that looks often."""
    for module in (model_watch, model_health):
        monkeypatch.setattr(module, "LOOK_SECONDS", 0.02)
    return House(tmp_path / "models")


async def test_the_better_one_judges_as_soon_as_another_process_has_installed_it(house: House) -> None:
    house.put(FALLBACK)
    await house.load()
    assert (house.judging.status.model, house.judging.status.fallback) == (FALLBACK, True)
    tasks = [asyncio.create_task(part()) for part in (house.watch.run, house.health.run)]
    report = await house.until_reported(HealthState.DEGRADED)
    assert report.last_error == "Large could not be downloaded (no route)."
    assert (report.remedy, report.details) == ("Connect the server to the internet.", {"failed": WANTED})

    house.put(SMALLER)
    await house.until_used(SMALLER)
    status = house.judging.status
    assert status.fallback
    assert status.message == (
        "Large could not be downloaded (no route); Small is used instead. Connect the server to the internet."
    )
    house.put(WANTED)
    await house.until_used(WANTED)
    assert (house.judging.status.fallback, house.judging.status.message) == (False, None)
    await house.until_reported(HealthState.OK)
    assert [model.model_id for model in house.opened] == [SMALLER, WANTED], "none is opened twice"
    for task in tasks:
        task.cancel()


async def test_what_is_installed_over_the_api_what_replaces_it_and_what_is_removed_count_at_once(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_watch, "LOOK_SECONDS", 3600.0)
    house.put(FALLBACK)
    await house.load()
    watching = asyncio.create_task(house.watch.run())
    own = tmp_path / "mine.onnx"
    for content in (b"one", b"another"):
        own.write_bytes(content)
        before = len(house.opened)
        await import_file(house.store, own, WANTED, lambda _file: None)
        house.jobs.settled.notify()
        async with asyncio.timeout(60):
            while len(house.opened) == before:
                await house.judging.changed.wait(house.judging.changed.count)
        assert house.opened[-1].path.read_bytes() == content
    await house.jobs.remove(WANTED, force=False)
    await house.until_used(FALLBACK)
    assert house.judging.status.message == (
        "Large is not installed; Fallback is used instead. It is tried again by itself; "
        "`hsi models pull large` does so at once."
    )
    shutil.rmtree(house.folder)
    house.jobs.settled.notify()
    await asyncio.sleep(0)
    assert house.judging.status.model == FALLBACK, "what is loaded goes on where nothing else is there"
    watching.cancel()


async def test_one_that_cannot_be_opened_is_told_and_the_other_one_goes_on(house: House) -> None:
    house.broken[WANTED] = DetectorUnusable("it has 3 outputs")
    house.put(FALLBACK)
    await house.load()
    tasks = [asyncio.create_task(part()) for part in (house.watch.run, house.health.run)]
    house.put(WANTED)
    report = await house.until_reported(HealthState.DEGRADED, "cannot be used")
    assert report.last_error == "Large is installed and cannot be used: it has 3 outputs."
    assert report.remedy is not None
    assert "hsi models verify large" in report.remedy
    assert house.judging.status.model == FALLBACK
    house.broken.clear()
    house.put(WANTED, b"a good one")
    await house.until_used(WANTED)
    await house.until_reported(HealthState.OK)
    for task in tasks:
        task.cancel()


async def test_a_server_without_any_detector_takes_the_first_that_comes(house: House) -> None:
    loading = asyncio.create_task(house.load())
    async with asyncio.timeout(60):
        while house.judging.status.message is None:
            await house.judging.changed.wait(house.judging.changed.count)
    assert house.jobs.pulls[0].error == str(NO_ROUTE)
    house.put(SMALLER)
    async with asyncio.timeout(30):  # it would be tried again after a minute
        await loading
    assert house.judging.status.model == SMALLER


def test_the_wanted_one_is_tried_again_ever_slower_until_it_is_there(tmp_path: Path) -> None:
    async def main() -> list[float]:
        house = House(tmp_path / "models")
        house.put(FALLBACK)
        await house.load()
        loop, times = asyncio.get_running_loop(), [0.0]
        begun = loop.time()
        watching = asyncio.create_task(house.watch.run())
        while len(times) < 10:
            tried = house.store.pulled
            while house.store.pulled == tried or not house.jobs.pulls[0].state.is_over:
                await house.jobs.changed.wait(house.jobs.changed.count)
            times.append(loop.time() - begun)
        (pull,) = await house.jobs.failed()
        assert (pull.model_id, pull.state, pull.error) == (WANTED, PullState.FAILED, str(NO_ROUTE))
        house.put(WANTED)
        while house.judging.status.model != WANTED:
            await house.judging.changed.wait(house.judging.changed.count)
        tried = house.store.pulled
        await asyncio.sleep(3 * model_watch.LONGEST_RETRY_SECONDS)
        assert house.store.pulled == tried, "what is there is not pulled again"
        watching.cancel()
        return [later - earlier for earlier, later in pairwise(times)]

    pauses = in_virtual_time(main())
    expected = [60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3600.0, 3600.0, 3600.0]
    assert pauses == pytest.approx(expected, abs=model_watch.LOOK_SECONDS)
