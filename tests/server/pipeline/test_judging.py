# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether pictures can be judged, and parts that are started again."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, override

import pytest

from inference_server.core.detection import Detection
from inference_server.core.signal import Signal
from inference_server.core.status import DetectorState
from inference_server.detection.backends.opening import Opened
from inference_server.detection.detector import StoredPicture
from inference_server.detection.errors import DetectorElsewhereError, DetectorUnusable
from inference_server.models.errors import ModelUnavailable
from inference_server.models.store import ResolvedModel
from inference_server.observability.health import ComponentHealth, HealthBoard, HealthState
from inference_server.pipeline import judging as judging_module
from inference_server.pipeline import supervise as supervise_module
from inference_server.pipeline.breaker import BreakerState
from inference_server.pipeline.judging import Judging
from inference_server.pipeline.remote_watch import RemoteWatch
from inference_server.pipeline.supervise import FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS, Supervisor
from tests.support.bench import MODEL, ScriptedDetector
from tests.support.home import MovableClock
from tests.support.virtual_time import in_virtual_time

REASON = "YOLO26n could not be downloaded; Scripted is used instead. Run hsi models pull."
UNAVAILABLE = ModelUnavailable("YOLO26n could not be downloaded.", "Connect the server to the internet.")


def _board() -> HealthBoard:
    return HealthBoard(MovableClock())


def _component(health: HealthBoard, name: str = "detector") -> ComponentHealth:
    return next(component for component in health.components if component.name == name)


async def _load(judging: Judging, model: ResolvedModel = MODEL, *failures: Exception) -> None:
    left = list(failures)

    async def resolve() -> ResolvedModel:
        if left:
            raise left.pop(0)
        return model

    async def opened(_model: ResolvedModel) -> Opened:
        return Opened(ScriptedDetector())

    await judging.load(resolve, opened)


async def test_before_the_detector_is_there_nothing_is_judged() -> None:
    health = _board()
    judging = Judging(health, Signal())
    assert judging.status.state is DetectorState.STARTING
    assert not judging.status.judges
    assert _component(health).state is HealthState.DEGRADED
    assert _component(health).still_works is not None


async def test_a_loaded_detector_is_told_and_given_to_whoever_waits() -> None:
    health, changed = _board(), Signal()
    judging = Judging(health, changed)
    waiting = asyncio.create_task(judging.detector())
    await _load(judging)
    assert (await waiting).name == ScriptedDetector.name
    status = judging.status
    assert (status.state, status.model, status.name, status.provider) == ("ok", "scripted", "Scripted", "Script")
    assert status.judges
    assert changed.count == 1
    component = _component(health)
    assert (component.state, component.last_error, component.remedy) == (HealthState.OK, None, None)
    assert component.details == {
        "model": "scripted",
        "provider": "Script",
        "wanted": None,
        "fallback": False,
        "breaker": "closed",
        "batch": 1,
    }


async def test_a_fallback_judges_and_health_says_why_it_is_one() -> None:
    health = _board()
    judging = Judging(health, Signal())
    await _load(judging, replace(MODEL, fallback=True, message=REASON))
    assert (judging.status.judges, judging.status.fallback, judging.status.message) == (True, True, REASON)
    component = _component(health)
    assert (component.state, component.remedy) == (HealthState.DEGRADED, REASON)
    assert component.details["fallback"] is True


def test_a_detector_that_cannot_be_had_is_tried_again_until_it_can() -> None:
    async def main() -> float:
        health, changed = _board(), Signal()
        judging = Judging(health, changed)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        loading = asyncio.create_task(_load(judging, MODEL, UNAVAILABLE, DetectorUnusable("It has 3 outputs.")))
        await changed.wait(0)
        assert judging.status.state is DetectorState.DOWN
        assert judging.status.message == "YOLO26n could not be downloaded. Connect the server to the internet."
        component = _component(health)
        assert component.state is HealthState.DOWN
        assert component.still_works == "Pictures are admitted and wait; they are judged when the detector is there."
        await changed.wait(1)
        assert judging.status.message == "It has 3 outputs. Choose another model file."
        await loading
        assert judging.status.judges
        assert _component(health).state is HealthState.OK
        return loop.time() - begun

    assert in_virtual_time(main()) == 2 * judging_module.TRY_AGAIN_SECONDS


@dataclass
class _Elsewhere(ScriptedDetector):
    """Implements DetectorElsewhere: fails as long as it has an error."""

    error: Exception | None = None
    tried: int = 0
    name: str = "Elsewhere"
    provider: str = "CUDA at http://gpu:8095"

    async def detect_stored(self, pictures: Sequence[StoredPicture]) -> list[tuple[Detection, ...]]:
        """Return nothing for each picture."""
        if self.error is not None:
            raise self.error
        return [() for _ in pictures]

    async def try_out(self) -> None:
        """Do as with a picture."""
        self.tried += 1
        await self.detect_stored([])


GONE = DetectorElsewhereError("The detector service cannot be reached.", "Check that it runs.")


def test_a_detector_elsewhere_is_preferred_left_alone_when_it_is_down_and_comes_back_by_itself() -> None:
    async def main() -> None:
        health, changed = _board(), Signal()
        judging = Judging(health, changed, remote=True)
        elsewhere = _Elsewhere(error=GONE)
        watching = asyncio.create_task(RemoteWatch(judging, elsewhere).run())
        await changed.wait(0)
        assert judging.status.state is DetectorState.STARTING, "the one on this machine is still to come"
        await _load(judging)
        told = _component(health)
        assert (told.state, told.details["judged_by"], told.details["fallback"]) == ("degraded", "this machine", True)
        assert told.last_error is not None
        assert told.last_error.startswith("The detector service cannot be reached. Check that it runs.")
        assert judging.status.judges
        assert judging.status.fallback

        elsewhere.error = None
        await changed.wait(changed.count)
        told = _component(health)
        assert (told.state, told.details["judged_by"], told.last_error) == ("ok", "detector service", None)
        assert judging.status.provider == "CUDA at http://gpu:8095"
        assert judging.services[0].detector is elsewhere

        elsewhere.error = GONE
        await changed.wait(changed.count)
        assert judging.remote_breaker.state is BreakerState.OPEN
        assert judging.status.fallback
        assert judging.status.message is not None
        assert "Scripted on this machine judges meanwhile" in judging.status.message
        await judging.ready()

        elsewhere.error = None
        while judging.status.fallback:
            await changed.wait(changed.count)
        assert judging.remote_breaker.is_closed
        watching.cancel()

    in_virtual_time(main())


def test_without_one_on_this_machine_nobody_judges_while_the_one_elsewhere_is_down() -> None:
    async def main() -> None:
        health, changed = _board(), Signal()
        judging = Judging(health, changed, remote=True, local=False)
        elsewhere = _Elsewhere(error=GONE)
        watching = asyncio.create_task(RemoteWatch(judging, elsewhere).run())
        await changed.wait(0)
        assert judging.status.state is DetectorState.DOWN
        assert judging.status.message == "The detector service cannot be reached. Check that it runs."
        told = _component(health)
        assert (told.state, told.details["judged_by"]) == ("down", "nobody")
        elsewhere.error = None
        assert await judging.detector() is elsewhere
        assert judging.status.judges
        assert judging.breaker is judging.remote_breaker, "what fails there waits, as for every detector"
        watching.cancel()

    in_virtual_time(main())


async def test_whoever_waits_for_a_detector_that_is_left_alone_takes_the_other_one_when_it_comes() -> None:
    judging = Judging(_board(), Signal(), remote=True)
    await _load(judging)
    judging.breaker.begin()
    for number in range(10):
        judging.breaker.failed("it broke", [number])
    waiting = asyncio.create_task(judging.ready())
    await asyncio.sleep(0)
    assert not waiting.done()
    judging.reached(_Elsewhere())
    async with asyncio.timeout(10):
        await waiting


async def test_another_failure_is_left_to_supervision() -> None:
    with pytest.raises(ZeroDivisionError):
        await _load(Judging(_board(), Signal()), MODEL, ZeroDivisionError())


class _RecordingBoard(HealthBoard):
    """Keeps every report."""

    def __init__(self) -> None:
        super().__init__(MovableClock())
        self.reports: list[ComponentHealth] = []

    @override
    def report(self, name: str, state: HealthState, **more: Any) -> None:
        super().report(name, state, **more)
        if name == "ingest":
            self.reports.append(_component(self, name))


def _restarts(crashes: int, lasting: float = 0.0) -> tuple[list[float], list[ComponentHealth]]:
    """Return the pauses before each restart of a part that crashes some times, each after some seconds."""
    health = _RecordingBoard()
    pauses: list[float] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        crashed_at: list[float] = []

        async def part() -> None:
            if crashed_at:
                pauses.append(loop.time() - crashed_at[-1])
            if len(crashed_at) < crashes:
                await asyncio.sleep(lasting)
                crashed_at.append(loop.time())
                raise ZeroDivisionError("of the part")

        await Supervisor(health).run("ingest", part)

    in_virtual_time(main())
    return pauses, health.reports


def test_a_part_that_crashes_is_started_again_ever_slower() -> None:
    pauses, reports = _restarts(9)
    assert pauses == pytest.approx([min(FIRST_DELAY_SECONDS * 2**n, LONGEST_DELAY_SECONDS) for n in range(9)])
    assert [report.state for report in reports] == [HealthState.DOWN, HealthState.OK] * 9
    assert {report.last_error for report in reports} == {"ZeroDivisionError: of the part"}
    assert reports[0].remedy is not None


def test_a_part_that_had_worked_for_long_is_started_again_soon() -> None:
    pauses, _ = _restarts(4, lasting=LONGEST_DELAY_SECONDS + 1)
    assert pauses == pytest.approx([FIRST_DELAY_SECONDS, *[FIRST_DELAY_SECONDS] * 3])


async def test_a_crash_is_said_for_ten_minutes() -> None:
    health, crashes = _board(), iter([ZeroDivisionError("of the part")])

    async def part() -> None:
        if error := next(crashes, None):
            raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervise_module, "FIRST_DELAY_SECONDS", 0.0)
        patch.setattr(supervise_module, "REMEMBERED_SECONDS", 0.2)
        supervisor = Supervisor(health)
        assert _component(health, "supervision").state is HealthState.OK
        await supervisor.run("ingest", part)
        report = _component(health, "supervision")
        assert (report.state, report.last_error) == (HealthState.DEGRADED, "ingest: ZeroDivisionError: of the part")
        assert report.details == {"crashes of ingest": 1}
        async with asyncio.timeout(10):
            while _component(health, "supervision").state is not HealthState.OK:  # noqa: ASYNC110 - a timer sets it
                await asyncio.sleep(0.02)


def test_a_part_that_returns_is_left_alone() -> None:
    assert _restarts(0) == ([], [])


async def test_a_supervised_part_can_be_cancelled() -> None:
    started = asyncio.Event()

    async def part() -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(Supervisor(_board()).run("ingest", part))
    await started.wait()
    task.cancel()
    assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError)
