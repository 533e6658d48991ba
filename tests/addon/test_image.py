# SPDX-License-Identifier: AGPL-3.0-or-later
"""The build stage of the Dockerfile, carried out in a scratch folder: same files, same commands, same environment."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.addon.dockerfile import read_stages
from tests.addon.files import ROOT

BUILD, BUILD_AMD64 = (stage for stage in read_stages() if stage.name in {"build", "build-amd64"})
LARGEST_MEGABYTES = 250
LARGEST_MEGABYTES_WITH_EXTRAS = 600
EXTRAS = {"asyncpg", "av", "av.libs", "openvino", "redis"}
"""Folders of the extras, which a plain installation may do without."""
UV = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(UV is None, reason="uv is not installed"),
    pytest.mark.skipif(sys.version_info < (3, 14), reason="the image has Python 3.14"),
]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the virtual environment that the image would hold."""
    assert UV is not None
    source, target = tmp_path_factory.mktemp("src"), tmp_path_factory.mktemp("opt") / "hsi"
    variables = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    variables |= BUILD.environment | {"UV_PROJECT_ENVIRONMENT": str(target), "UV_PYTHON": sys.executable}
    for instruction in BUILD.instructions + BUILD_AMD64.instructions:
        if instruction.keyword == "COPY" and not instruction.flags:
            _copy(instruction.words[:-1], source)
        if instruction.keyword == "RUN":
            subprocess.run([UV, *instruction.words[1:]], cwd=source, env=variables, check=True)
    return target


def _copy(names: list[str], target: Path) -> None:
    for name in names:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        else:
            shutil.copy(ROOT / name, target / name)


def run(environment: Path, *command: str) -> str:
    """Return what a command of the environment prints, started outside of any source tree."""
    result = subprocess.run(
        [str(environment / "bin" / command[0]), *command[1:]],
        cwd=environment,
        env={"PATH": os.environ["PATH"], "HSI_APP_OPTIONS_FILE": "/nowhere/options.json"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_command_line_starts(environment: Path) -> None:
    assert "serve" in run(environment, "hsi", "--help")


def test_the_server_is_complete_and_installed(environment: Path) -> None:
    code = "import inference_server.app, inference_server.cli as cli; print(cli.__file__)"
    assert run(environment, "python", "-c", code).startswith(str(environment / "lib"))


def test_nothing_for_development_or_home_assistant_is_in_it(environment: Path) -> None:
    installed = {path.name for path in (environment / "lib" / "python3.14" / "site-packages").iterdir()}
    assert "onnxruntime" in installed
    assert installed & {"homeassistant", "pytest", "mypy", "torch", "ultralytics"} == set()


def test_it_is_small(environment: Path) -> None:
    assert _megabytes(environment, without=EXTRAS) < LARGEST_MEGABYTES
    assert _megabytes(environment, without=set()) < LARGEST_MEGABYTES_WITH_EXTRAS


def test_openvino_is_there_without_what_reports_to_its_maker(environment: Path) -> None:
    code = (
        "from importlib.util import find_spec as f; print(bool(f('openvino')), bool(f('openvino_telemetry'))); "
        "from inference_server.hardware.intel import openvino_devices; print(*openvino_devices())"
    )
    found, devices = run(environment, "python", "-c", code).splitlines()
    assert found == "True False"
    assert "CPU" in devices.split()


def _megabytes(environment: Path, without: set[str]) -> float:
    """Return the size of the sources: compiled bytecode comes on top, and is not what a wheel's size tells."""
    files = (path for path in environment.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return sum(path.lstat().st_size for path in files if without.isdisjoint(path.parts)) / 1e6


def test_it_decodes_videos(environment: Path) -> None:
    code = "from inference_server.ingest.clips import decoder as c; print(c.clips_problem(c.ClipSettings()))"
    assert run(environment, "python", "-c", code).strip() == "None"
    assert run(environment, "python", "-c", "import inference_server.ingest.clips.worker as w; print(w.__name__)")
