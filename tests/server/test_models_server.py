# SPDX-License-Identifier: AGPL-3.0-or-later
"""A whole server installs a real model that was carried to it, while a client watches."""

import asyncio
import io
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image

from inference_server import cli
from inference_server.app import Server
from inference_server.pipeline import model_health, model_watch
from inference_server.settings import Settings
from inference_server.storage import tokens
from inference_server.storage.database import Database
from inference_server.storage.tokens import Scope
from tests.server.detection.graphs import constant_model, end_to_end
from tests.support.subscriber import Subscriber
from tests.support.weights import models_folder


async def test_a_carried_model_is_installed_on_request(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    """Its weights are found by their digest, converted, and used by no one yet: the detector is another file."""
    carried = tmp_path / "usb" / "weights-from-a-friend"
    carried.parent.mkdir()
    shutil.copyfile(models_folder() / "downloads" / "yolov3-tiny.weights", carried)
    detector = next((models_folder() / "converted").glob("yolov3-tiny*.onnx"))
    monkeypatch.setenv("HSI_API__PORT", str(unused_tcp_port))
    monkeypatch.setenv("HSI_API__HOST", "127.0.0.1")
    monkeypatch.setenv("HSI_DETECTOR__MODEL_FILE", str(detector))
    monkeypatch.setenv("HSI_MODELS__OFFLINE_FOLDER", str(carried.parent))
    settings, stop = Settings(), asyncio.Event()
    serving = asyncio.create_task(Server(settings).run(stop))
    try:
        url = f"http://127.0.0.1:{unused_tcp_port}"
        await _ready(url)
        token = await _admin(settings)
        async with aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {token}"}) as http:
            watcher = Subscriber(await http.ws_connect("/api/ws"), token)
            await watcher.subscribe(None)
            assert (await http.post("/api/models/yolov3-tiny/pull")).status == 202
            steps: list[tuple[str, str]] = []
            while not steps or steps[-1] != ("done", "converting"):
                message = await watcher.receive()
                if message["type"] == "model_pull":
                    steps.append((message["pull"]["state"], message["pull"]["step"]))
                    assert message["pull"]["error"] is None
            model = await (await http.get("/api/models/yolov3-tiny")).json()
            assert (model["installed"], model["supplied"], model["in_use"]) == (True, False, False)
            assert (settings.models_folder / "converted" / "yolov3-tiny-512.onnx").exists()
            assert (await http.delete("/api/models/yolov3-tiny")).status == 204
            assert not list(settings.models_folder.rglob("yolov3-tiny*"))
    finally:
        stop.set()
        await serving


async def test_a_detector_that_is_sent_to_a_running_server_judges_the_next_picture(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    """Until it comes another one stands in for it; when it is removed by another process, that one does so again."""
    shutil.copytree(models_folder() / "converted", data / "models" / "converted")
    person = constant_model(tmp_path / "street.onnx", end_to_end((8, 8, 24, 40, 0.9, 0)))
    monkeypatch.setenv("HSI_API__PORT", str(unused_tcp_port))
    monkeypatch.setenv("HSI_API__HOST", "127.0.0.1")
    monkeypatch.setenv("HSI_DETECTOR__MODEL", "street")
    monkeypatch.setattr(model_watch, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(model_health, "LOOK_SECONDS", 0.1)
    settings, stop = Settings(), asyncio.Event()
    serving = asyncio.create_task(Server(settings).run(stop))
    try:
        url = f"http://127.0.0.1:{unused_tcp_port}"
        await _ready(url)
        async with aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {await _admin(settings)}"}) as http:
            report = await _until(http, "detector", "degraded")
            assert report["details"]["model"] == "yolov3-tiny"
            report = await _until(http, "models", "degraded")
            assert report["details"] == {"failed": "street"}
            assert 'There is no model "street"' in report["last_error"]
            assert "street.onnx" in report["remedy"]

            form = aiohttp.FormData()
            form.add_field("file", person.read_bytes(), filename="street.onnx")
            sent = await http.post("/api/models/import", params={"model_id": "street"}, data=form)
            assert sent.status == 201
            report = await _until(http, "detector", "ok")
            assert (report["details"]["model"], report["details"]["fallback"]) == ("street", False)
            await _until(http, "models", "ok")
            await _send_grey_picture(http)
            assert (await _first_event(http))["camera_id"] == "door", "nobody else sees a person in it"

            assert await asyncio.to_thread(cli.main, ("models", "remove", "street", "--force")) == 0
            report = await _until(http, "detector", "degraded")
            assert report["details"]["model"] == "yolov3-tiny"
    finally:
        stop.set()
        await serving


async def _send_grey_picture(http: aiohttp.ClientSession) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (640, 480), "grey").save(picture, "JPEG")
    assert (await http.post("/api/cameras/door/frames", data=picture.getvalue())).status == 201


async def _first_event(http: aiohttp.ClientSession) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            if events := (await (await http.get("/api/events")).json())["items"]:
                return dict(events[0])
            await asyncio.sleep(0.05)


async def _until(http: aiohttp.ClientSession, component: str, state: str) -> dict[str, Any]:
    """Return a component's report once it has a state."""
    async with asyncio.timeout(60):
        while True:
            report = await (await http.get("/api/system/health/full")).json()
            for part in report["components"]:
                if part["name"] == component and part["state"] == state and part["details"].get("model", True):
                    return dict(part)
            await asyncio.sleep(0.05)


async def _ready(url: str) -> None:
    async with aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(f"{url}/api/system/health") as answer:
                    if answer.ok:
                        return
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.05)


async def _admin(settings: Settings) -> str:
    database = Database(settings.database)
    await database.open()
    try:
        async with database.writing() as connection:
            return await tokens.create(connection, "test", Scope.ADMIN, datetime.now(UTC))
    finally:
        await database.close()
