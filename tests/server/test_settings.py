# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where settings come from, and what is no setting."""

import json
import os
import re
from pathlib import Path

import pytest
from PIL import Image
from pydantic import ValidationError
from pydantic_settings import SettingsError
from sqlalchemy import URL

from inference_server.core.detection import Label
from inference_server.core.hardware import TierName
from inference_server.settings import (
    DEFAULT_DATA_DIR,
    MEDIA_FOLDER,
    MOST_PIXELS,
    OTHER_VARIABLES,
    RemoteFallback,
    Settings,
    WatchMode,
)
from inference_server.storage.data_folder import DataFolder


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
    assert (settings.data_dir, settings.api.port, settings.detector.model) == (DEFAULT_DATA_DIR, 8000, None)
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
        ("HSI_NAME", "x" * 101, "name"),
        ("HSI_BATCH__IDLE_SECONDS", "90", "batch"),
        ("HSI_RISK__MEDIUM", "60", "risk"),
        ("HSI_INCIDENTS__QUIET_MINUTES", "4", "incidents"),
        ("HSI_INCIDENTS__SAME_CAMERA_SECONDS", "nan", "incidents.same_camera_seconds"),
        ("HSI_INCIDENTS__LONGEST_HOURS", "1e308", "incidents.longest_hours"),
        ("HSI_RISK__CRITICAL", "101", "risk"),
        ("HSI_RISK__NIGHT_STARTS_HOUR", "24", "risk.night_starts_hour"),
        ("HSI_RETENTION__LOW", "-1", "retention.low"),
        ("HSI_RETENTION__CRITICAL", "3651", "retention.critical"),
        ("HSI_RETENTION__FRAMES_DAYS", "soon", "retention.frames_days"),
        ("HSI_RETENTION__ORIGINALS", "delete", "retention.originals"),
        ("HSI_RETENTION__ORIGINALS_DAYS", "0", "retention.originals_days"),
        ("HSI_RETENTION__CLEANUP_HOUR", "24", "retention.cleanup_hour"),
        ("HSI_DISK__WARN_PERCENT", "89", "disk"),
        ("HSI_DISK__PRUNE_PERCENT", "88", "disk"),
        ("HSI_DISK__REFUSE_PERCENT", "93", "disk"),
        ("HSI_DISK__REFUSE_PERCENT", "100", "disk.refuse_percent"),
        ("HSI_DISK__RESUME_PERCENT", "89", "disk"),
        ("HSI_DISK__MIN_AGE_HOURS", "0", "disk.min_age_hours"),
        ("HSI_DETECTOR__CONFIDENCE", "0", "detector.confidence"),
        ("HSI_DETECTOR__MODEL", "../secret", "detector.model"),
        ("HSI_HARDWARE__TIER", "nvidia", "hardware.tier"),
        ("HSI_HARDWARE__TIER", "[]", "hardware.tier"),
        ("HSI_HARDWARE__MEMORY_BYTES", "-1", "hardware.memory_bytes"),
        ("HSI_HARDWARE__GPU_MEMORY_BYTES", "1e308", "hardware.gpu_memory_bytes"),
        ("HSI_HARDWARE__GPU_FULL_PERCENT", "nan", "hardware.gpu_full_percent"),
        ("HSI_HARDWARE__GPU_HOT_CELSIUS", "inf", "hardware.gpu_hot_celsius"),
        ("HSI_DETECTOR__BACKEND", "remote", "detector"),
        ("HSI_DETECTOR__REMOTE__URL", "gpu.local:8095", "detector.remote.url"),
        ("HSI_DETECTOR__REMOTE__URL", "http://", "detector.remote.url"),
        ("HSI_DETECTOR__REMOTE__URL", "http://gpu:99999", "detector.remote.url"),
        ("HSI_DETECTOR__REMOTE__URL", "http://[gpu", "detector.remote.url"),
        ("HSI_DETECTOR__REMOTE__URL", "http://me:secret@gpu:8095", "detector.remote.url"),
        ("HSI_DETECTOR__REMOTE__URL", "http://gpu:8095/?token=1", "detector.remote.url"),
        ("HSI_DETECTOR__REMOTE__TOKEN", "short", "detector.remote.token"),
        ("HSI_DETECTOR__REMOTE__TOKEN", "twenty letters\r\nX-A: b", "detector.remote.token"),
        ("HSI_DETECTOR__REMOTE__TIMEOUT_SECONDS", "nan", "detector.remote.timeout_seconds"),
        ("HSI_DETECTOR__REMOTE__TIMEOUT_SECONDS", "1e308", "detector.remote.timeout_seconds"),
        ("HSI_DETECTOR__REMOTE__FALLBACK", "other", "detector.remote.fallback"),
        ("HSI_DETECTOR__REMOTE__USER", "me", "detector.remote.user"),
        ("HSI_DETECTOR_SERVICE__PORT", "0", "detector_service.port"),
        ("HSI_DETECTOR_SERVICE__TOKEN", "short", "detector_service.token"),
        ("HSI_DETECTOR_SERVICE__MAX_WAITING", "31", "detector_service"),
        ("HSI_DETECTOR_SERVICE__BATCH_WAIT_MS", "-1", "detector_service.batch_wait_ms"),
        ("HSI_DETECTOR__CLASS_CONFIDENCE", '{"person": 2}', "detector.class_confidence.person"),
        ("HSI_INGEST__MAX_BYTES", "10", "ingest.max_bytes"),
        ("HSI_FTP__PORT", "0", "ftp.port"),
        ("HSI_FTP__PORT", "30005", "ftp"),
        ("HSI_FTP__PASSIVE_PORTS", "30000", "ftp.passive_ports"),
        ("HSI_FTP__PASSIVE_PORTS", "30009-30000", "ftp.passive_ports"),
        ("HSI_FTP__PASSIVE_PORTS", "1000-1010", "ftp.passive_ports"),
        ("HSI_FTP__PASSIVE_PORTS", "65000-70000", "ftp.passive_ports"),
        ("HSI_FTP__PASSIVE_ADDRESS", "homeassistant.local", "ftp.passive_address"),
        ("HSI_FTP__PASSIVE_ADDRESS", "224.0.0.1", "ftp.passive_address"),
        ("HSI_FTP__PASSIVE_ADDRESS", "255.255.255.255", "ftp.passive_address"),
        ("HSI_FTP__TLS", "yes", "ftp.tls"),
        ("HSI_FTP__KEY_FILE", "/ssl/key.pem", "ftp"),
        ("HSI_FTP__MAX_FILE_BYTES", "10", "ftp.max_file_bytes"),
        ("HSI_FTP__MAX_CONNECTIONS", "0", "ftp.max_connections"),
        ("HSI_FTP__MAX_CONNECTIONS_PER_ADDRESS", "65", "ftp"),
        ("HSI_FTP__MAX_BYTES_PER_SECOND", "100", "ftp.max_bytes_per_second"),
        ("HSI_FTP__IDLE_SECONDS", "1", "ftp.idle_seconds"),
        ("HSI_INGEST__WATCH_MODE", "magic", "ingest.watch_mode"),
        ("HSI_INGEST__POLL_SECONDS", "0.05", "ingest.poll_seconds"),
        ("HSI_INGEST__POLL_SECONDS", "31", "ingest.poll_seconds"),
        ("HSI_INGEST__EXISTING_FILES", "delete", "ingest.existing_files"),
        ("HSI_INGEST__IGNORE", '[""]', "ingest.ignore.0"),
        ("HSI_INGEST__MORE_ROOTS", '[{"mode": "polling"}]', "ingest.more_roots.0.path"),
        ("HSI_INGEST__MORE_ROOTS", '[{"path": ""}]', "ingest.more_roots.0.path"),
        ("HSI_INGEST__MORE_ROOTS", '[{"path": "/nas", "poll_seconds": 0}]', "ingest.more_roots.0.poll_seconds"),
        ("HSI_INGEST__MAX_PIXELS", "178956971", "ingest.max_pixels"),
        ("HSI_DATA_DIR", "~no-such-user/hsi", "data_dir"),
        ("HSI_API__PROT", "8000", "api.prot"),
    ],
)
def test_a_wrong_value_is_named_by_its_path(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, path: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert _wrong() == [path]


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("HSI_API__PORT", "2121", "api.port (2121) is among the ports of ftp"),
        ("HSI_API__PORT", "30003", "api.port (30003) is among the ports of ftp"),
        ("HSI_FTP__MAX_FILE_BYTES", "1024", "ftp.max_file_bytes (1024) must be at least ingest.max_bytes"),
    ],
)
def test_what_contradicts_ftp_is_refused_where_it_is_on(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, told: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert not Settings().ftp.enabled
    monkeypatch.setenv("HSI_FTP__ENABLED", "true")
    with pytest.raises(ValidationError, match=re.escape(told)):
        Settings()


@pytest.mark.parametrize(("value", "tier"), [("auto", None), ("nvidia-12gb", TierName.NVIDIA_12GB)])
def test_the_tier_is_chosen_by_the_machine_or_named(
    monkeypatch: pytest.MonkeyPatch, value: str, tier: TierName | None
) -> None:
    assert Settings().hardware.tier is None
    monkeypatch.setenv("HSI_HARDWARE__TIER", value)
    assert Settings().hardware.tier is tier


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


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("HSI_API_PORT", "Did you mean HSI_API__PORT?"),
        ("HSI_APIPORT", "Did you mean HSI_API__PORT?"),
        ("HSI_DETECTR__MODEL", "Did you mean HSI_DETECTOR__MODEL?"),
        ("HSI_NAME__FIRST", "Did you mean HSI_NAME?"),
        ("hsi_watchroot", "Did you mean HSI_WATCH_ROOT?"),
        ("HSI_QQQQ", "installation.md"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest_known_one(
    monkeypatch: pytest.MonkeyPatch, variable: str, hint: str
) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(SettingsError, match=variable) as refused:
        Settings()
    assert hint in str(refused.value)


def test_the_variables_of_the_scripts_and_tests_are_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in OTHER_VARIABLES - {"HSI_SETTINGS_FILE", "HSI_APP_OPTIONS_FILE"}:
        monkeypatch.setenv(variable, "1")
    monkeypatch.setenv("HSI_DETECTOR__CLASS_CONFIDENCE__CAT", "0.7")
    assert Settings().detector.class_confidence == {Label.CAT: 0.7}


def test_an_empty_variable_is_not_set(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    files[0].write_text('name = "file"')
    for variable in ("HSI_NAME", "HSI_WATCH_ROOT", "HSI_API__PORT", "HSI_DETECTOR__MODEL_FILE"):
        monkeypatch.setenv(variable, "")
    settings = Settings()
    assert (settings.name, settings.watch_folder, settings.api.port) == ("file", DEFAULT_DATA_DIR / "cameras", 8000)
    assert settings.detector.model_file is None


def test_what_kubernetes_tells_of_a_service_of_that_name_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"HSI_SERVICE_HOST": "10.0.0.1", "HSI_PORT": "tcp://10.0.0.1:8000", "HSI_PORT_8000_TCP_PROTO": "tcp"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert Settings().api.port == 8000


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "mysql://hsi:geheim@db/hsi",
        "postgresql://hsi:geheim@db",
        "postgresql://hsi:geheim@db:port/hsi",
        "sqlite://",
    ],
)
def test_a_wrong_address_of_the_database_is_refused_without_its_password(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("HSI_DATABASE_URL", url)
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert [error["loc"] for error in refused.value.errors()] == [("database_url",)]
    assert "geheim" not in str(refused.value)


def test_the_database_is_a_file_of_the_data_folder_unless_an_address_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings(data_dir=Path("/data")).database == Path("/data/hsi.db")
    monkeypatch.setenv("HSI_DATABASE_URL", "sqlite:////elsewhere/hsi.db")
    assert Settings().database == Path("/elsewhere/hsi.db")
    monkeypatch.setenv("HSI_DATABASE_URL", "postgresql://hsi:geheim@db:5433/house")
    url = Settings().database
    assert isinstance(url, URL)
    assert (url.drivername, url.host, url.port, url.database) == ("postgresql+asyncpg", "db", 5433, "house")
    assert "geheim" not in repr(Settings())


def test_redis_needs_postgresql(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HSI_REDIS_URL", "redis://queue")
    assert _wrong() == ["redis_url"]
    monkeypatch.setenv("HSI_DATABASE_URL", "postgresql://db/hsi")
    assert Settings().redis_url is not None
    monkeypatch.setenv("HSI_REDIS_URL", "http://queue")
    assert _wrong() == ["redis_url"]


@pytest.mark.parametrize("name", ["data_dir", "watch_root", "models_dir"])
def test_an_empty_path_in_a_file_is_refused(files: tuple[Path, Path], name: str) -> None:
    files[0].write_text(f'{name} = ""')
    assert _wrong() == [name]
    files[0].write_text("")
    files[1].write_text(json.dumps({name: ""}))
    assert _wrong() == [name]


def test_a_tilde_is_the_home_folder(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("HSI_DATA_DIR", "~/data")
    files[0].write_text('watch_root = "~/cameras"\nmodels_dir = "~/models"\n[detector]\nmodel_file = "~/mine.onnx"')
    settings = Settings()
    home = Path("/home/ada")
    assert (settings.data_dir, settings.watch_folder) == (home / "data", home / "cameras")
    assert (settings.models_folder, settings.detector.model_file) == (home / "models", home / "mine.onnx")


@pytest.mark.parametrize("watched", ["", ".", "media", "media/front_door", "..", "../link", "cameras/../media"])
def test_the_servers_own_pictures_are_not_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watched: str
) -> None:
    data = tmp_path / "home" / "data"
    data.mkdir(parents=True)
    (tmp_path / "home" / "link").symlink_to(data)
    monkeypatch.setenv("HSI_DATA_DIR", str(data))
    monkeypatch.setenv("HSI_WATCH_ROOT", f"{data}/{watched}")
    assert _wrong() == ["watch_root"]


@pytest.mark.parametrize("watched", ["cameras", "media_of_cameras", "../cameras"])
def test_other_folders_near_the_data_are_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watched: str) -> None:
    monkeypatch.setenv("HSI_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HSI_WATCH_ROOT", str(tmp_path / watched))
    assert Settings().watch_folder == tmp_path / watched


@pytest.mark.parametrize(
    "roots",
    [
        ["cameras"],
        ["cameras/front"],
        ["."],
        ["media"],
        ["media/front"],
        ["../nas", "../nas/front"],
        ["../nas", "../nas"],
        ["../nas", "../link"],
        [".."],
    ],
)
def test_roots_that_overlap_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, roots: list[str]) -> None:
    data = tmp_path / "data"
    (tmp_path / "nas").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nas")
    monkeypatch.setenv("HSI_DATA_DIR", str(data))
    monkeypatch.setenv("HSI_INGEST__MORE_ROOTS", json.dumps([{"path": f"{data}/{root}"} for root in roots]))
    assert _wrong() == ["ingest"]
    with pytest.raises(ValidationError, match="name folders that neither hold each other"):
        Settings()


def test_roots_have_their_own_mode_and_the_main_one_comes_first(files: tuple[Path, Path], tmp_path: Path) -> None:
    files[0].write_text(
        f'watch_root = "{tmp_path}/a"\n[ingest]\nwatch_mode = "polling"\npoll_seconds = 5\n'
        f'[[ingest.more_roots]]\npath = "{tmp_path}/b"\n[[ingest.more_roots]]\npath = "{tmp_path}/c"\nmode = "inotify"'
    )
    roots = [(root.path, root.mode, root.poll_seconds) for root in Settings().watch_roots]
    assert roots == [
        (tmp_path / "a", WatchMode.POLLING, 5),
        (tmp_path / "b", WatchMode.AUTO, 1),
        (tmp_path / "c", WatchMode.INOTIFY, 1),
    ]


def test_the_media_folder_is_the_one_that_the_storage_uses(tmp_path: Path) -> None:
    assert DataFolder(tmp_path).media == tmp_path / MEDIA_FOLDER


def test_no_limit_of_pixels_is_above_what_pillow_opens() -> None:
    assert Image.MAX_IMAGE_PIXELS is not None
    assert MOST_PIXELS == 2 * Image.MAX_IMAGE_PIXELS


def test_the_confidence_of_a_class_wins_over_the_general_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HSI_DETECTOR__CONFIDENCE", "0.4")
    monkeypatch.setenv("HSI_DETECTOR__CLASS_CONFIDENCE", '{"cat": 0.7}')
    detector = Settings().detector
    assert (detector.threshold(Label.CAT), detector.threshold(Label.DOG)) == (0.7, 0.4)


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError):
        Settings().api.port = 1  # type: ignore[misc]


def test_a_detector_elsewhere_is_told_by_url_and_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HSI_DETECTOR__BACKEND", "remote")
    monkeypatch.setenv("HSI_DETECTOR__REMOTE__URL", "https://gpu.local:8095/detector/")
    monkeypatch.setenv("HSI_DETECTOR__REMOTE__TOKEN", "a-token-of-20-letters")
    remote = Settings().detector.remote
    assert (remote.url, remote.fallback) == ("https://gpu.local:8095/detector", RemoteFallback.LOCAL)
    assert "20-letters" not in repr(Settings())
