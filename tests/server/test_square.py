# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real camera's pictures through a whole server with a real detector: people are counted, parked vehicles are not."""

import asyncio
import io
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image

from inference_server.api.announce import SUPERVISOR_TOKEN_VARIABLE
from inference_server.app import Server
from inference_server.settings import ApiSettings, BatchSettings, DetectorSettings, Settings
from scripts.development.process import free_port
from tests.support import square
from tests.support.weights import models_folder

CAMERA = "/api/cameras/square"
SHARE = 0.2
"""By how much the number of tracks may differ from the number of people."""
AT_A_TIME = 10

type Json = dict[str, Any]


@asynccontextmanager
async def _running(folder: Path) -> AsyncIterator[aiohttp.ClientSession]:
    settings = Settings(
        data_dir=folder / "data",
        models_dir=models_folder(),
        mdns=False,
        time_zone="UTC",
        api=ApiSettings(host="127.0.0.1", port=free_port()),
        detector=DetectorSettings(model="yolov3-tiny", fallback_model=None),
        batch=BatchSettings(max_frames=200),
    )
    stop = asyncio.Event()
    running = asyncio.create_task(Server(settings).run(stop))
    address = f"http://127.0.0.1:{settings.api.port}"
    try:
        token = await _token(address, settings.data_dir / "token")
        async with aiohttp.ClientSession(address, headers={"Authorization": f"Bearer {token}"}) as session:
            yield session
    finally:
        stop.set()
        await running


async def _get(session: aiohttp.ClientSession, path: str) -> Json:
    async with session.get(path) as response:
        told: Json = await response.json()
        assert response.status == 200, told
        return told


async def _sent(session: aiohttp.ClientSession, pictures: Sequence[tuple[datetime, bytes]]) -> None:
    """Upload pictures, a few at a time so that they are judged in their order, and return when all are judged."""
    frame_id = 0
    for first in range(0, len(pictures), AT_A_TIME):
        for at, content in pictures[first : first + AT_A_TIME]:
            path = f"{CAMERA}/frames"
            async with session.post(path, params={"captured_at": at.isoformat()}, data=content) as response:
                assert response.status == 201, await response.text()
                frame_id = (await response.json())["frame_id"]
        await _judged(session, frame_id)


async def _judged(session: aiohttp.ClientSession, frame_id: int) -> None:
    """Return once a picture is the camera's newest one that was judged."""
    async with asyncio.timeout(120):
        while True:
            if (await _get(session, CAMERA))["last_frame_id"] == frame_id:
                return
            await asyncio.sleep(0.02)


async def _token(address: str, file: Path) -> str:
    """Return the token in a file once the server is ready."""
    async with asyncio.timeout(60), aiohttp.ClientSession(address) as session:
        while True:
            with suppress(aiohttp.ClientConnectorError, FileNotFoundError):
                async with session.get("/api/system/ready") as response:
                    if response.status == 200:
                        return file.read_text().strip()
            await asyncio.sleep(0.02)


@pytest.mark.timeout(300)
async def test_people_are_counted_and_parked_vehicles_make_one_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SUPERVISOR_TOKEN_VARIABLE, raising=False)
    seen = await asyncio.to_thread(square.pictures)
    empty = await asyncio.to_thread(square.without_people, seen)
    start = datetime.now(UTC) - timedelta(hours=3)
    busy = [(start + timedelta(seconds=number), square.jpeg(one, number)) for number, one in enumerate(seen)]
    later = start + timedelta(minutes=5)
    quiet = [(later + timedelta(minutes=4 * number), square.jpeg(empty, 1000 + number)) for number in range(8)]
    async with _running(tmp_path) as session:
        await _sent(session, busy[:1])
        await _sent(session, busy[1:])
        (event,) = (await _get(session, "/api/events"))["items"]
        _check_tracks(event)
        await _sent(session, quiet)
        assert [item["id"] for item in (await _get(session, "/api/events"))["items"]] == [event["id"]]
        parked = (await _get(session, f"{CAMERA}/stationary"))["items"]
        assert len(parked) == square.VEHICLES
        assert all(item["box"]["x"] > 0.8 and item["box"]["y"] < 0.2 for item in parked)
        await _sent(session, [(later + timedelta(hours=1), square.jpeg(seen[30], 2000))])
        await _check_visit(session)


def _check_tracks(event: Json) -> None:
    tracks = event["tracks"]
    labels = Counter(track["label"] for track in tracks)
    assert event["frame_count"] == 80
    assert abs(labels.pop("person") - square.PASSAGES) <= SHARE * square.PASSAGES
    assert labels == {"truck": 1, "car": 1}
    assert {track["speed"] for track in tracks if track["label"] != "person"} == {"still"}
    assert all(track["path"][0][0] == 0 for track in tracks)


async def _check_visit(session: aiohttp.ClientSession) -> None:
    """Check what somebody who comes later makes, before two vehicles that were there all along."""
    visit = (await _get(session, "/api/events"))["items"][0]
    assert list(visit["objects"]) == ["person"]
    assert "vehicle_seen" not in [factor["name"] for factor in visit["factors"]]
    found = (await _get(session, f"/api/events/{visit['id']}/detections"))["items"]
    reasons = Counter(item["left_out"] for item in found if item["label"] != "person")
    assert reasons == {"stationary": square.VEHICLES}
    async with session.get(f"/api/events/{visit['id']}/snapshot.jpg") as response:
        assert response.status == 200
        with Image.open(io.BytesIO(await response.read())) as shown:
            assert shown.size == (768, 576)
