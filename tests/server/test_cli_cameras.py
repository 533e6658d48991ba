# SPDX-License-Identifier: AGPL-3.0-or-later
"""`hsi cameras`, as an operator calls it, and what a running server makes of it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from inference_server.cli import main
from inference_server.core.camera import Camera, Mask
from inference_server.core.detection import Box, Label, ZoneType
from inference_server.core.stationary import Standing
from inference_server.core.zone import ZoneShape, rectangle
from inference_server.ingest import camera_reader
from inference_server.ingest.camera_reader import CameraReader
from inference_server.ingest.known_cameras import KnownCameras
from inference_server.observability.health import HealthBoard
from inference_server.storage import cameras, stationary, zones
from inference_server.storage.database import Database
from tests.support.home import START, MovableClock

SQUARE = "0,0 0.5,0 0.5,0.5 0,0.5"


@pytest.fixture(autouse=True)
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the file of a database with one camera, whose clock is an hour behind."""
    monkeypatch.setenv("HSI_DATA_DIR", str(tmp_path))
    file = tmp_path / "hsi.db"

    async def fill(database: Database) -> None:
        async with database.writing() as connection:
            await cameras.add(connection, Camera("front_door", "Front door", START))
            await cameras.set_clock_offset(connection, "front_door", timedelta(hours=1))

    _with(file, fill)
    return file


def _with(file: Path, work: Callable[[Database], Awaitable[None]]) -> None:
    async def run() -> None:
        database = Database(file)
        await database.open()
        try:
            await work(database)
        finally:
            await database.close()

    asyncio.run(run())


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    try:
        status = main(("cameras", *arguments))
    except SystemExit as exit_:
        status = int(str(exit_.code))
    captured = capsys.readouterr()
    return status, captured.out + captured.err


def _shown(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    status, out = _run(capsys, "show", "front_door")
    assert status == 0
    shown: dict[str, Any] = json.loads(out)
    return shown


def test_cameras_are_listed_with_their_clocks(capsys: pytest.CaptureFixture[str]) -> None:
    status, out = _run(capsys, "list")
    assert (status, out.split()) == (0, ["front_door", "no", "picture", "yet", "clock", "-3600", "s", "Front", "door"])


def test_settings_are_set_shown_and_cleared(capsys: pytest.CaptureFixture[str]) -> None:
    nothing: dict[str, Any] = {
        "time_zone": None,
        "ignore_patterns": [],
        "masks": [],
        "watch_view": True,
        "zones": [],
        "stationary": [],
    }
    assert _shown(capsys) == {"name": "Front door", **nothing}
    status, out = _run(capsys, "set", "front_door", "--time-zone", "Asia/Tokyo", "--mask", SQUARE, SQUARE)
    assert (status, "stored" in out) == (0, True)
    _run(capsys, "set", "front_door", "--ignore", "*_thumb.jpg", "thumbs", "--name", "Gate")
    square = [[0, 0], [0.5, 0], [0.5, 0.5], [0, 0.5]]
    assert _shown(capsys) == {
        "name": "Gate",
        "time_zone": "Asia/Tokyo",
        "ignore_patterns": ["*_thumb.jpg", "thumbs"],
        "masks": [square, square],
        "watch_view": True,
        "zones": [],
        "stationary": [],
    }
    _run(capsys, "set", "front_door", "--time-zone", "home", "--mask", "--ignore")
    assert _shown(capsys) == {"name": "Gate", **nothing}


def test_zones_and_what_stands_still_are_shown(capsys: pytest.CaptureFixture[str], database: Path) -> None:
    async def fill(database: Database) -> None:
        car = Standing(
            id=None,
            camera_id="front_door",
            label=Label.CAR,
            box=Box(0.1, 0.1, 0.2, 0.2),
            first_seen_at=START,
            last_seen_at=START,
            arrived_at=START,
            stationary_at=START,
        )
        async with database.writing() as connection:
            shape = ZoneShape(name="Porch", type=ZoneType.ENTRY, points=rectangle(0, 0, 0.5, 1), enabled=False)
            await zones.add(connection, "front_door", shape)
            await stationary.replace(connection, (), (car,))

    _with(database, fill)
    shown = _shown(capsys)
    corners = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]
    assert shown["zones"] == [{"id": 1, "name": "Porch", "type": "entry", "enabled": False, "points": corners}]
    assert shown["stationary"] == ["car since 2026-11-23 08:00 UTC"]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("set", "garage", "--name", "Garage"), 1, "hsi cameras list"),
        (("show", "garage"), 1, "hsi cameras list"),
        (("set", "front_door", "--time-zone", "Mars"), 2, "no time zone"),
        (("set", "front_door", "--name", " "), 2, "characters that can be shown"),
        (("set", "front_door", "--mask", "0,0 1,1"), 2, "3 to 64 points"),
        (("set", "front_door", "--mask", "0,0 1,1 1,0 0,1"), 2, "crosses"),
        (("set", "front_door", "--mask", "0 1 2"), 2, "a point is x,y"),
        (("set", "front_door", "--mask", "a,b 0,0 1,1"), 2, "could not convert"),
        (("set", "front_door", "--mask", *[SQUARE] * 33), 1, "at most 32 masks"),
        (("set", "front_door", "--ignore", "x" * 201), 1, "1 to 200 characters"),
    ],
)
def test_what_cannot_be_set_is_explained(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], status: int, said: str
) -> None:
    got, out = _run(capsys, *arguments)
    assert got == status
    assert said in out
    assert _shown(capsys)["masks"] == []


def test_a_running_server_goes_by_what_a_command_set(
    capsys: pytest.CaptureFixture[str], database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(camera_reader, "INTERVAL_SECONDS", 0.01)
    _run(capsys, "set", "front_door", "--mask", SQUARE, "--time-zone", "Asia/Tokyo")

    async def until_known(opened: Database) -> None:
        known = KnownCameras(ZoneInfo("UTC"))
        updated = asyncio.Event()
        update = known.update

        def updating(*what: Any) -> None:
            update(*what)
            updated.set()

        monkeypatch.setattr(known, "update", updating)
        running = asyncio.create_task(CameraReader(opened, known, HealthBoard(MovableClock())).run())
        await asyncio.wait_for(updated.wait(), 10)
        running.cancel()
        assert known.settings("front_door").masks == (Mask(((0, 0), (0.5, 0), (0.5, 0.5), (0, 0.5))),)
        assert known.zone("front_door") == ZoneInfo("Asia/Tokyo")
        assert known.zone("garage") == ZoneInfo("UTC")

    _with(database, until_known)
