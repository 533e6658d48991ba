# SPDX-License-Identifier: AGPL-3.0-or-later
"""`hsi models quantise`, from pictures of a real camera to the detector that a server runs."""

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from inference_server import cli
from inference_server.app import Server
from inference_server.commands.quantise import spread
from inference_server.core.camera import Camera
from inference_server.detection import quantisation
from inference_server.settings import Settings
from inference_server.storage import cameras, frames
from inference_server.storage.data_folder import DataFolder
from inference_server.storage.database import Database
from inference_server.storage.frames import NewFrame, SampledFrame
from inference_server.storage.media import MediaFolder
from tests.support import square
from tests.support.weights import detector_model_path

type Json = dict[str, Any]

AT = datetime(2026, 11, 23, 8, tzinfo=UTC)


@pytest.fixture
def model(data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The real detector as a file of the owner's own, which the settings name."""
    path = data.parent / "street.onnx"
    path.write_bytes(detector_model_path().read_bytes())
    monkeypatch.setenv("HSI_DETECTOR__MODEL_FILE", str(path))
    monkeypatch.setenv("HSI_DETECTOR__DEVICE", "cpu")
    monkeypatch.setenv("HSI_DETECTOR__PRECISION", "int8")
    return path


async def _stored(settings: Settings) -> None:
    """Admit pictures of the square as if two cameras had taken them over the hours of a day."""
    DataFolder(settings.data_dir).prepare()
    database = Database(settings.database)
    await database.open()
    media = MediaFolder(DataFolder(settings.data_dir).media)
    try:
        async with database.writing() as connection:
            for camera_id in ("north", "south"):
                await cameras.add(connection, Camera(camera_id, camera_id, AT))
            new = []
            for number, picture in enumerate(square.pictures()[::2]):
                content, digest = square.jpeg(picture, number), f"{number * 7919 % 251:02x}{number:062x}"
                camera_id, at = ("north", "south")[number % 2], AT + timedelta(hours=number % 20)
                path = media.write(camera_id, digest, "jpg", content)
                new.append(NewFrame(camera_id, digest, path, at, at, picture.width, picture.height))
            await frames.add(connection, new)
    finally:
        await database.close()


async def _detector_health(settings: Settings) -> Json:
    """Run a server until it has a detector and return what its health says of it."""
    stop = asyncio.Event()
    serving = asyncio.create_task(Server(settings).run(stop))
    url = f"http://127.0.0.1:{settings.api.port}"
    try:
        async with asyncio.timeout(60), aiohttp.ClientSession(url) as http:
            while True:
                try:
                    async with http.get("/api/system/ready") as answer:
                        if answer.ok:
                            break
                except aiohttp.ClientConnectorError:
                    pass
                await asyncio.sleep(0.05)
            token = (settings.data_dir / "token").read_text(encoding="utf-8").strip()
            headers = {"Authorization": f"Bearer {token}"}
            async with http.get("/api/system/health/full", headers=headers) as answer:
                components = (await answer.json())["components"]
                found: Json = next(one for one in components if one["name"] == "detector")
                return found
    finally:
        stop.set()
        await serving


async def test_from_stored_pictures_to_the_detector_that_judges(
    model: Path, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HSI_API__PORT", str(unused_tcp_port))
    monkeypatch.setenv("HSI_API__HOST", "127.0.0.1")
    settings = Settings()
    await _stored(settings)
    # A busy machine's times prove nothing; what is refused for them is tested with a clock of its own.
    command = ("models", "quantise", "--pictures-count", "32", "--even-if-slower")
    assert await asyncio.to_thread(cli.main, command) == 0
    told = capsys.readouterr()
    assert "objects found" in told.out
    assert "Kept. It is used with detector.precision=int8" in told.out
    report = json.loads((settings.models_folder / "quantised" / "street.json").read_text(encoding="utf-8"))
    assert (report["pictures"], report["held_out"], report["cameras"], report["size"]) == (24, 8, 2, 512)
    for check in report["checks"]:
        assert (check["refused"], check["found"] >= 0.95 * check["objects"] > 0) == (None, True)
    assert sorted(path.name for path in (settings.models_folder / "quantised").iterdir()) == [
        "street.json",
        "street.onnx",
        "street.onnx.sha256",
    ]
    health = await _detector_health(settings)
    assert (health["state"], health["details"]["provider"], health["remedy"]) == ("ok", "OpenVINO CPU int8", None)
    assert await asyncio.to_thread(cli.main, ("models", "verify", "street")) == 0


def test_too_few_pictures_change_nothing(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "pictures"
    assert cli.main(("models", "quantise", "--pictures", str(folder))) == 1
    assert "is no folder. Nothing was changed." in capsys.readouterr().err
    folder.mkdir()
    for number in range(40):
        (folder / f"{number}.jpg").write_bytes(b"\xff\xd8\xffno picture")
    assert cli.main(("models", "quantise", "--pictures", str(folder))) == 1
    assert "0 pictures are there, and 40 that cannot be read; at least 32 are needed" in capsys.readouterr().err
    assert cli.main(("models", "quantise")) == 1
    assert "0 pictures are there; at least 32 are needed" in capsys.readouterr().err
    assert list((Settings().models_folder / "quantised").iterdir()) == []


@pytest.mark.parametrize("count", ["31", "1001", "-5", "nan", "9" * 5000, "٣٢"])
def test_a_number_of_pictures_out_of_bounds_is_refused(
    model: Path, count: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(("models", "quantise", f"--pictures-count={count}"))
    assert f"{quantisation.LEAST_PICTURES} to {quantisation.MOST_PICTURES}" in capsys.readouterr().err


def test_pictures_are_of_all_cameras_and_hours_alike() -> None:
    """One camera of many pictures of a night must not decide alone."""
    night = [SampledFrame("busy", AT + timedelta(seconds=number), f"busy/{number}.jpg") for number in range(3000)]
    day = [SampledFrame("busy", AT + timedelta(hours=5, minutes=number), f"busy/d{number}.jpg") for number in range(50)]
    few = [SampledFrame("quiet", AT + timedelta(minutes=number), f"quiet/{number}.jpg") for number in range(7)]
    chosen = spread([*night, *day, *few], 67)
    assert Counter((frame.camera_id, frame.captured_at.hour) for frame in chosen) == {
        ("quiet", 8): 7,
        ("busy", 13): 30,
        ("busy", 8): 30,
    }
    at_night = sorted(frame.captured_at for frame in chosen if (frame.camera_id, frame.captured_at.hour) == ("busy", 8))
    assert at_night[-1] - at_night[0] > timedelta(minutes=45)
    assert spread(few, 100) == sorted(few, key=lambda frame: frame.media_path.rpartition("/")[2])
