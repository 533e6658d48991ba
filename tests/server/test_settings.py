# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where settings come from, and what is no setting."""

import json
import os
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_settings import SettingsError

from inference_server.core.detection import Label
from inference_server.settings import DEFAULT_DATA_DIR, Settings


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of the machine out."""
    for name in [name for name in os.environ if name.startswith("HSI_") or name == "TZ"]:
        monkeypatch.delenv(name)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Give the paths of the settings file, which is empty, and of the app's options, which do not exist."""
    settings, options = tmp_path / "settings.toml", tmp_path / "options.json"
    settings.touch()
    monkeypatch.setenv("HSI_SETTINGS_FILE", str(settings))
    monkeypatch.setenv("HSI_APP_OPTIONS_FILE", str(options))
    return settings, options


def _wrong() -> list[str]:
    """Return the paths of the wrong settings."""
    with pytest.raises(ValidationError) as wrong:
        Settings()
    return [".".join(str(part) for part in problem["loc"]) for problem in wrong.value.errors()]


def test_without_any_source_the_defaults_hold() -> None:
    settings = Settings()
    assert (settings.data_dir, settings.api.port, settings.detector.model) == (DEFAULT_DATA_DIR, 8000, "yolo26n")
    assert settings.watch_folder == DEFAULT_DATA_DIR / "cameras"
    assert settings.models_folder == DEFAULT_DATA_DIR / "models"


def test_a_stronger_source_wins_setting_by_setting(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    settings, options = files
    settings.write_text(
        'name = "file"\nlog_level = "error"\n[api]\nport = 1001\nhost = "::1"\n[batch]\nmax_frames = 11'
    )
    assert (Settings().name, Settings().api.port) == ("file", 1001)
    options.write_text(json.dumps({"name": "options", "api": {"port": 1002}, "batch": {"idle_seconds": 12}}))
    assert (Settings().name, Settings().api.port) == ("options", 1002)
    monkeypatch.setenv("HSI_NAME", "environment")
    monkeypatch.setenv("HSI_API__PORT", "1003")
    assert (Settings().name, Settings().api.port) == ("environment", 1003)
    assert Settings(name="call").name == "call"
    merged = Settings()
    assert (merged.log_level, merged.api.host, merged.batch.max_frames, merged.batch.idle_seconds) == (
        "error",
        "::1",
        11,
        12,
    )


@pytest.mark.parametrize(("variable", "zone"), [("Asia/Tokyo", "Asia/Tokyo"), (":Europe/Berlin", "Europe/Berlin")])
def test_the_time_zone_is_the_machines_unless_it_is_set(
    monkeypatch: pytest.MonkeyPatch, variable: str, zone: str
) -> None:
    monkeypatch.setenv("TZ", variable)
    assert Settings().zone.key == zone
    monkeypatch.setenv("HSI_TIME_ZONE", "America/Lima")
    assert Settings().zone.key == "America/Lima"


def test_missing_options_are_no_error_for_the_image_runs_without_the_supervisor_too(files: tuple[Path, Path]) -> None:
    assert Settings().api.port == 8000


def test_a_missing_settings_file_is_an_error_that_names_it(files: tuple[Path, Path]) -> None:
    files[0].unlink()
    with pytest.raises(SettingsError, match=r"HSI_SETTINGS_FILE names .*settings\.toml.*no such file"):
        Settings()


def test_folders_can_be_set_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HSI_DATA_DIR", "/data")
    monkeypatch.setenv("HSI_WATCH_ROOT", "/share/cameras")
    settings = Settings()
    assert (settings.data_dir, settings.watch_folder) == (Path("/data"), Path("/share/cameras"))
    assert settings.models_folder == Path("/data/models")


@pytest.mark.parametrize(
    ("variable", "value", "path"),
    [
        ("HSI_API__PORT", "0", "api.port"),
        ("HSI_API__PORT", "eighty", "api.port"),
        ("HSI_TIME_ZONE", "Mars/Olympus", "time_zone"),
        ("HSI_TIME_ZONE", "../../etc/passwd", "time_zone"),
        ("HSI_LOG_LEVEL", "loud", "log_level"),
        ("HSI_NAME", "", "name"),
        ("HSI_BATCH__IDLE_SECONDS", "90", "batch"),
        ("HSI_RISK__MEDIUM", "60", "risk"),
        ("HSI_RISK__CRITICAL", "101", "risk"),
        ("HSI_RISK__NIGHT_STARTS_HOUR", "24", "risk.night_starts_hour"),
        ("HSI_DETECTOR__CONFIDENCE", "0", "detector.confidence"),
        ("HSI_DETECTOR__MODEL", "../secret", "detector.model"),
        ("HSI_DETECTOR__CLASS_CONFIDENCE", '{"person": 2}', "detector.class_confidence.person"),
        ("HSI_INGEST__MAX_BYTES", "10", "ingest.max_bytes"),
        ("HSI_API__PROT", "8000", "api.prot"),
    ],
)
def test_a_wrong_value_is_named_by_its_path(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, path: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert _wrong() == [path]


def test_every_wrong_value_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HSI_API__PORT", "0")
    monkeypatch.setenv("HSI_LOG_LEVEL", "loud")
    assert set(_wrong()) == {"api.port", "log_level"}


@pytest.mark.parametrize(
    "content", ['nmae = "x"', "[ingest]\nmin_size = 1", "[detector.class_confidence]\nunicorn = 0.5"]
)
def test_an_unknown_key_of_the_settings_file_is_refused(files: tuple[Path, Path], content: str) -> None:
    files[0].write_text(content)
    assert len(_wrong()) == 1


def test_an_unknown_key_of_the_apps_options_is_refused(files: tuple[Path, Path]) -> None:
    files[1].write_text('{"nmae": "x"}')
    assert _wrong() == ["nmae"]


def test_the_confidence_of_a_class_wins_over_the_general_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HSI_DETECTOR__CONFIDENCE", "0.4")
    monkeypatch.setenv("HSI_DETECTOR__CLASS_CONFIDENCE", '{"cat": 0.7}')
    detector = Settings().detector
    assert (detector.threshold(Label.CAT), detector.threshold(Label.DOG)) == (0.7, 0.4)


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError):
        Settings().api.port = 1  # type: ignore[misc]
