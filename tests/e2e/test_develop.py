# SPDX-License-Identifier: AGPL-3.0-or-later
"""`scripts/develop` itself: three cameras that see something, until Ctrl-C."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from scripts.development.demo_cameras import SCENES
from scripts.development.home_assistant import HomeAssistant
from scripts.development.process import free_port, port_is_free
from scripts.development.repository import REPOSITORY
from scripts.development.samples import BUS, sample_path

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

READY = "Ctrl-C"
STOP_SECONDS = 20


@dataclass
class Demo:
    """One run of the command, with its output as it is printed."""

    process: subprocess.Popen[str]
    data: Path
    port: int
    server_port: int

    def wait_until_ready(self) -> str:
        """Return what was printed until the demo tells how it is stopped."""
        assert self.process.stdout
        shown = ""
        for line in self.process.stdout:
            shown += line
            if READY in line:
                return shown
        raise AssertionError(f"the demo ended with {self.process.wait()}: {shown}")

    def stop(self) -> str:
        """Press Ctrl-C and return what is printed then."""
        self.process.send_signal(signal.SIGINT)
        rest, _ = self.process.communicate(timeout=STOP_SECONDS)
        return rest

    def token(self) -> str:
        """Return the token that the server made at its first start."""
        return (self.data / "server" / "token").read_text().strip()

    async def events(self) -> list[dict[str, Any]]:
        """Ask the server for its events, until it has one."""
        address = f"http://127.0.0.1:{self.server_port}/api/events"
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {self.token()}"}) as http:
            async with asyncio.timeout(30):
                while True:
                    async with http.get(address) as answer:
                        if items := (await answer.json())["items"]:
                            return list(items)
                    await asyncio.sleep(0.2)

    def is_gone(self) -> bool:
        """Whether neither the server nor Home Assistant listens any more."""
        return port_is_free(self.port) and port_is_free(self.server_port)


@contextmanager
def _develop(data: Path, *flags: str) -> Iterator[Demo]:
    port, server_port = free_port(), free_port()
    command = [sys.executable, "-m", "scripts.development", "--data", str(data), *flags]
    command += ["--port", str(port), "--server-port", str(server_port)]
    environment = {**os.environ, "HSI_MDNS": "false", "HSI_DETECTOR__MODEL": "yolov3-tiny"}
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield Demo(process, data, port, server_port)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(STOP_SECONDS)


async def _see(demo: Demo) -> None:
    """Wait until each camera has shown what is in its pictures."""
    home = HomeAssistant(demo.data / "home-assistant", port=demo.port)
    wanted = {"front_door": "person", "driveway": "person", "garden": "animal"}
    assert wanted.keys() == SCENES.keys()
    async with home.client() as client:
        for camera, kind in wanted.items():
            await client.wait_for_state(f"binary_sensor.{camera}_{kind}", lambda state: state["state"] == "on")
        dashboards = await client.call("lovelace/dashboards/list")
    assert "Home security" in {dashboard["title"] for dashboard in dashboards}


def test_the_demo_home_shows_three_cameras_and_stops_cleanly(tmp_path: Path) -> None:
    with _develop(tmp_path / "demo") as demo:
        shown = demo.wait_until_ready()
        assert f"http://127.0.0.1:{demo.port}/home-security" in shown
        assert "Log in as          demo, password demo" in shown
        asyncio.run(_see(demo))
        assert "Stopped." in demo.stop()
        assert demo.process.returncode == 0
        assert demo.is_gone()


def test_the_demo_stops_also_when_nobody_reads_its_output_any_more(tmp_path: Path) -> None:
    with _develop(tmp_path / "demo", "--no-ha") as demo:
        demo.wait_until_ready()
        assert demo.process.stdout
        demo.process.stdout.close()
        demo.process.send_signal(signal.SIGINT)
        assert demo.process.wait(STOP_SECONDS) == 0
        assert demo.is_gone()


def test_pictures_of_one_s_own_are_judged_once_without_home_assistant(tmp_path: Path) -> None:
    camera = tmp_path / "pictures" / "Back yard"
    camera.mkdir(parents=True)
    shutil.copy(sample_path(BUS), camera)
    flags = ("--no-ha", "--pictures", str(camera.parent))
    cameras, tokens = [], []
    for more in ((), (), ("--reset",)):
        with _develop(tmp_path / "demo", *flags, *more) as demo:
            demo.wait_until_ready()
            assert port_is_free(demo.port)
            [event] = asyncio.run(demo.events())
            cameras.append(event["camera_id"])
            tokens.append(demo.token())
            demo.stop()
    assert cameras == ["back_yard"] * 3
    assert tokens[0] == tokens[1] != tokens[2]
    assert list(camera.iterdir()) == [camera / "bus.jpg"]
