# SPDX-License-Identifier: AGPL-3.0-or-later
"""One typed settings tree: default < settings file < app options < environment (HSI_...)."""

import os
from pathlib import Path
from typing import Annotated, Literal, override
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    JsonConfigSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from inference_server.core.assessment import LevelThresholds
from inference_server.core.detection import Label

Confidence = Annotated[float, Field(ge=0.05, le=0.99)]

ENVIRONMENT_PREFIX = "HSI_"
OPTIONS_FILE_VARIABLE = "HSI_APP_OPTIONS_FILE"
SETTINGS_FILE_VARIABLE = "HSI_SETTINGS_FILE"
DEFAULT_DATA_DIR = Path.home() / ".local" / "share" / "home-security-intelligence"


class Section(BaseModel):
    """A branch of the tree. An unknown key is an error: a setting nobody reads helps nobody."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ApiSettings(Section):
    """Where the server listens."""

    host: str = "0.0.0.0"  # noqa: S104 - reached from another host by design; tokens are always on
    port: Annotated[int, Field(ge=1, le=65535)] = 8000


class IngestSettings(Section):
    """What counts as a picture. Sizes are bytes, pixels are width times height."""

    min_bytes: Annotated[int, Field(ge=1)] = 1024
    max_bytes: Annotated[int, Field(ge=1024, le=1 << 30)] = 32 << 20
    min_side: Annotated[int, Field(ge=1)] = 32
    max_pixels: Annotated[int, Field(ge=1024)] = 50_000_000
    rescan_seconds: Annotated[float, Field(ge=1, le=86400)] = 300.0


class DetectorSettings(Section):
    """Which detector runs and what it keeps."""

    model: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")] = "yolo26n"
    fallback_model: str | None = "yolov3-tiny"
    model_file: Path | None = None
    """An ONNX file of the user's own; wins over the catalogue."""
    confidence: Confidence = 0.35
    class_confidence: dict[Label, Confidence] = {}
    threads: Annotated[int, Field(ge=0, le=64)] = 0
    """0 means one per core."""
    max_batch: Annotated[int, Field(ge=1, le=64)] = 1
    """Pictures per inference. More pays on a GPU; a processor's caches like one best."""

    def threshold(self, label: Label) -> float:
        """Return the confidence below which a detection of this label is dropped."""
        return self.class_confidence.get(label, self.confidence)


class BatchSettings(Section):
    """When a camera's batch closes, in seconds and frames."""

    idle_seconds: Annotated[float, Field(gt=0, le=600)] = 30.0
    window_seconds: Annotated[float, Field(gt=0, le=3600)] = 90.0
    max_frames: Annotated[int, Field(ge=1, le=1000)] = 50

    @model_validator(mode="after")
    def _idle_within_window(self) -> "BatchSettings":
        if self.idle_seconds >= self.window_seconds:
            raise ValueError(
                f"idle_seconds ({self.idle_seconds}) must be less than window_seconds ({self.window_seconds})"
            )
        return self


class RiskSettings(Section):
    """The lowest score of each level above low, and when night is."""

    medium: int = 30
    high: int = 60
    critical: int = 85
    night_starts_hour: Annotated[int, Field(ge=0, le=23)] = 22
    night_ends_hour: Annotated[int, Field(ge=0, le=23)] = 6

    @model_validator(mode="after")
    def _ordered(self) -> "RiskSettings":
        _ = self.thresholds
        return self

    @property
    def thresholds(self) -> LevelThresholds:
        """The thresholds as a value of the core."""
        return LevelThresholds(self.medium, self.high, self.critical)


def _machine_zone() -> str:
    """Return the machine's time zone: of the variable TZ, which the Supervisor sets, or of its own clock."""
    zones = available_timezones()
    linked = Path("/etc/localtime").resolve().as_posix().partition("zoneinfo/")[2]
    return next((name for name in (os.environ.get("TZ", "").lstrip(":"), linked) if name in zones), "UTC")


class Settings(BaseSettings):
    """Everything that can be set. Raises pydantic.ValidationError with the path of each wrong value, SettingsError."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    data_dir: Path = DEFAULT_DATA_DIR
    watch_root: Path | None = None
    """Holds one folder per camera; None means `cameras` below the data folder."""
    models_dir: Path | None = None
    """Holds weights; None means `models` below the data folder."""
    name: Annotated[str, Field(min_length=1, max_length=100)] = "Home Security Intelligence"
    time_zone: str = Field(default_factory=_machine_zone)
    mdns: bool = True
    """Show the server on the local network, so that Home Assistant finds it."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    api: ApiSettings = ApiSettings()
    ingest: IngestSettings = IngestSettings()
    detector: DetectorSettings = DetectorSettings()
    batch: BatchSettings = BatchSettings()
    risk: RiskSettings = RiskSettings()

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError(f'"{value}" is no time zone; use a name such as "Europe/Berlin"')
        return value

    @property
    def zone(self) -> ZoneInfo:
        """The home's time zone: it decides what "night" means."""
        return ZoneInfo(self.time_zone)

    @property
    def watch_folder(self) -> Path:
        """The folder that holds one folder per camera."""
        return self.watch_root or self.data_dir / "cameras"

    @property
    def models_folder(self) -> Path:
        """The folder that holds weights."""
        return self.models_dir or self.data_dir / "models"

    @override
    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources, the strongest first."""
        sources = [init_settings, env_settings]
        for variable in (OPTIONS_FILE_VARIABLE, SETTINGS_FILE_VARIABLE):
            if file := os.environ.get(variable):
                try:
                    sources.append(_file_source(settings_cls, variable, file))
                except (OSError, TypeError, ValueError) as error:
                    raise SettingsError(f"{variable} names {file}, which cannot be read: {error}") from error
        return tuple(sources)


def _file_source(settings_cls: type[BaseSettings], variable: str, file: str) -> PydanticBaseSettingsSource:
    if variable == OPTIONS_FILE_VARIABLE:
        return JsonConfigSettingsSource(settings_cls, json_file=file)
    if not Path(file).is_file():  # the library would pass over a missing file
        raise FileNotFoundError("there is no such file")
    return TomlConfigSettingsSource(settings_cls, toml_file=file)
