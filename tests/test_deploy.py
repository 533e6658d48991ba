# SPDX-License-Identifier: AGPL-3.0-or-later
"""The compose files: each variable is a setting, each process shares what it must, and nothing is left open."""

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
    return {name: value.partition("${HSI_DATABASE_PASSWORD")[0] + "x@database/hsi" if "PASSWORD" in value else value
            for name, value in written.items() if name.startswith("HSI_")}  # fmt: skip


def test_there_are_compose_files() -> None:
    assert {file.name for file in FILES} == {"compose.yaml", "compose.distributed.yaml"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_variable_is_a_setting_with_a_valid_value(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(OPTIONS_FILE_VARIABLE, raising=False)
    for service in _ours(file).values():
        with monkeypatch.context() as patch:
            for name, value in _environment(service).items():
                patch.setenv(name, value)
            settings = Settings(data_dir=Path("/data"))
        assert settings.watch_folder == Path("/cameras")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_command_exists_and_the_image_is_built_from_the_repository(file: Path) -> None:
    for service in _ours(file).values():
        assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        if command := service.get("command"):
            assert command[0] == "hsi"
            _parser().parse_args(command[1:])


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
