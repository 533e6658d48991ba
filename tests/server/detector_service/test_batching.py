# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures of many callers share a detector: batches, the bounded queue, callers that go, detectors that fail."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from inference_server.core.detection import Detection
from inference_server.detector_service.batching import Batcher, QueueFullError
from inference_server.pipeline.fitting import FittingDetector
from inference_server.settings import DetectorServiceSettings
from tests.support.detector_service import GatedDetector, RunningService, running_service, seen_in
from tests.support.pictures import plain_png


async def _place(service: RunningService, number: int) -> tuple[int, Any]:
    """Return the status of a picture of this colour, and where a person was seen in it."""
    status, answer, _ = await service.post(data=plain_png(number), headers={"Content-Type": "image/png"})
    return status, answer["detections"][0]["box"]["x"] if status == 200 else answer


async def _waiting(service: RunningService, count: int) -> None:
    await service.until_health(lambda told: told["queue"]["waiting"] == count)


async def test_pictures_of_several_callers_share_an_inference_and_each_gets_its_own_answer(tmp_path: Path) -> None:
    detector = GatedDetector()
    async with running_service(tmp_path, detector, max_batch=4, batch_wait_ms=1000) as service:
        detector.gate.clear()
        first = asyncio.create_task(_place(service, 1))
        await detector.until_called()
        others = [asyncio.create_task(_place(service, number)) for number in range(2, 8)]
        await _waiting(service, 7)
        detector.gate.set()
        answers = await asyncio.gather(first, *others)
        assert answers == [(200, number) for number in range(1, 8)]
        assert [len(call) for call in detector.calls] == [1, 4, 2]
        assert (await service.health())["queue"]["waiting"] == 0


async def test_a_single_picture_waits_for_nobody(tmp_path: Path) -> None:
    detector = GatedDetector()
    async with running_service(tmp_path, detector, max_batch=4, batch_wait_ms=1000) as service:
        _, answer, _ = await service.post(data=plain_png(5), headers={"Content-Type": "image/png"})
        assert answer["milliseconds"]["waiting"] < 500


async def test_a_full_queue_is_told_at_once_and_takes_more_when_it_is_shorter(tmp_path: Path) -> None:
    detector = GatedDetector()
    async with running_service(tmp_path, detector, max_pictures=2, max_waiting=2) as service:
        detector.gate.clear()
        waiting = [asyncio.create_task(_place(service, number)) for number in (1, 2)]
        await _waiting(service, 2)
        status, problem, headers = await service.post(data=plain_png(3), headers={"Content-Type": "image/png"})
        assert (status, problem["code"]) == (429, "too_busy")
        assert 1 <= int(headers["Retry-After"]) <= 30
        detector.gate.set()
        assert await asyncio.gather(*waiting) == [(200, 1), (200, 2)]
        assert await _place(service, 3) == (200, 3)


async def test_a_batch_that_does_not_fit_whole_is_not_begun(tmp_path: Path) -> None:
    detector = GatedDetector()
    async with running_service(tmp_path, detector, max_pictures=2, max_waiting=2) as service:
        detector.gate.clear()
        waiting = asyncio.create_task(_place(service, 1))
        await _waiting(service, 1)
        pictures = {"pictures": ["AAAA", "AAAA"]}
        assert (await service.post("/detect/batch", json=pictures))[0] == 429
        detector.gate.set()
        assert await waiting == (200, 1)


async def test_what_would_wait_too_long_is_not_taken() -> None:
    batcher = Batcher(FittingDetector(GatedDetector(), 1), DetectorServiceSettings(timeout_seconds=10))
    batcher.waiting = 8
    batcher.check_room()
    batcher._seconds_per_picture = 2.0
    with pytest.raises(QueueFullError) as full:
        batcher.check_room()
    assert full.value.seconds == 16
    batcher.waiting = 0
    batcher.check_room()


async def test_a_caller_that_has_gone_is_not_judged(tmp_path: Path) -> None:
    detector = GatedDetector()
    async with running_service(tmp_path, detector) as service:
        detector.gate.clear()
        first = asyncio.create_task(_place(service, 1))
        await detector.until_called()
        leaving = asyncio.create_task(_place(service, 2))
        await _waiting(service, 2)
        leaving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await leaving
        await _waiting(service, 1)
        detector.gate.set()
        assert await first == (200, 1)
        assert await _place(service, 3) == (200, 3)
        assert detector.calls == [[1], [3]]


async def test_a_detector_that_hangs_is_told_and_left_behind(tmp_path: Path) -> None:
    detector = GatedDetector()
    async with running_service(tmp_path, detector, timeout_seconds=1) as service:
        detector.gate.clear()
        status, problem = await _place(service, 1)
        assert (status, problem["code"]) == (503, "detector_down")
        told = await service.until_health(lambda told: told["stuck"] == 1)
        assert told["status"] == "degraded"
        assert "HungError" in told["message"]
        detector.gate.set()
        assert await _place(service, 2) == (200, 2)
        told = await service.health()
        assert (told["status"], told["message"]) == ("ok", None)


async def test_a_detector_that_hangs_for_ever_makes_the_service_ask_for_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference_server.pipeline.inference.MOST_STUCK", 1)
    monkeypatch.setattr("inference_server.detector_service.batching.MOST_STUCK", 1)
    detector = GatedDetector()
    async with running_service(tmp_path, detector, timeout_seconds=1) as service:
        detector.gate.clear()
        assert (await _place(service, 1))[0] == 503
        told = await service.until_health(lambda told: told["status"] == "down")
        assert "restart" in told["message"]
        status, problem = await _place(service, 2)
        assert status == 503
        assert "restart" in problem["detail"]
        detector.gate.set()


@pytest.mark.parametrize(
    "lie",
    [lambda _numbers: None, lambda _numbers: [], lambda numbers: [()] * (len(numbers) + 1)],
    ids=["nothing", "too few", "too many"],
)
async def test_nonsense_of_the_detector_is_no_answer(tmp_path: Path, lie: Any) -> None:
    detector = GatedDetector(answer=lie)
    async with running_service(tmp_path, detector) as service:
        status, problem = await _place(service, 1)
        assert (status, problem["code"]) == (503, "detector_down")
        assert "DetectorLied" in problem["detail"]
        assert (await service.health())["status"] == "degraded"
        assert 'hsi_detector_pictures_total{result="failed"} 1.0' in await _metrics(service)


async def test_one_callers_picture_is_not_every_other_callers_failure(tmp_path: Path) -> None:
    detector = GatedDetector()

    def stumble(numbers: list[int]) -> Any:
        if 3 in numbers:
            raise RuntimeError("CUDA error")
        return [() for _ in numbers]

    detector.answer = stumble
    async with running_service(tmp_path, detector, max_batch=4, batch_wait_ms=1000) as service:
        detector.gate.clear()

        async def status_of(number: int) -> int:
            return (await service.post(data=plain_png(number), headers={"Content-Type": "image/png"}))[0]

        first = asyncio.create_task(status_of(1))
        await detector.until_called()
        others = [asyncio.create_task(status_of(number)) for number in (2, 3, 4)]
        await _waiting(service, 4)
        detector.gate.set()
        assert await asyncio.gather(first, *others) == [200, 200, 503, 200]


async def test_a_service_that_stops_says_goodbye_to_who_waits(tmp_path: Path) -> None:
    detector = GatedDetector()
    async with asyncio.timeout(30):
        async with running_service(tmp_path, detector) as service:
            detector.gate.clear()
            waiting = asyncio.create_task(service.post(data=plain_png(1), headers={"Content-Type": "image/png"}))
            await detector.until_called()
        detector.gate.set()
        with pytest.raises(aiohttp.ClientError):
            await waiting


async def test_memory_that_runs_out_makes_batches_smaller_and_fails_nobody(tmp_path: Path) -> None:
    def tight(numbers: list[int]) -> list[tuple[Detection, ...]]:
        if len(numbers) > 1:
            raise RuntimeError("CUDA error cudaErrorMemoryAllocation:out of memory")
        return [seen_in(number) for number in numbers]

    detector = GatedDetector(answer=tight)
    async with running_service(tmp_path, detector, max_batch=4, batch_wait_ms=1000) as service:
        detector.gate.clear()
        asked = [asyncio.create_task(_place(service, number)) for number in range(1, 6)]
        await _waiting(service, 5)
        detector.gate.set()
        assert await asyncio.gather(*asked) == [(200, number) for number in range(1, 6)]
        told = await service.health()
        assert (told["batch"], told["status"]) == (1, "ok")
        assert "1 picture(s) are inferred at a time" in told["message"]
        assert "set detector.max_batch to 1" in told["message"]


async def test_a_single_picture_without_memory_is_answered_with_what_to_do(tmp_path: Path) -> None:
    def full(_numbers: list[int]) -> None:
        raise RuntimeError("std::bad_alloc")

    async with running_service(tmp_path, GatedDetector(answer=full)) as service:
        status, problem = await _place(service, 1)
        assert (status, problem["code"]) == (503, "detector_down")
        assert "no memory for one picture on Gate (std::bad_alloc): End what else uses its memory" in problem["detail"]


async def test_a_caller_that_leaves_is_counted(tmp_path: Path) -> None:
    detector = GatedDetector()
    async with running_service(tmp_path, detector) as service:
        detector.gate.clear()
        leaving = asyncio.create_task(_place(service, 1))
        await detector.until_called()
        leaving.cancel()
        await _waiting(service, 0)
        assert 'hsi_detector_requests_total{path="/detect",status="499"} 1.0' in await _metrics(service)
        detector.gate.set()


async def _metrics(service: RunningService) -> str:
    async with service.client.get(f"{service.url}/metrics") as response:
        return await response.text()
