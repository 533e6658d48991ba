# SPDX-License-Identifier: AGPL-3.0-or-later
"""The detector service elsewhere as a detector: against a real one, and against everything that one can be."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from inference_server.core.detection import Box, Detection, Label
from inference_server.detection.backends.remote import RemoteDetector
from inference_server.detection.detector import Detector, DetectorElsewhere, StoredPicture
from inference_server.detection.errors import DetectorElsewhereError, DetectorLied, PictureUnreadable
from inference_server.detection.preprocess import decode_picture
from inference_server.settings import Backend, DetectorSettings, RemoteDetectorSettings
from scripts.development.process import free_port
from tests.support.detector_service import TOKEN, GatedDetector, running_service, seen_in
from tests.support.pictures import encoded, jpeg, noise, plain_png

SIZE = (64, 48)
ANSWER = {
    "width": 64,
    "height": 48,
    "detections": [{"label": "person", "confidence": 0.9, "box": {"x": 4, "y": 4, "width": 10, "height": 20}}],
    "milliseconds": {"decode": 1, "waiting": 0, "inference": 9},
    "protocol": 1,
    "version": "0.1.0",
    "model": "Elsewhere",
    "fallback": False,
    "provider": "CUDAExecutionProvider",
    "input_size": 640,
}

type Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def settings(url: str, *, token: str = TOKEN, **remote: Any) -> DetectorSettings:
    """Return the settings of a detector elsewhere."""
    return DetectorSettings(
        backend=Backend.REMOTE, remote=RemoteDetectorSettings(url=url, token=SecretStr(token), **remote)
    )


def stored(number: int) -> StoredPicture:
    """Return a frame of this colour."""
    return StoredPicture(plain_png(number), *SIZE)


@asynccontextmanager
async def detector_at(url: str, **remote: Any) -> AsyncIterator[RemoteDetector]:
    """Give a detector that asks a service."""
    detector = RemoteDetector(settings(url, **remote))
    try:
        yield detector
    finally:
        await detector.close()


@asynccontextmanager
async def answering(answer: Answer, **remote: Any) -> AsyncIterator[RemoteDetector]:
    """Give a detector that asks a service which answers so."""
    application = web.Application(client_max_size=1 << 26)
    application.router.add_post("/detect", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with detector_at(f"http://127.0.0.1:{runner.addresses[0][1]}", **remote) as detector:
            yield detector
    finally:
        await runner.cleanup()


def saying(status: int = 200, body: Any = None, **headers: str) -> Answer:
    """Return what answers always the same."""

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=status, text=text, headers=headers)

    return answer


async def test_it_sees_what_the_same_model_sees_here(tmp_path: Path, bus_jpeg: bytes, real_detector: Detector) -> None:
    local = decode_picture(bus_jpeg, real_detector.input_size)
    frame = StoredPicture(bus_jpeg, local.width, local.height)
    async with (
        running_service(tmp_path, real_detector) as service,
        detector_at(service.url) as remote,
    ):
        assert isinstance(remote, DetectorElsewhere)
        [found] = await remote.detect_stored([frame])
        assert found == real_detector.detect([local])[0]
        assert len(found) >= 4
        assert (remote.name, remote.input_size) == ("YOLOv3-tiny", real_detector.input_size)
        assert remote.provider == f"CPUExecutionProvider at {service.url}"


async def test_many_pictures_are_on_their_way_at_a_time_and_come_back_in_order(tmp_path: Path) -> None:
    detector = GatedDetector()
    async with (
        running_service(tmp_path, detector, max_batch=8, batch_wait_ms=1000) as service,
        detector_at(service.url, parallel=8) as remote,
    ):
        detector.gate.clear()
        asking = asyncio.create_task(remote.detect_stored([stored(number) for number in range(32)]))
        await service.until_health(lambda told: told["queue"]["waiting"] == 8)
        detector.gate.set()
        assert await asking == [seen_in(number) for number in range(32)]
        assert max(map(len, detector.calls)) > 1


async def test_the_stored_bytes_are_sent_as_they_are_on_connections_that_stay_open() -> None:
    bodies, connections = [], set()

    async def answer(request: web.Request) -> web.Response:
        bodies.append(await request.read())
        connections.add(request.transport)
        assert request.headers["Authorization"] == f"Bearer {TOKEN}"
        return web.json_response(ANSWER)

    async with answering(answer, parallel=2) as detector:
        frames = [StoredPicture(jpeg(number), *SIZE) for number in range(12)]
        assert len(await detector.detect_stored(frames)) == 12
    assert sorted(bodies) == sorted(frame.content for frame in frames)
    assert len(connections) <= 2


async def test_a_caller_with_decoded_pictures_is_served_too(tmp_path: Path) -> None:
    async with running_service(tmp_path, GatedDetector()) as service, detector_at(service.url) as remote:
        picture = decode_picture(encoded(noise((640, 480))), 64)
        assert picture.pixels.shape[1] < 640
        expected = seen_in(int.from_bytes(picture.pixels[0, 0].tobytes()))[0].box
        [[found]] = await asyncio.to_thread(remote.detect, [picture])
        scale = 640 / picture.pixels.shape[1]
        assert found.box.x == pytest.approx(expected.x * scale)
        assert found.box.height == pytest.approx(expected.height * scale)
        assert remote.name == "Gated"


async def test_what_this_server_would_drop_is_dropped() -> None:
    weak = {**ANSWER["detections"][0], "confidence": 0.2, "label": "cat"}  # type: ignore[index]
    async with answering(saying(200, {**ANSWER, "detections": [*ANSWER["detections"], weak]})) as detector:  # type: ignore[misc]
        assert await detector.detect_stored([stored(1)]) == [(Detection(Label.PERSON, 0.9, Box(4, 4, 10, 20)),)]


async def test_a_substitute_there_is_named_one_here() -> None:
    async with answering(saying(200, {**ANSWER, "fallback": True})) as detector:
        await detector.detect_stored([stored(1)])
        assert detector.name == "Elsewhere (a substitute)"


def _changed(**fields: Any) -> dict[str, Any]:
    return {**ANSWER, **fields}


def _seen(**fields: Any) -> dict[str, Any]:
    return _changed(detections=[{**ANSWER["detections"][0], **fields}])  # type: ignore[index]


@pytest.mark.parametrize(
    "body",
    [
        _changed(width=65),
        _changed(width=-1),
        _changed(detections=None),
        _changed(detections=[3]),
        _changed(detections=ANSWER["detections"] * 301),  # type: ignore[operator]
        _changed(input_size=0),
        _changed(model=7),
        _seen(label="ghost"),
        _seen(confidence=1.5),
        _seen(box={"x": 900, "y": 4, "width": 10, "height": 20}),
        _seen(box={"x": 4, "y": 4, "width": -10, "height": 20}),
        json.dumps(_seen(confidence=0.5)).replace("0.5", "NaN"),
        json.dumps(_seen(confidence=0.5)).replace("0.5", "Infinity"),
        json.dumps(_seen(box={"x": 1.5, "y": 4, "width": 10, "height": 20})).replace("1.5", "1e308"),
        json.dumps(_seen(box={"x": 1.5, "y": 4, "width": 10, "height": 20})).replace("1.5", "1e999"),
    ],
)
async def test_an_answer_that_cannot_be_true_is_not_believed(body: Any) -> None:
    async with answering(saying(200, body)) as detector:
        with pytest.raises(DetectorLied):
            await detector.detect_stored([stored(1)])


def _problem(code: str, **more: Any) -> dict[str, Any]:
    return {"title": "T", "status": 0, "code": code, "detail": "A detail.", "remedy": "A remedy.", **more}


@pytest.mark.parametrize(
    ("status", "body", "message", "remedy"),
    [
        (401, _problem("unauthorized"), "refuses the token", "detector-token"),
        (429, _problem("too_many_attempts"), "refuses the token", "detector-token"),
        (200, _changed(protocol=2), "speaks version 2", "same version on both|same version of"),
        (503, _problem("detector_down"), "cannot judge: A detail", "A remedy"),
        (503, _problem("not_ready"), "cannot judge", "A remedy"),
        (500, _problem("internal"), "status 500", "log"),
        (422, _problem("refused", reason="corrupt"), "status 422", "log"),
        (404, "<html>nginx</html>", "no detector service", "8095"),
        (302, "", "no detector service", "8095"),
        (200, "<html>router</html>", "no detector service", "8095"),
        (200, "[" * 10_000, "no detector service", "8095"),
        (200, "[]", "no detector service", "8095"),
        (200, " " * (2 << 20), "no detector service", "8095"),
    ],
)
async def test_every_failure_names_its_remedy(status: int, body: Any, message: str, remedy: str) -> None:
    async with answering(saying(status, body, Location="http://127.0.0.1:1/")) as detector:
        with pytest.raises(DetectorElsewhereError, match=message) as failed:
            await detector.detect_stored([stored(1)])
    assert any(part in failed.value.remedy for part in remedy.split("|"))
    assert TOKEN not in f"{failed.value} {failed.value.remedy}"


async def test_a_service_that_is_not_there_and_one_that_says_nothing_are_told_apart() -> None:
    async with detector_at(f"http://127.0.0.1:{free_port()}") as detector:
        with pytest.raises(DetectorElsewhereError, match="cannot be reached") as failed:
            await detector.try_out()
        assert "runs" in failed.value.remedy

    async def silent(_request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with answering(silent, timeout_seconds=1) as detector:
        with pytest.raises(DetectorElsewhereError, match="no answer within 1 s") as failed:
            await detector.detect_stored([stored(1)])
        assert "timeout_seconds" in failed.value.remedy


async def test_a_connection_that_breaks_off_is_a_failure_with_a_remedy() -> None:
    async def broken(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with answering(broken) as detector:
        with pytest.raises(DetectorElsewhereError, match="connection"):
            await detector.detect_stored([stored(1)])


async def test_a_busy_service_is_asked_again_when_it_says_so() -> None:
    answers = [saying(429, _problem("too_busy"), **{"Retry-After": "0.1"}), saying(200, ANSWER)]

    async def answer(request: web.Request) -> web.StreamResponse:
        return await answers.pop(0)(request)

    async with answering(answer) as detector:
        assert len(await detector.detect_stored([stored(1)])) == 1
    assert answers == []


async def test_a_service_that_stays_busy_gave_no_answer() -> None:
    async with answering(saying(429, _problem("too_busy"), **{"Retry-After": "nan"}), timeout_seconds=1) as detector:
        with pytest.raises(DetectorElsewhereError, match="no answer within"):
            await detector.detect_stored([stored(1)])


async def test_a_picture_that_is_too_large_there_is_sent_smaller(tmp_path: Path) -> None:
    content = encoded(noise((1280, 960)), quality=100)
    async with (
        running_service(tmp_path / "a", GatedDetector(), max_pixels=100_000) as few_pixels,
        running_service(tmp_path / "b", GatedDetector(), max_bytes=60_000) as few_bytes,
    ):
        assert len(content) > 60_000
        for service in (few_pixels, few_bytes):
            async with detector_at(service.url) as remote:
                await remote.try_out()
                [[person]] = await remote.detect_stored([StoredPicture(content, 1280, 960)])
                assert person.box.width == pytest.approx(10 * 1280 / 160), "sent were 160x120 pixels"


async def test_a_picture_that_is_damaged_here_as_well_is_not_the_services_fault(tmp_path: Path) -> None:
    async with running_service(tmp_path, GatedDetector()) as service, detector_at(service.url) as remote:
        with pytest.raises(PictureUnreadable):
            await remote.detect_stored([StoredPicture(plain_png(1)[:-30], *SIZE)])
        await remote.try_out()


def test_a_detector_elsewhere_needs_to_know_where() -> None:
    with pytest.raises(ValueError, match="url"):
        RemoteDetector(DetectorSettings())
