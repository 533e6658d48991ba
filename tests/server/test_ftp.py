# SPDX-License-Identifier: AGPL-3.0-or-later
"""A camera uploads by FTP to a real server: the camera, its picture and an event appear in the API."""

import asyncio
import ftplib
import io
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest

from scripts.development.inference_server import HSI, InferenceServer
from scripts.development.process import free_port
from tests.support import scenes
from tests.support.weights import models_folder

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[InferenceServer]:
    """A server process with the small real detector."""
    passive = Random().randrange(21000, 30000)
    settings = {
        "HSI_MDNS": "false",
        "HSI_MODELS_DIR": str(models_folder()),
        "HSI_DETECTOR__MODEL": "yolov3-tiny",
        "HSI_FTP__ENABLED": "true",
        "HSI_FTP__HOST": "127.0.0.1",
        "HSI_FTP__PORT": str(free_port()),
        "HSI_FTP__PASSIVE_PORTS": f"{passive}-{passive + 9}",
    }
    process = InferenceServer(tmp_path / "data", port=free_port(), watch_root=tmp_path / "cameras", settings=settings)
    await process.start()
    yield process
    await process.stop()


async def test_a_picture_that_a_camera_uploads_is_in_the_api(server: InferenceServer) -> None:
    password = await asyncio.to_thread(_add_account, server, "Front Door")
    picture = scenes.encode(scenes.one_person())
    await asyncio.to_thread(_upload, server, "front_door", password, picture)
    headers = {"Authorization": f"Bearer {server.token}"}
    async with aiohttp.ClientSession(server.url, headers=headers) as http, asyncio.timeout(30):
        while not (events := await _items(http, "/api/events")):  # noqa: ASYNC110 - another process is waited for
            await asyncio.sleep(0.1)
        (camera,) = await _items(http, "/api/cameras")
        async with http.get("/api/cameras/front_door/latest.jpg") as latest:
            assert latest.status == 200
            assert (await latest.read()).startswith(b"\xff\xd8")
        async with http.get("/api/system/health/full") as answer:
            ftp = {item["name"]: item for item in (await answer.json())["components"]}["ftp"]
    assert (camera["id"], camera["name"], camera["last_frame_id"]) == ("front_door", "Front Door", 1)
    assert [(event["camera_id"], event["objects"]) for event in events] == [("front_door", {"person": 1})]
    assert ftp["state"] == "ok"
    assert (server.watch_root / "Front Door" / "2026" / "1.jpg").read_bytes() == picture
    log = server.process.tail(1000)
    assert "FTP listens on 127.0.0.1" in log
    assert password not in log


def _add_account(server: InferenceServer, camera: str) -> str:
    command = [str(HSI), "ftp", "add", camera]
    added = subprocess.run(command, env=server.process._environment, capture_output=True, text=True, check=True)
    return added.stdout.split()[-1]


def _upload(server: InferenceServer, user: str, password: str, picture: bytes) -> None:
    with ftplib.FTP_TLS() as camera:
        camera.connect("127.0.0.1", int(server.process._environment["HSI_FTP__PORT"]), timeout=30)
        camera.login(user, password)
        camera.prot_p()
        camera.mkd("2026")
        camera.cwd("2026")
        camera.storbinary("STOR 1.jpg", io.BytesIO(picture))


async def _items(http: aiohttp.ClientSession, path: str) -> list[dict[str, Any]]:
    async with http.get(path) as answer:
        items: list[dict[str, Any]] = (await answer.json())["items"]
    return items
