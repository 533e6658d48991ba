# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the detector service understands, what it answers, and what it refuses."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from inference_server import __version__
from inference_server.api.server import CannotListenError
from inference_server.detection.backends.opening import Opened
from inference_server.detection.wire import DetectMessage
from inference_server.detector_service.pictures import open_picture
from inference_server.detector_service.service import DetectorService, DetectorServiceMisplacedError
from inference_server.settings import DetectorServiceSettings, Settings
from scripts.development.process import free_port
from tests.server.detection.graphs import constant_model, end_to_end
from tests.support.detector_service import GatedDetector, RunningService, running_service
from tests.support.detectors import detector_on
from tests.support.pictures import encoded, jpeg, jpeg_of_size, noise, plain_png, png_bomb

JPEG = jpeg(size=(128, 64))
LIMIT = 20_000


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[RunningService]:
    """Give a service with a real model that sees a person in the middle of each picture."""
    model = constant_model(tmp_path / "model.onnx", end_to_end((16, 24, 32, 40, 0.75, 0)))
    async with running_service(
        tmp_path / "data",
        lambda _model: detector_on(model, name="Constant"),
        max_bytes=LIMIT,
        max_pixels=1_000_000,
        max_pictures=4,
        max_waiting=8,
    ) as running:
        yield running


def form(*contents: bytes) -> aiohttp.FormData:
    """Return a form with these files."""
    data = aiohttp.FormData(quote_fields=False)
    for number, content in enumerate(contents):
        data.add_field("files", content, filename=f"{number}.jpg")
    return data


def in_base64(content: bytes) -> str:
    """Return bytes as JSON holds them."""
    return b64encode(content).decode()


async def test_a_picture_is_judged_however_it_is_sent(service: RunningService) -> None:
    ways: list[dict[str, Any]] = [
        {"data": JPEG, "headers": {"Content-Type": "image/jpeg"}},
        {"data": JPEG, "headers": {"Content-Type": "application/octet-stream"}},
        {"data": form(JPEG)},
        {"json": {"picture": in_base64(JPEG)}},
    ]
    for way in ways:
        status, answer, _ = await service.post(**way)
        assert status == 200, answer
        times = answer.pop("milliseconds")
        assert set(times) == {"decode", "waiting", "inference"}
        assert all(value >= 0 for value in times.values())
        assert answer == {
            "width": 128,
            "height": 64,
            "detections": [
                {"label": "person", "confidence": 0.75, "box": {"x": 32, "y": 16, "width": 32, "height": 32}}
            ],
            "protocol": 1,
            "version": __version__,
            "model": "Constant",
            "fallback": False,
            "provider": "CPUExecutionProvider",
            "input_size": 64,
        }


@pytest.mark.parametrize("as_json", [False, True])
async def test_in_a_batch_each_picture_is_answered_in_its_place(service: RunningService, as_json: bool) -> None:
    contents = [jpeg(), encoded(noise((32, 32)), "WEBP"), JPEG[:-40], plain_png(7)]
    sent: dict[str, Any] = {"json": {"pictures": [*map(in_base64, contents)]}} if as_json else {"data": form(*contents)}
    status, answer, _ = await service.post("/detect/batch", **sent)
    assert status == 200, answer
    results = answer["results"]
    assert [(result.get("width"), result.get("height")) for result in results] == [
        (64, 48),
        (32, 32),
        (None, None),
        (64, 48),
    ]
    assert results[2]["problem"]["reason"] == "corrupt"
    assert results[2]["problem"]["status"] == 422
    assert [len(result["detections"]) for result in results if "detections" in result] == [1, 1, 1]
    assert answer["model"] == "Constant"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"not a picture at all", "not_a_picture"),
        (encoded(noise(), "BMP"), "not_a_picture"),
        (JPEG[:-40], "corrupt"),
        (JPEG[:200], "corrupt"),
        (plain_png(3)[:-30], "corrupt"),
        (b"\xff\xd8\xff", "not_a_picture"),
        (png_bomb(30_000, 30_000), "too_many_pixels"),
        (jpeg_of_size(60_000, 60_000), "too_many_pixels"),
        (JPEG.replace(b"\xff\xd9", b"\xff\xda" * 100 + b"\xff\xd9"), "corrupt"),
    ],
    ids=[
        "empty",
        "text",
        "BMP",
        "JPEG without end",
        "JPEG header",
        "PNG without end",
        "JPEG marker",
        "PNG bomb",
        "JPEG bomb",
        "scans",
    ],
)
async def test_what_is_no_whole_picture_is_refused_with_its_reason(
    service: RunningService, content: bytes, reason: str
) -> None:
    status, problem, headers = await service.post(data=content, headers={"Content-Type": "image/jpeg"})
    assert (status, problem["code"], problem["reason"]) == (422, "refused", reason)
    assert problem["remedy"]
    assert headers["Content-Type"].startswith("application/problem+json")
    assert (await service.post(data=form(JPEG)))[0] == 200


def test_a_jpeg_with_filling_between_its_parts_is_whole() -> None:
    padded = JPEG[:-2] + b"\0" * 16 + JPEG[-2:]
    picture = open_picture(padded, 64, DetectorServiceSettings())
    assert (picture.width, picture.height) == (128, 64)


BOUNDARY = "multipart/form-data; boundary=xyz"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"json": {}}, 422),
        ({"json": {"picture": 3}}, 422),
        ({"json": {"picture": "§"}}, 422),
        ({"json": {"picture": "AAAA", "more": 1}}, 422),
        ({"json": []}, 422),
        ({"data": b"[" * 5000, "headers": {"Content-Type": "application/json"}}, 422),
        ({"data": form(JPEG, JPEG)}, 422),
        ({"data": b"", "headers": {"Content-Type": BOUNDARY}}, 422),
        ({"data": b"--xyz--", "headers": {"Content-Type": BOUNDARY}}, 422),
        ({"data": b"--xyz\r\n", "headers": {"Content-Type": BOUNDARY}}, 422),
        ({"data": b"--xyz\r\n\r\nbody\r\n--xyz--", "headers": {"Content-Type": BOUNDARY}}, 422),
        ({"data": b"--xyz\r\nA: b\r\n\r\nbody", "headers": {"Content-Type": BOUNDARY}}, 422),
        ({"data": b"xyz" * 100, "headers": {"Content-Type": BOUNDARY}}, 422),
        ({"data": JPEG, "headers": {"Content-Type": "multipart/form-data"}}, 422),
        ({"data": JPEG, "headers": {"Content-Type": f"multipart/form-data; boundary={'x' * 71}"}}, 422),
        ({"data": b"hello", "headers": {"Content-Type": "text/plain"}}, 415),
        ({"data": b"x" * 60_000, "headers": {"Content-Type": "image/jpeg"}}, 413),
    ],
)
async def test_a_request_that_says_something_else_is_told_what_is_understood(
    service: RunningService, sent: dict[str, Any], status: int
) -> None:
    found, problem, _ = await service.post(**sent)
    assert found == status, problem
    assert problem["code"] in {"invalid_request", "too_large"}
    assert problem["remedy"]


async def test_a_body_that_lies_of_its_size_is_cut_off(service: RunningService) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 10_000

    found, problem, _ = await service.post(data=endless(), headers={"Content-Type": "image/jpeg"})
    assert (found, problem["code"]) == (413, "too_large")


async def test_a_batch_has_its_limit_and_none_is_no_batch(service: RunningService) -> None:
    small = jpeg(size=(16, 16))
    assert (await service.post("/detect/batch", data=form(*[small] * 4)))[0] == 200
    assert (await service.post("/detect/batch", data=form(*[small] * 5)))[0] == 422
    assert (await service.post("/detect/batch", json={"pictures": []}))[0] == 422
    assert (await service.post("/detect/batch", data=small, headers={"Content-Type": "image/jpeg"}))[0] == 415


async def test_only_the_token_opens_it(service: RunningService) -> None:
    async with aiohttp.ClientSession() as stranger:
        for path, method in (("/detect", "POST"), ("/detect/batch", "POST"), ("/metrics", "GET")):
            async with stranger.request(method, f"{service.url}{path}") as response:
                assert response.status == 401
                assert response.headers["WWW-Authenticate"].startswith("Bearer")
                assert (await response.json(content_type=None))["code"] == "unauthorized"
        async with stranger.get(f"{service.url}/health") as response:
            assert set(await response.json()) == {"status", "model_loaded", "version", "protocol"}
        wrong = {"Authorization": "Bearer wr\u00f6ng"}
        statuses = []
        for _ in range(12):
            async with stranger.get(f"{service.url}/health", headers=wrong) as response:
                statuses.append(response.status)
        assert statuses == [401] * 10 + [429] * 2
    assert (await service.post(data=form(JPEG)))[0] == 200, "the right one always passes"


async def test_a_request_keeps_its_name_or_gets_one(service: RunningService) -> None:
    _, _, headers = await service.post(data=form(JPEG), headers={"X-Request-ID": "camera-1.42"})
    assert headers["X-Request-ID"] == "camera-1.42"
    _, _, headers = await service.post(data=form(b""))
    assert len(headers["X-Request-ID"]) == 16
    status, problem, headers = await service.post(data=form(JPEG), headers={"X-Request-ID": "a b"})
    assert (status, problem["code"]) == (422, "invalid_request")
    assert "X-Request-ID" not in headers


async def test_what_is_not_there_is_a_problem_too(service: RunningService) -> None:
    status, problem, _ = await service.post("/elsewhere")
    assert (status, problem["code"]) == (404, "not_found")
    async with service.client.get(f"{service.url}/detect") as response:
        assert response.status == 405
        assert response.headers["Allow"] == "POST"


async def test_health_tells_what_judges_and_metrics_count_it(service: RunningService) -> None:
    await service.post("/detect/batch", data=form(JPEG, b"nothing"))
    told = await service.health()
    assert told == {
        "status": "ok",
        "model_loaded": True,
        "version": __version__,
        "protocol": 1,
        "model": "any.onnx",
        "device": "cpu",
        "provider": "CPUExecutionProvider",
        "engine": "ONNX Runtime",
        "engine_build": None,
        "batch": 1,
        "vram_used": None,
        "fallback": False,
        "queue": {"waiting": 0, "most": 8},
        "stuck": 0,
        "message": None,
    }
    async with service.client.get(f"{service.url}/metrics") as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        families = {family.name: family for family in text_string_to_metric_families(await response.text())}
    pictures = {sample.labels["result"]: sample.value for sample in families["hsi_detector_pictures"].samples
                if sample.name.endswith("_total")}  # fmt: skip
    assert pictures == {"judged": 1, "refused_not_a_picture": 1}
    assert families["hsi_detector_model_loaded"].samples[0].value == 1
    requests = families["hsi_detector_requests"].samples
    assert any(sample.labels == {"path": "/detect/batch", "status": "200"} for sample in requests)


async def test_until_the_detector_is_there_callers_are_told_to_come_later(tmp_path: Path) -> None:
    detector = GatedDetector()
    detector.gate.clear()

    def slowly(_model: object) -> GatedDetector:
        detector.gate.wait(30)
        return detector

    async with running_service(tmp_path, slowly, loaded=False) as service:
        status, problem, headers = await service.post(data=form(JPEG))
        assert (status, problem["code"]) == (503, "not_ready")
        assert int(headers["Retry-After"]) > 0
        assert (await service.health())["status"] == "starting"
        detector.gate.set()
        await service.until_health(lambda told: told["status"] == "ok")
        assert (await service.post(data=form(JPEG)))[0] == 200


async def test_without_a_token_of_the_settings_the_first_start_makes_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "any.onnx"
    model.touch()
    monkeypatch.setenv("HSI_DETECTOR__MODEL_FILE", str(model))
    monkeypatch.setenv("HSI_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("HSI_DETECTOR_SERVICE__HOST", "127.0.0.1")
    made = []
    for port in (free_port(), free_port()):
        monkeypatch.setenv("HSI_DETECTOR_SERVICE__PORT", str(port))
        stop = asyncio.Event()
        service = DetectorService(Settings(), lambda _model, _no_room: Opened(GatedDetector()))
        running = asyncio.create_task(service.run(stop))
        await service.port
        file = tmp_path / "data" / "detector-token"
        assert file.stat().st_mode & 0o777 == 0o600
        made.append(file.read_text().strip())
        headers = {"Authorization": f"Bearer {made[-1]}"}
        async with (
            aiohttp.ClientSession(headers=headers) as client,
            client.get(f"http://127.0.0.1:{port}/health") as response,
        ):
            assert "queue" in await response.json()
        stop.set()
        await running
    assert made[0] == made[1]


async def test_a_taken_port_and_a_service_that_asks_another_one_are_explained(
    tmp_path: Path, service: RunningService
) -> None:
    taken = int(service.url.rpartition(":")[2])
    with pytest.raises(CannotListenError, match="HSI_DETECTOR_SERVICE__PORT"):
        async with running_service(tmp_path / "other", GatedDetector(), port=taken):
            pass
    remote = {"backend": "remote", "remote": {"url": service.url, "token": "x" * 20}}
    settings = Settings.model_validate({"data_dir": tmp_path, "detector": remote})
    with pytest.raises(DetectorServiceMisplacedError, match=r"detector\.backend"):
        DetectorService(settings, lambda _model, _no_room: Opened(GatedDetector()))


def test_the_wire_is_what_the_page_shows() -> None:
    page = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text()
    example = page[page.index('      "width": 1280, "height": 720') :].partition("\n\n")[0].rpartition("    }")[0]
    message = DetectMessage.model_validate(json.loads("{" + example + "}"))
    assert set(json.loads("{" + example + "}")) == set(DetectMessage.model_fields)
    assert message.detections[0].label == "person"
