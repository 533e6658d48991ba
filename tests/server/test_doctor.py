# SPDX-License-Identifier: AGPL-3.0-or-later
"""`hsi doctor` and its route, as an operator calls them: the real parts, beside a server and without one."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from inference_server.api.announce import SUPERVISOR_TOKEN_VARIABLE
from inference_server.app import Server
from inference_server.cli import main
from inference_server.core.clock import SystemClock
from inference_server.doctor import network
from inference_server.doctor.practice import Practice
from inference_server.settings import ApiSettings, Settings
from inference_server.storage import tokens
from inference_server.storage.database import Database
from scripts.development.process import free_port
from tests.server.detection.graphs import constant_model, end_to_end

SUBJECTS = {
    *("python", "processor", "memory", "gpu", "onnxruntime", "tier", "disk", "permissions", "database"),
    *("watch folder", "ports", "extras", "clock", "detector"),
}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask no host of the internet."""
    monkeypatch.setattr(network, "sources", lambda: ())
    monkeypatch.delenv(SUPERVISOR_TOKEN_VARIABLE, raising=False)


def _snapshot(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_fresh_machine_is_examined_and_left_as_it_is(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HSI_API__PORT", str(free_port()))
    assert main(("doctor", "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["state"] == "warning"  # there is no detector yet
    assert {finding["subject"] for finding in told["findings"]} >= SUBJECTS
    assert all(finding["remedy"] for finding in told["findings"] if finding["state"] != "ok")
    assert not data.exists()


def test_a_problem_ends_with_1_and_its_remedy(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HSI_API__PORT", str(free_port()))
    data.mkdir(mode=0o700)
    (data / "hsi.db").write_bytes(b"no database" * 500)
    before = _snapshot(data)
    assert main(("doctor",)) == 1
    lines = capsys.readouterr().out.splitlines()
    (place,) = [number for number, line in enumerate(lines) if line.startswith("PROBLEM")]
    assert lines[place].split()[1] == "database"
    assert "restore a backup" in lines[place + 1]
    assert " 1 problem," in lines[-1]
    assert _snapshot(data) == before


async def _asked(session: aiohttp.ClientSession, path: str, status: int = 200) -> Any:
    async with session.get(path) as response:
        assert response.status == status
        return await response.json()


async def _component(session: aiohttp.ClientSession, name: str) -> Any:
    health = await _asked(session, "/api/system/health/full")
    return next((part for part in health["components"] if part["name"] == name), None)


async def test_a_running_server_tells_what_its_machine_does_and_is_examined(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path / "data",
        mdns=False,
        models_dir=tmp_path / "models",
        api=ApiSettings(host="127.0.0.1", port=free_port()),
    )
    (tmp_path / "models").mkdir()
    constant_model(tmp_path / "models" / "yolo26n.onnx", end_to_end((0, 0, 0, 0, 0, 0)))
    (tmp_path / "data").mkdir(mode=0o700)
    database = Database(settings.database)
    await database.open()
    async with database.writing() as connection:
        secrets = [
            await tokens.create(connection, scope, scope, SystemClock().now())
            for scope in (tokens.Scope.ADMIN, tokens.Scope.READ)
        ]
    await database.close()
    stop, address = asyncio.Event(), f"http://127.0.0.1:{settings.api.port}"
    running = asyncio.create_task(Server(settings).run(stop))
    admin, reader = (
        aiohttp.ClientSession(address, headers={"Authorization": f"Bearer {secret}"}) for secret in secrets
    )
    async with admin, reader, asyncio.timeout(60):
        while not await _is_ready(admin):  # noqa: ASYNC110 - another side
            await asyncio.sleep(0.05)
        report = await _asked(reader, "/api/system/gpu")
        assert report["tier"] in {"cpu", "intel", "nvidia-8gb", "nvidia-12gb", "nvidia-24gb"}
        assert bool(report["gpus"]) is (report["no_gpu"] is None)
        (detector,) = [model for use in report["memory"] for model in use["models"]]
        assert (detector["name"], detector["pinned"], detector["loading"]) == ("yolo26n", True, False)
        assert (await _component(reader, "memory"))["details"]["models"] == "yolo26n"
        assert (await _component(reader, "hardware"))["details"]["tier"] == report["tier"]
        assert (await _asked(reader, "/api/system/gpu?minutes=61", 422))["code"] == "invalid_request"
        assert (await _asked(reader, "/api/system/doctor", 403))["code"] == "forbidden"
        diagnosis = await _asked(admin, "/api/system/doctor")
        found = {finding["subject"]: finding for finding in diagnosis["findings"]}
        assert found.keys() >= SUBJECTS
        assert "our own server runs" in found["ports"]["found"]
        assert "YOLO26n runs on" in found["detector"]["found"]
        assert [one["subject"] for one in diagnosis["findings"] if one["state"] == "problem"] == []
    stop.set()
    await running


async def test_who_asks_while_it_is_examined_gets_the_same(tmp_path: Path) -> None:
    practice = Practice(Settings(data_dir=tmp_path / "data"), SystemClock(), lambda: None)
    first, second = await asyncio.gather(practice.diagnose(), practice.diagnose())
    assert first is second
    assert await practice.diagnose() is not first


async def _is_ready(session: aiohttp.ClientSession) -> bool:
    try:
        async with session.get("/api/system/ready") as response:
            return response.status == 200
    except aiohttp.ClientConnectorError:
        return False
