# SPDX-License-Identifier: AGPL-3.0-or-later
"""A whole server with a real language model: a small one that cannot judge, so that its bounds have to hold."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image

from inference_server.app import Server
from inference_server.settings import Settings
from tests.server.detection.graphs import constant_model, end_to_end
from tests.support.pictures import encoded
from tests.support.subscriber import Subscriber
from tests.support.weights import language_model_path


@asynccontextmanager
async def _serving(settings: Settings, url: str) -> AsyncIterator[aiohttp.ClientSession]:
    stop = asyncio.Event()
    serving = asyncio.create_task(Server(settings).run(stop))
    try:
        async with asyncio.timeout(60), aiohttp.ClientSession() as session:
            while not await _is_ready(session, url):  # noqa: ASYNC110 - it answers over HTTP
                await asyncio.sleep(0.05)
        token = (settings.data_dir / "token").read_text().strip()
        async with aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {token}"}) as session:
            yield session
    finally:
        stop.set()
        await serving


async def _is_ready(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/api/system/ready") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


async def _get(session: aiohttp.ClientSession, path: str) -> Any:
    async with session.get(path) as answer:
        assert answer.status == 200
        return await answer.json()


@pytest.mark.timeout(300)
async def test_a_real_model_explains_an_event_within_bounds(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    person = constant_model(tmp_path / "street.onnx", end_to_end((8, 8, 24, 40, 0.9, 0)))
    monkeypatch.setenv("HSI_API__PORT", str(unused_tcp_port))
    monkeypatch.setenv("HSI_API__HOST", "127.0.0.1")
    monkeypatch.setenv("HSI_DETECTOR__MODEL_FILE", str(person))
    monkeypatch.setenv("HSI_ANALYST__MODEL_FILE", str(language_model_path()))
    monkeypatch.setenv("HSI_ANALYST__GPU_LAYERS", "0")
    url = f"http://127.0.0.1:{unused_tcp_port}"
    async with _serving(Settings(), url) as session, session.ws_connect("/api/ws") as socket:
        watcher = Subscriber(socket, (data / "token").read_text().strip())
        await watcher.subscribe(None)
        picture = encoded(Image.new("RGB", (640, 480), (90, 120, 90)))
        async with session.post("/api/cameras/front_door/frames", data=picture) as answer:
            assert answer.status == 201
        told: list[Any] = []
        async with asyncio.timeout(240):
            while not told or told[-1]["kind"] != "event_assessed":
                message = await watcher.receive()
                told += [message] if message["type"] == "message" else []
        kinds = [message["kind"] for message in told]
        assert kinds.index("event_detected") < kinds.index("event_assessed")
        event = told[-1]["data"]["event"]
        history = (await _get(session, f"/api/events/{event['id']}/assessments"))["items"]
        rules = history[-1]["analysis"]
        assert (event["source"], event["verified"]) == ("model", True)
        assert history[0]["verified"] is False
        assert abs(event["risk"]["score"] - rules["rules_score"]) <= 20
        assert rules["prompt"] == "Standard, version 1"
        assert rules["tokens_in"] > 500
        assert event["summary"]
        server = await _get(session, "/api/system/info")
        assert server["analyst"]["state"] == "ok"
        health = await _get(session, "/api/system/health/full")
        analyst = next(part for part in health["components"] if part["name"] == "analyst")
        assert analyst["details"]["answered"] == 1
