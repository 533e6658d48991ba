# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every option of the app is a setting of the server: it arrives, and is never a value that the server refuses."""

import json
from functools import reduce
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from inference_server.core.model import Capability
from inference_server.models.catalogue import CATALOGUE
from inference_server.settings import Settings
from tests.addon import option_rules
from tests.addon.files import read_config, read_translation
from tests.addon.option_rules import Option

OPTIONS = list(option_rules.walk(read_config()["schema"], read_config()["options"]))
NAMES = [option.name for option in OPTIONS]
APP_DEFAULTS = {"watch_root": Path("/media/home_security_intelligence")}
OTHER_VALUES = {
    "watch_root": "/share/cameras",
    "log_level": "debug",
    "ingest.watch_mode": "polling",
    "ingest.poll_seconds": 5,
    "ingest.rescan_seconds": 15,
    "ingest.existing_files": "import",
    "ftp.enabled": True,
    "ftp.tls": "required",
    "ftp.passive_address": "192.168.1.10",
    "detector.model": "yolov3-tiny",
    "detector.model_file": "/share/models/mine.onnx",
    "detector.backend": "openvino",
    "detector.device": "gpu",
    "detector.confidence": 0.5,
    "detector.threads": 2,
    "batch.idle_seconds": 20,
    "batch.window_seconds": 120,
    "batch.max_frames": 10,
    "risk.medium": 20,
    "risk.high": 50,
    "risk.critical": 90,
    "risk.night_starts_hour": 23,
    "risk.night_ends_hour": 5,
    "retention.low": 5,
    "retention.medium": 10,
    "retention.high": 20,
    "retention.critical": 0,
    "retention.frames_days": 2,
    "retention.clips_days": 4,
    "retention.trash_days": 3,
}
LIMITS = [
    pytest.param(option, limit, id=f"{option.name}={limit}")
    for option in OPTIONS
    for limit in option_rules.limits(option.kind)
]
NEIGHBOURS: dict[str, dict[str, float]] = {
    "batch.idle_seconds": {"window_seconds": 3600},
    "batch.window_seconds": {"idle_seconds": 1},
    "risk.medium": {"high": 99, "critical": 100},
    "risk.high": {"medium": 1, "critical": 100},
    "risk.critical": {"medium": 1, "high": 2},
}
"""Settings that bound each other, moved out of the way."""


@pytest.fixture
def options_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "options.json"
    monkeypatch.setenv("HSI_APP_OPTIONS_FILE", str(file))
    return file


def nested(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    return reduce(lambda inner, key: {key: inner}, reversed(path), value)


def setting(settings: BaseModel, path: tuple[str, ...]) -> Any:
    return reduce(getattr, path, settings)


def plain(value: Any) -> Any:
    """Return a setting as the options file spells it."""
    return str(value) if isinstance(value, Path | IPv4Address) else value


@pytest.mark.parametrize("option", OPTIONS, ids=NAMES)
def test_an_option_is_a_setting(option: Option) -> None:
    model: type[BaseModel] = Settings
    for key in option.path[:-1]:
        section = model.model_fields[key].annotation
        assert isinstance(section, type)
        assert issubclass(section, BaseModel)
        model = section
    assert option.path[-1] in model.model_fields


@pytest.mark.parametrize("option", OPTIONS, ids=NAMES)
def test_an_option_arrives(option: Option, options_file: Path) -> None:
    value = OTHER_VALUES[option.name]
    assert option_rules.takes(option.kind, value)
    assert value != option.default
    options_file.write_text(json.dumps(nested(option.path, value)))
    assert plain(setting(Settings(), option.path)) == value


@pytest.mark.parametrize("option", OPTIONS, ids=NAMES)
def test_a_default_is_the_default_of_the_server(option: Option, options_file: Path) -> None:
    expected = APP_DEFAULTS.get(option.name, setting(Settings(), option.path))
    assert option.default == plain(expected)


def test_the_defaults_are_accepted_together(options_file: Path) -> None:
    options_file.write_text(json.dumps(read_config()["options"]))
    assert Settings().watch_folder == APP_DEFAULTS["watch_root"]


@pytest.mark.parametrize(("option", "limit"), LIMITS)
def test_the_server_accepts_the_limits(option: Option, limit: float, options_file: Path) -> None:
    alone = nested(option.path, limit)
    if option.name in NEIGHBOURS:
        alone[option.path[0]] |= NEIGHBOURS[option.name]
    options_file.write_text(json.dumps(alone))
    assert setting(Settings(), option.path) == limit


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("watch_root", "/share/cameras", True),
        ("watch_root", "/share/..cameras/a..b", True),
        ("watch_root", "/share/../data", False),
        ("watch_root", "/share/cameras/..", False),
        ("watch_root", "/media/a/../../data/media", False),
        ("watch_root", "/data", False),
        ("watch_root", "", False),
        ("detector.model_file", "/share/models/..mine.onnx", True),
        ("detector.model_file", "/share/../data/mine.onnx", False),
    ],
)
def test_a_path_stays_in_the_shared_folders(name: str, value: str, taken: bool) -> None:
    (option,) = (option for option in OPTIONS if option.name == name)
    assert option_rules.takes(option.kind, value) is taken


@pytest.mark.parametrize(
    ("address", "taken"),
    [
        ("192.168.1.10", True),
        ("10.0.0.1", True),
        ("255.1.99.200", True),
        ("192.168.1", False),
        ("192.168.1.256", False),
        ("192.168.1.10.", False),
        ("192.168.1.10.5", False),
        ("homeassistant.local", False),
        ("", False),
    ],
)
def test_the_address_for_cameras_is_one(address: str, taken: bool) -> None:
    (option,) = (option for option in OPTIONS if option.name == "ftp.passive_address")
    assert option_rules.takes(option.kind, address) is taken


def test_the_models_offered_are_those_of_the_catalogue() -> None:
    detectors = {entry.id for entry in CATALOGUE if entry.capability is Capability.DETECTION}
    (option,) = (option for option in OPTIONS if option.name == "detector.model")
    assert {model for model in detectors if option_rules.takes(option.kind, model)} == detectors
    assert not option_rules.takes(option.kind, "another")


def test_without_an_options_file_the_server_starts(options_file: Path) -> None:
    assert not options_file.exists()
    assert Settings().log_level == "info"


def test_the_environment_beats_the_options(options_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options_file.write_text(json.dumps({"detector": {"threads": 2, "confidence": 0.5}}))
    monkeypatch.setenv("HSI_DETECTOR__THREADS", "3")
    assert (Settings().detector.threads, Settings().detector.confidence) == (3, 0.5)


def test_every_option_is_explained_and_nothing_else() -> None:
    config, translation = read_config(), read_translation()
    assert set(translation) == {"configuration", "network"}
    assert set(translation["network"]) == set(config["ports"])
    _assert_explained(config["schema"], translation["configuration"], "configuration")


def _assert_explained(schema: dict[str, Any], texts: dict[str, Any], where: str) -> None:
    assert set(texts) == set(schema), where
    for key, text in texts.items():
        assert {"name", "description"} <= set(text) <= {"name", "description", "fields"}, key
        assert all(isinstance(text[part], str) and text[part].strip() for part in ("name", "description")), key
        kind = schema[key]
        assert isinstance(kind, dict) == ("fields" in text), key
        if isinstance(kind, dict):
            _assert_explained(kind, text["fields"], key)
