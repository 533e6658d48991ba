# SPDX-License-Identifier: AGPL-3.0-or-later
"""The compose files: each variable is a setting, each process shares what it must, and nothing is left open."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from inference_server.cli import _parser
from inference_server.settings import OPTIONS_FILE_VARIABLE, Settings

DEPLOY = Path(__file__).parents[1] / "deploy"
FILES = sorted(DEPLOY.glob("compose*.yaml"))


def _services(file: Path) -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = yaml.safe_load(file.read_text())["services"]
    return services


def _ours(file: Path) -> dict[str, dict[str, Any]]:
    return {name: service for name, service in _services(file).items() if "build" in service}


def _environment(service: dict[str, Any]) -> dict[str, str]:
    written: dict[str, str] = service["environment"]
    return {name: value.partition("${HSI_DATABASE_PASSWORD")[0] + "x@database/hsi" if "PASSWORD" in value
            else value.replace("${HSI_DETECTOR_TOKEN:-}", "")
            for name, value in written.items() if name.startswith("HSI_")}  # fmt: skip


def test_there_are_compose_files() -> None:
    assert {file.name for file in FILES} == {"compose.yaml", "compose.distributed.yaml", "compose.gpu.yaml"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_variable_is_a_setting_with_a_valid_value(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(OPTIONS_FILE_VARIABLE, raising=False)
    for service in _ours(file).values():
        with monkeypatch.context() as patch:
            for name, value in _environment(service).items():
                patch.setenv(name, value)
            settings = Settings(data_dir=Path("/data"))
        assert settings.watch_folder == Path("/cameras") or "detector" in service.get("command", ())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_command_exists_and_the_image_is_built_from_the_repository(file: Path) -> None:
    for service in _ours(file).values():
        assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        if command := service.get("command"):
            assert command[0] == "hsi"
            _parser().parse_args(command[1:])


def test_the_detector_service_gets_the_gpu_keeps_its_token_and_listens_where_servers_look() -> None:
    service = _ours(DEPLOY / "compose.gpu.yaml")["detector"]
    [device] = service["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert service["ports"] == [f"{Settings().detector_service.port}:8095"]
    assert "data:/data" in service["volumes"], "the token and the weights are kept"


def test_the_image_for_nvidia_is_sound_as_far_as_can_be_judged_without_building_it() -> None:
    file = DEPLOY / "Dockerfile.nvidia"
    linter = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([linter, "--no-color", file], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")
    text = file.read_text()
    app = (DEPLOY.parent / "addon" / "Dockerfile").read_text()
    bases = re.findall(r"^FROM (\S+:\S+)", text, re.MULTILINE)
    assert set(bases) == set(re.findall(r"^FROM (\S+:\S+)", app, re.MULTILINE)), "both images share their bases"
    assert text.index("uninstall") < text.index("onnxruntime-gpu["), "two copies of one module would break each other"
    ignored = (DEPLOY.parent / ".dockerignore").read_text()
    for name in ("pyproject.toml", "uv.lock", "LICENSE", "inference_server"):
        assert f"!{name}" in ignored


def test_the_workers_share_database_queue_and_media_with_the_server() -> None:
    services = _ours(DEPLOY / "compose.distributed.yaml")
    server, worker = services["server"], services["worker"]
    for variable in ("HSI_DATABASE_URL", "HSI_REDIS_URL"):
        assert server["environment"][variable] == worker["environment"][variable]
    assert "media:/data/media" in server["volumes"]
    assert "media:/data/media" in worker["volumes"]
    assert "HSI_WORKER_NAME" not in worker["environment"], "replicas would have the same name"


def test_neither_database_nor_queue_can_be_reached_from_outside_and_no_password_is_written_down() -> None:
    services = _services(DEPLOY / "compose.distributed.yaml")
    for name in ("database", "queue"):
        assert "ports" not in services[name]
        assert ":latest" not in services[name]["image"]
        assert ":" in services[name]["image"]
        assert services[name]["healthcheck"]["test"][0] == "CMD"
    assert services["database"]["environment"]["POSTGRES_PASSWORD"].startswith("${HSI_DATABASE_PASSWORD:?")


def test_the_database_is_kept() -> None:
    services = _services(DEPLOY / "compose.distributed.yaml")
    assert any(volume.startswith("database:") for volume in services["database"]["volumes"])
    assert any(volume.endswith(":/data") for volume in services["server"]["volumes"])


def test_the_image_of_the_analyst_is_sound_and_compiles_as_the_tests_do() -> None:
    file = DEPLOY / "Dockerfile.analyst"
    linter = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([linter, "--no-color", file], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")
    text = file.read_text()
    app = (DEPLOY.parent / "addon" / "Dockerfile").read_text()
    bases = set(re.findall(r"^FROM (\S+:\S+)", text, re.MULTILINE))
    assert bases == set(re.findall(r"^FROM (\S+:\S+)", app, re.MULTILINE)), "both images share their bases"
    bootstrap = (DEPLOY.parent / "scripts" / "lib" / "bootstrap.sh").read_text()
    [flags] = re.findall(r'^LANGUAGE_FLAGS="([^"]*)"', bootstrap, re.MULTILINE)
    assert flags.replace("\\\n", "") in text
    assert f"EXPOSE {Settings().analyst_service.port}" in text
