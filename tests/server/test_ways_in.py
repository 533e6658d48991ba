# SPDX-License-Identifier: AGPL-3.0-or-later
"""A whole server: what is uploaded and what lies in a folder pass the same gate, and it goes by the same settings."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from PIL import Image

from inference_server.api.announce import SUPERVISOR_TOKEN_VARIABLE
from inference_server.app import Server
from inference_server.settings import ApiSettings, DetectorSettings, Settings
from scripts.development.process import free_port
from tests.support.pictures import encoded
from tests.support.subscriber import Subscriber

LEFT_HALF = {"points": [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]}


def _white(number: int) -> bytes:
    return encoded(Image.new("RGB", (640, 480), (255, 255, 255)), comment=str(number).encode())


@asynccontextmanager
async def _running(folder: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """Give a client of a server that has no detector: its pictures wait."""
    settings = Settings(
        data_dir=folder / "data",
        watch_root=folder / "cameras",
        mdns=False,
        api=ApiSettings(host="127.0.0.1", port=free_port()),
        detector=DetectorSettings(model_file=folder / "none.onnx"),
    )
    stop = asyncio.Event()
    server = Server(settings)
    running = asyncio.create_task(server.run(stop))
    address = f"http://127.0.0.1:{settings.api.port}"
    try:
        token = await _token(address, settings.data_dir / "token")
        async with aiohttp.ClientSession(address, headers={"Authorization": f"Bearer {token}"}) as session:
            yield session
    finally:
        stop.set()
        await running


async def _token(address: str, file: Path) -> str:
    """Return the token in a file once the server takes it."""
    async with asyncio.timeout(30), aiohttp.ClientSession(address) as session:
        while True:
            with suppress(aiohttp.ClientConnectorError, FileNotFoundError):
                token = file.read_text().strip()
                async with session.get("/api/cameras", headers={"Authorization": f"Bearer {token}"}) as response:
                    if response.status == 200:
                        return token
            await asyncio.sleep(0.02)


async def _brightest(session: aiohttp.ClientSession) -> tuple[int, int]:
    """Return the brightest value of the left and the right half of the camera's newest picture."""
    async with session.get("/api/cameras/front_door/latest.jpg") as response:
        assert response.status == 200
        with Image.open(io.BytesIO(await response.read())) as image:
            shown = np.asarray(image)
    return int(shown[:, :300].max()), int(shown[:, 340:].max())


async def test_masks_cover_uploads_and_files_alike_and_outlive_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SUPERVISOR_TOKEN_VARIABLE, raising=False)
    async with _running(tmp_path) as session:
        async with session.post("/api/cameras/front_door/frames", data=_white(1)) as response:
            assert response.status == 201
        assert await _brightest(session) == (255, 255)
        async with session.patch("/api/cameras/front_door", json={"masks": [LEFT_HALF]}) as response:
            assert response.status == 200
        async with session.post("/api/cameras/front_door/frames", data=_white(2)) as response:
            assert response.status == 201
        left, right = await _brightest(session)
        assert left < 40
        assert right > 250
        async with session.delete("/api/cameras/front_door") as response:
            assert response.status == 204
    async with _running(tmp_path) as session, session.ws_connect("/api/ws") as socket:
        subscriber = Subscriber(socket, session.headers["Authorization"].removeprefix("Bearer "))
        await subscriber.subscribe(None)
        file = tmp_path / "cameras" / "front_door" / "1.jpg"
        file.parent.mkdir(parents=True)
        file.write_bytes(_white(3))
        while (await subscriber.receive()).get("kind") != "camera_added":
            pass
        left, right = await _brightest(session)
        assert left < 40
        assert right > 250
        async with session.get("/api/system/health/full") as response:
            components = {component["name"]: component for component in (await response.json())["components"]}
        assert components["cameras"]["state"] == "ok"
        assert len(list((tmp_path / "data" / "media").rglob("*.jpg"))) == 3
        assert list((tmp_path / "data" / "uploads").iterdir()) == []
