# SPDX-License-Identifier: AGPL-3.0-or-later
"""One typed settings tree: default < settings file < app options < environment (HSI_...)."""

import difflib
import os
import re
from collections.abc import Iterator
from enum import StrEnum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Literal, override
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    JsonConfigSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from inference_server.core.assessment import LevelThresholds, RiskLevel
from inference_server.core.camera import MAX_PATTERN_LENGTH, MAX_PATTERNS
from inference_server.core.detection import Label
from inference_server.core.hardware import TierName

ENVIRONMENT_PREFIX = "HSI_"
DELIMITER = "__"
OPTIONS_FILE_VARIABLE = "HSI_APP_OPTIONS_FILE"
SETTINGS_FILE_VARIABLE = "HSI_SETTINGS_FILE"
BACKUP_PASSPHRASE_VARIABLE = "HSI_BACKUP_PASSPHRASE"  # noqa: S105 - its name
"""Encrypts every backup. No setting, so that no file of settings holds it and no report of them shows it."""
OTHER_VARIABLES = frozenset(
    {
        OPTIONS_FILE_VARIABLE,
        SETTINGS_FILE_VARIABLE,
        BACKUP_PASSPHRASE_VARIABLE,
        "HSI_CACHE_DIR",
        "HSI_EXPORT_PYTHON",
        "HSI_SCREENSHOT",
    }
)
"""Variables of this project that are no settings: of the sources, a secret, the scripts and the tests."""
DATABASE_DRIVERS = {"postgresql": "postgresql+asyncpg", "sqlite": "sqlite+aiosqlite"}
REDIS_SCHEMES = ("redis://", "rediss://", "unix://")
KUBERNETES_VARIABLE = re.compile(r"HSI_(SERVICE_(HOST|PORT)|PORT)(_[A-Z0-9_]+)?")
"""What Kubernetes tells every container of a namespace that has a service called `hsi`."""
DEFAULT_DATA_DIR = Path.home() / ".local" / "share" / "home-security-intelligence"
MEDIA_FOLDER = "media"
"""The folder of the judged pictures, in the data folder."""
MOST_PIXELS = 178_956_970
"""Pillow opens no larger picture."""
TOKEN = re.compile(r"[A-Za-z0-9_-]{16,200}")
SLOWEST_BYTES_PER_SECOND = 64 << 10
"""The least that an upload may be limited to."""


def _not_empty(value: object) -> object:
    if value == "":
        raise ValueError("an empty path means nothing; leave the setting out to get its default")
    return value


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"{path} names a home folder that does not exist; write the whole path") from error


Confidence = Annotated[float, Field(ge=0.05, le=0.99)]
FilePath = Annotated[Path, BeforeValidator(_not_empty), AfterValidator(_expanded)]
"""A file or folder; `~` is the user's home."""


class Section(BaseModel):
    """A branch of the tree. An unknown key is an error: a setting nobody reads helps nobody."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ApiSettings(Section):
    """Where the server listens."""

    host: str = "0.0.0.0"  # noqa: S104 - reached from another host by design; tokens are always on
    port: Annotated[int, Field(ge=1, le=65535)] = 8000


class WatchMode(StrEnum):
    """How new files are noticed."""

    AUTO = "auto"
    """By inotify where it works, else by polling."""
    INOTIFY = "inotify"
    POLLING = "polling"


class ExistingFiles(StrEnum):
    """What becomes of the files that lay in a root long before it was first watched."""

    IGNORE = "ignore"
    IMPORT = "import"


PollSeconds = Annotated[float, Field(ge=0.1, le=30)]
IgnorePattern = Annotated[str, Field(min_length=1, max_length=MAX_PATTERN_LENGTH)]


class WatchRoot(Section):
    """A folder that holds one folder per camera, and how it is watched."""

    path: FilePath
    mode: WatchMode = WatchMode.AUTO
    poll_seconds: PollSeconds = 1.0


class IngestSettings(Section):
    """What counts as a picture, and how it is found. Sizes are bytes, pixels are width times height."""

    min_bytes: Annotated[int, Field(ge=1)] = 1024
    max_bytes: Annotated[int, Field(ge=1024, le=1 << 30)] = 32 << 20
    min_side: Annotated[int, Field(ge=1)] = 32
    max_pixels: Annotated[int, Field(ge=1024, le=MOST_PIXELS)] = 50_000_000
    rescan_seconds: Annotated[float, Field(ge=1, le=86400)] = 300.0
    watch_mode: WatchMode = WatchMode.AUTO
    poll_seconds: PollSeconds = 1.0
    more_roots: Annotated[tuple[WatchRoot, ...], Field(max_length=64)] = ()
    existing_files: ExistingFiles = ExistingFiles.IGNORE
    ignore: Annotated[tuple[IgnorePattern, ...], Field(max_length=MAX_PATTERNS)] = ()
    """Patterns of files that are left alone, for all cameras."""


class FtpSettings(Section):
    """The built-in FTP server. Sizes are bytes."""

    enabled: bool = False
    host: str = "0.0.0.0"  # noqa: S104 - cameras are other hosts; every account has a password
    port: Annotated[int, Field(ge=1, le=65535)] = 2121
    passive_ports: Annotated[str, Field(pattern=r"^\d{4,5}-\d{4,5}$")] = "30000-30009"
    """First and last port of the data connections."""
    passive_address: IPv4Address | None = None
    """What cameras are told to connect to for data, where the server's own address does not reach it (containers)."""
    tls: Literal["off", "optional", "required"] = "optional"
    certificate_file: FilePath | None = None
    """A chain in PEM; None means a self-signed one, made in the data folder."""
    key_file: FilePath | None = None
    """The certificate's key in PEM; None means that it stands in the certificate's file."""
    max_file_bytes: Annotated[int, Field(ge=1024, le=1 << 36)] = 512 << 20
    max_connections: Annotated[int, Field(ge=1, le=1000)] = 64
    max_connections_per_address: Annotated[int, Field(ge=1, le=1000)] = 16
    max_bytes_per_second: Annotated[int, Field(ge=0, le=1 << 30)] = 0
    """Of one data connection; 0 means no limit."""
    idle_seconds: Annotated[int, Field(ge=10, le=3600)] = 300

    @property
    def passive_range(self) -> range:
        """The ports of the data connections."""
        first, last = map(int, self.passive_ports.split("-"))
        return range(first, last + 1)

    @field_validator("passive_ports")
    @classmethod
    def _usable_ports(cls, value: str) -> str:
        first, last = map(int, value.split("-"))
        if not 1024 <= first <= last <= 65535:
            raise ValueError(f'"{value}" is no range of ports; write the first and the last one, 1024 to 65535')
        return value

    @field_validator("passive_address")
    @classmethod
    def _reachable(cls, value: IPv4Address | None) -> IPv4Address | None:
        if value is not None and (value.is_unspecified or value.is_multicast or value.is_reserved):
            raise ValueError(f"no camera can connect to {value}; name the address at which cameras reach this machine")
        return value

    @field_validator("max_bytes_per_second")
    @classmethod
    def _no_crawl(cls, value: int) -> int:
        if 0 < value < SLOWEST_BYTES_PER_SECOND:
            raise ValueError(f"at {value} bytes a second no picture arrives in time; 0 means no limit")
        return value

    @model_validator(mode="after")
    def _whole(self) -> "FtpSettings":
        if self.port in self.passive_range:
            raise ValueError(f"port {self.port} lies in passive_ports ({self.passive_ports}); choose another range")
        if self.max_connections_per_address > self.max_connections:
            raise ValueError(
                f"max_connections_per_address ({self.max_connections_per_address}) must not be more than "
                f"max_connections ({self.max_connections})"
            )
        if self.key_file is not None and self.certificate_file is None:
            raise ValueError("key_file needs a certificate_file")
        return self


class ClipSettings(Section):
    """What is taken from a video, and how much one may cost."""

    enabled: bool = True
    interval_seconds: Annotated[float, Field(ge=0.1, le=60)] = 1.0
    max_frames: Annotated[int, Field(ge=1, le=300)] = 30
    max_bytes: Annotated[int, Field(ge=1 << 20, le=1 << 36)] = 512 << 20
    max_seconds: Annotated[float, Field(ge=1, le=86400)] = 600.0
    """How much of a video is looked at."""
    decode_seconds: Annotated[float, Field(ge=1, le=3600)] = 60.0
    """How long one may be decoded, by the clock."""
    memory_bytes: Annotated[int, Field(ge=256 << 20, le=1 << 36)] = 1 << 30
    """The address space of the process that decodes one."""


class Backend(StrEnum):
    """The library that runs the detector."""

    AUTO = "auto"
    """The best one that is really there."""
    ONNX = "onnx"
    """ONNX Runtime."""
    ONNX_TENSORRT = "onnx-tensorrt"
    """ONNX Runtime, with its TensorRT provider."""
    OPENVINO = "openvino"
    PYTORCH = "pytorch"
    """A checkpoint (.pt), by Ultralytics in a process of its own."""
    TENSORRT = "tensorrt"
    """An engine, built on the GPU that it runs on."""
    REMOTE = "remote"
    """A detector service elsewhere."""


class Device(StrEnum):
    """What the detector runs on."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    """An NVIDIA GPU."""
    GPU = "gpu"
    """An Intel GPU."""
    NPU = "npu"
    """An Intel NPU."""


class Precision(StrEnum):
    """In what numbers the detector computes. A model that was quantised keeps its own."""

    F32 = "f32"
    F16 = "f16"
    BF16 = "bf16"
    INT8 = "int8"
    """Those of a quantised form, which `hsi models quantise` makes."""


class Hint(StrEnum):
    """What OpenVINO is to arrange its threads for."""

    THROUGHPUT = "throughput"
    LATENCY = "latency"


DEVICES: dict[Backend, frozenset[Device]] = {
    Backend.AUTO: frozenset(Device),
    Backend.ONNX: frozenset({Device.AUTO, Device.CPU, Device.CUDA}),
    Backend.ONNX_TENSORRT: frozenset({Device.AUTO, Device.CUDA}),
    Backend.OPENVINO: frozenset({Device.AUTO, Device.CPU, Device.GPU, Device.NPU}),
    Backend.PYTORCH: frozenset({Device.AUTO, Device.CPU, Device.CUDA}),
    Backend.TENSORRT: frozenset({Device.AUTO, Device.CUDA}),
    Backend.REMOTE: frozenset(Device),
}
PRECISIONS: dict[Backend, frozenset[Precision]] = {
    Backend.AUTO: frozenset(Precision),
    Backend.ONNX: frozenset({Precision.F32, Precision.INT8}),
    Backend.ONNX_TENSORRT: frozenset({Precision.F32, Precision.F16, Precision.INT8}),
    Backend.OPENVINO: frozenset(Precision),
    Backend.PYTORCH: frozenset({Precision.F32, Precision.F16}),
    Backend.TENSORRT: frozenset({Precision.F32, Precision.F16, Precision.INT8}),
    Backend.REMOTE: frozenset(Precision),
}


class RemoteFallback(StrEnum):
    """Who judges while the detector service elsewhere is down."""

    LOCAL = "local"
    """The detector on this machine that the other settings mean."""
    NONE = "none"
    """Nobody: pictures wait."""


class RemoteDetectorSettings(Section):
    """A detector service elsewhere."""

    url: str | None = None
    """Where it is, for instance http://gpu.local:8095."""
    token: SecretStr | None = None
    connect_seconds: Annotated[float, Field(ge=0.1, le=60)] = 3.0
    timeout_seconds: Annotated[float, Field(ge=1, le=300)] = 10.0
    """How long it may take for one picture, waiting for its turn there included."""
    parallel: Annotated[int, Field(ge=1, le=64)] = 16
    """Pictures that are on their way at a time."""
    fallback: RemoteFallback = RemoteFallback.LOCAL

    @field_validator("url")
    @classmethod
    def _an_address(cls, value: str | None) -> str | None:
        return _checked_url(value, "http://HOST:8095")

    @field_validator("token")
    @classmethod
    def _fit_for_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        return _checked_token(value)


class DetectorServiceSettings(Section):
    """The detector service (`hsi serve --role detector`). Sizes are bytes, pixels are width times height."""

    host: str = "0.0.0.0"  # noqa: S104 - reached from other hosts by design; a token is always needed
    port: Annotated[int, Field(ge=1, le=65535)] = 8095
    token: SecretStr | None = None
    """None means the one in the file `detector-token` of the data folder, which the first start makes."""
    max_bytes: Annotated[int, Field(ge=1024, le=1 << 28)] = 10 << 20
    max_pixels: Annotated[int, Field(ge=1024, le=MOST_PIXELS)] = 50_000_000
    max_pictures: Annotated[int, Field(ge=1, le=256)] = 32
    """Of one request."""
    max_waiting: Annotated[int, Field(ge=1, le=10_000)] = 256
    """Pictures that are here at a time; a request that brings more is told to come later."""
    batch_wait_ms: Annotated[float, Field(ge=0, le=1000)] = 4.0
    """How long a batch that is not full waits for pictures that are being decoded."""
    timeout_seconds: Annotated[float, Field(ge=1, le=600)] = 30.0
    """How long a request may wait for its answer, and an inference take."""

    @field_validator("token")
    @classmethod
    def _fit_for_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        return _checked_token(value)

    @model_validator(mode="after")
    def _a_whole_request_fits(self) -> "DetectorServiceSettings":
        if self.max_pictures > self.max_waiting:
            raise ValueError(
                f"max_pictures ({self.max_pictures}) must not be more than max_waiting ({self.max_waiting})"
            )
        return self


def _checked_url(value: str | None, example: str) -> str | None:
    """Return the address of a service without a slash at its end. Raises ValueError."""
    if value is None:
        return None
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"this is no URL ({error}); write {example}") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ValueError(f"this is no URL of a service; write {example}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("the URL holds more than host, port and path; what is secret is a setting of its own")
    return value.rstrip("/")


def _checked_token(value: SecretStr | None) -> SecretStr | None:
    if value is not None and not TOKEN.fullmatch(value.get_secret_value()):
        raise ValueError("a token has 16 to 200 letters, digits, hyphens and underscores")
    return value


class DetectorSettings(Section):
    """Which detector runs, on what, and what it keeps."""

    remote: RemoteDetectorSettings = RemoteDetectorSettings()
    model: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")] | None = None
    """None means the detector of the hardware's tier."""
    fallback_model: str | None = "yolov3-tiny"
    model_file: FilePath | None = None
    """An ONNX file of the user's own; wins over the catalogue. Some backends take other files (.xml, .pt, .engine)."""
    backend: Backend = Backend.AUTO
    device: Device = Device.AUTO
    precision: Precision = Precision.F32
    hint: Hint = Hint.THROUGHPUT
    input_size: Annotated[int, Field(ge=320, le=1280, multiple_of=32)] | None = None
    """Width and height, in pixels, of what the model sees. Only a model that takes any size has a choice."""
    confidence: Confidence = 0.35
    class_confidence: dict[Label, Confidence] = {}
    threads: Annotated[int, Field(ge=0, le=64)] = 0
    """0 means one per core."""
    max_batch: Annotated[int, Field(ge=0, le=64)] = 0
    """Pictures per inference. 0 means what suits the device: 8 on an NVIDIA GPU, 1 on anything else."""

    @model_validator(mode="after")
    def _backend_can(self) -> "DetectorSettings":
        for key, value, allowed in (
            ("device", self.device, DEVICES[self.backend]),
            ("precision", self.precision, PRECISIONS[self.backend]),
        ):
            if value not in allowed:
                names = ", ".join(sorted(allowed))
                raise ValueError(f"with the backend {self.backend} the {key} is one of {names}; it is {value}")
        return self

    @model_validator(mode="after")
    def _a_remote_detector_is_somewhere(self) -> "DetectorSettings":
        if self.backend is Backend.REMOTE:
            for name, value in (("url", self.remote.url), ("token", self.remote.token)):
                if value is None:
                    raise ValueError(f"backend remote needs remote.{name}: that of the detector service")
        return self

    @property
    def here(self) -> "DetectorSettings":
        """These settings for the detector of this machine: what stands in for one elsewhere is chosen by itself."""
        return self.model_copy(update={"backend": Backend.AUTO}) if self.backend is Backend.REMOTE else self

    def threshold(self, label: Label) -> float:
        """Return the confidence below which a detection of this label is dropped."""
        return self.class_confidence.get(label, self.confidence)


class AnalystBackend(StrEnum):
    """What runs the analyst's language model."""

    AUTO = "auto"
    """The server or the model that is named, else the model of the tier where that is installed, else none."""
    OFF = "off"
    LLAMA_CPP = "llama_cpp"
    """llama.cpp on this machine, in a process of its own."""
    OPENAI = "openai"
    """A server that speaks OpenAI's protocol."""


class Sight(StrEnum):
    """Whether a language model sees pictures."""

    AUTO = "auto"
    """As its server says; one that does not say sees none."""
    YES = "yes"
    NO = "no"


class AnalystSettings(Section):
    """The language model that explains events, and what runs it."""

    backend: AnalystBackend = AnalystBackend.AUTO
    model: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")] | None = None
    """None means the analyst of the hardware's tier."""
    model_file: FilePath | None = None
    """A GGUF file of the user's own; wins over the catalogue."""
    url: str | None = None
    """Where a server is, for instance http://gpu.local:8091."""
    api_key: SecretStr | None = None
    model_name: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """The model of the server; None means the first one that it lists."""
    context_tokens: Annotated[int, Field(ge=512, le=131_072)] = 4096
    threads: Annotated[int, Field(ge=0, le=64)] = 0
    """0 means one less than there are cores."""
    gpu_layers: Annotated[int, Field(ge=-1, le=1000)] = -1
    """-1 means as many as fit."""
    thinking: bool = False
    """Whether a model that can think before it answers does so: better, and several times slower."""
    sees_pictures: Sight = Sight.AUTO
    most_waiting: Annotated[int, Field(ge=1, le=1000)] = 32
    parallel: Annotated[int, Field(ge=1, le=64)] = 1
    """Requests that are on their way to a server at a time; llama.cpp on this machine answers one."""
    connect_seconds: Annotated[float, Field(ge=0.1, le=60)] = 5.0
    stall_seconds: Annotated[float, Field(ge=1, le=3600)] = 60.0
    """After so long without a sign of life an answer is given up."""
    timeout_seconds: Annotated[float, Field(ge=1, le=3600)] = 180.0
    """How long an answer may take, waiting for its turn included."""
    load_seconds: Annotated[float, Field(ge=1, le=3600)] = 300.0
    from_score: Annotated[int, Field(ge=0, le=100)] = 0
    """Events of people and vehicles are explained from this score of the rules on."""
    max_age_hours: Annotated[float, Field(ge=0.1, le=720)] = 24.0
    """What has waited for longer is not explained any more."""

    @field_validator("model_file")
    @classmethod
    def _a_gguf(cls, value: Path | None) -> Path | None:
        if value is not None and value.suffix.lower() != ".gguf":
            raise ValueError(f"{value} is no .gguf file, and llama.cpp runs no other")
        return value

    @field_validator("url")
    @classmethod
    def _an_address(cls, value: str | None) -> str | None:
        return _checked_url(value, "http://HOST:8091")

    @field_validator("api_key")
    @classmethod
    def _fit_for_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"[!-~]{1,2000}", value.get_secret_value()):
            raise ValueError("a key has letters, digits and signs of ASCII, and no spaces")
        return value

    @model_validator(mode="after")
    def _a_server_is_somewhere(self) -> "AnalystSettings":
        if self.backend is AnalystBackend.OPENAI and self.url is None:
            raise ValueError("backend openai needs url: where the server is, such as http://HOST:8091")
        return self


class AnalystServiceSettings(Section):
    """The analyst service (`hsi serve --role analyst`)."""

    host: str = "0.0.0.0"  # noqa: S104 - reached from other hosts by design; a token is always needed
    port: Annotated[int, Field(ge=1, le=65535)] = 8091
    token: SecretStr | None = None
    """None means the one in the file `analyst-token` of the data folder, which the first start makes."""
    max_bytes: Annotated[int, Field(ge=1024, le=1 << 28)] = 4 << 20
    """Of a request."""

    @field_validator("token")
    @classmethod
    def _fit_for_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        return _checked_token(value)


class ModelSettings(Section):
    """How models are installed."""

    offline_folder: FilePath | None = None
    """Holds files of models that were carried here; looked through before anything is downloaded."""
    parallel: Annotated[int, Field(ge=1, le=8)] = 2
    """How many models are installed at a time."""


def _named_tier(value: object) -> object:
    if value is None or value == "auto":
        return None
    if value not in list(TierName):
        raise ValueError(f'"{str(value)[:40]}" is no tier; use auto, {", ".join(TierName)}')
    return value


class HardwareSettings(Section):
    """What of the machine is used, and when its GPU counts as unwell. Sizes are bytes."""

    tier: Annotated[TierName | None, BeforeValidator(_named_tier)] = None
    """Which models run; None, written `auto`, means the largest tier that fits the machine."""
    gpu: Annotated[str, Field(pattern=r"^([0-9]{1,3}|GPU-[0-9A-Fa-f-]{4,36})$")] | None = None
    """Which NVIDIA GPU is used: its index or the beginning of its UUID; None means the one with the most memory."""
    gpu_memory_bytes: Annotated[int, Field(ge=0, le=1 << 42)] = 0
    """What the models on the GPU may take; 0 means its memory without a reserve."""
    memory_bytes: Annotated[int, Field(ge=0, le=1 << 44)] = 0
    """What the models in the machine's memory may take; 0 means three quarters of it, or of the container's limit."""
    gpu_hot_celsius: Annotated[int, Field(ge=40, le=110)] = 85
    gpu_full_percent: Annotated[float, Field(ge=10, le=100)] = 95.0
    """From these on health says that the GPU is too hot, or its memory nearly full."""


class PipelineSettings(Section):
    """How much may wait."""

    most_waiting: Annotated[int, Field(ge=100, le=1_000_000)] = 10_000
    """Live pictures that wait to be judged; with more, nothing is admitted until some are."""


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


class StationarySettings(Section):
    """When what does not move is held for stationary, and for how long it is remembered unseen."""

    sightings: Annotated[int, Field(ge=2, le=1000)] = 5
    minutes: Annotated[float, Field(ge=0, le=1440)] = 5.0
    """For vehicles."""
    person_minutes: Annotated[float, Field(ge=0, le=10_080)] = 240.0
    """For people and animals, seen four times as often; 0 means never."""
    forget_hours: Annotated[float, Field(ge=1, le=720)] = 24.0


class SceneSettings(Section):
    """When something is wrong with a camera's view, so that its owner is told."""

    enabled: bool = True
    after_pictures: Annotated[int, Field(ge=2, le=100)] = 4
    """So many pictures in a row must show it,"""
    after_seconds: Annotated[float, Field(ge=1, le=86_400)] = 60.0
    """over so long a time."""


class BackupSettings(Section):
    """The backups that the server makes by itself, at an hour of the home's time zone."""

    daily: bool = False
    hour: Annotated[int, Field(ge=0, le=23)] = 2
    keep: Annotated[int, Field(ge=1, le=1000)] = 7
    """How many daily backups stay; those that somebody asked for are never removed."""
    media: bool = True
    """Whether pictures and clips are in them."""


UsualPercent = Annotated[float, Field(gt=0, lt=100, allow_inf_nan=False)]


class UsualLevels(Section):
    """How many per cent of the events of a week usually have each level: the rest is low."""

    medium: UsualPercent = 10.0
    high: UsualPercent = 4.0
    critical: UsualPercent = 1.0

    @model_validator(mode="after")
    def _some_are_low(self) -> "UsualLevels":
        if self.medium + self.high + self.critical > 50:
            raise ValueError("medium, high and critical together are at most 50 per cent: most of life is ordinary")
        return self

    @property
    def shares(self) -> dict[RiskLevel, float]:
        """The share of each level, 0 to 1."""
        above = {
            RiskLevel.MEDIUM: self.medium / 100,
            RiskLevel.HIGH: self.high / 100,
            RiskLevel.CRITICAL: self.critical / 100,
        }
        return {RiskLevel.LOW: 1 - sum(above.values()), **above}


class RiskSettings(Section):
    """The lowest score of each level above low, when night is, what factors weigh, and which levels are usual."""

    medium: int = 30
    high: int = 60
    critical: int = 85
    night_starts_hour: Annotated[int, Field(ge=0, le=23)] = 22
    night_ends_hour: Annotated[int, Field(ge=0, le=23)] = 6
    weights_file: Path | None = None
    """A file of the owner's own with other weights than the shipped ones."""
    usual: UsualLevels = UsualLevels()
    prompt_tokens: Annotated[int, Field(ge=500, le=100_000)] = 3000
    """What a prompt may have with all of its evidence; the answer needs room beside it."""

    @model_validator(mode="after")
    def _ordered(self) -> "RiskSettings":
        _ = self.thresholds
        return self

    @property
    def thresholds(self) -> LevelThresholds:
        """The thresholds as a value of the core."""
        return LevelThresholds(self.medium, self.high, self.critical)


def known_time_zone(name: str) -> str:
    """Return the name of a time zone. Raises ValueError for one that does not exist."""
    if name not in available_timezones():
        raise ValueError(f'"{name[:60]}" is no time zone; use a name such as "Europe/Berlin"')
    return name


class IncidentSettings(Section):
    """Which events tell one story, and when it is over."""

    same_camera_seconds: Annotated[float, Field(ge=0, le=3600)] = 300.0
    """The longest time between two events of one camera,"""
    next_camera_seconds: Annotated[float, Field(ge=0, le=1800)] = 120.0
    """and from one camera to another; twice as long where somebody looks the same."""
    quiet_minutes: Annotated[float, Field(ge=1, le=120)] = 5.0
    """After so long without anything new an incident is over."""
    longest_hours: Annotated[float, Field(ge=0.1, le=24)] = 2.0

    @model_validator(mode="after")
    def _quiet_after_every_gap(self) -> "IncidentSettings":
        longest = max(self.same_camera_seconds, 2 * self.next_camera_seconds)
        if self.quiet_minutes * 60 < longest:
            raise ValueError(
                f"quiet_minutes ({self.quiet_minutes:g}) must be at least {longest / 60:g}, the greater of "
                "same_camera_seconds and twice next_camera_seconds: no incident is over while it can still go on"
            )
        return self


Days = Annotated[int, Field(ge=0, le=3650)]
"""0 means for ever."""


class RetentionSettings(Section):
    """How many days what is kept, counted from its arrival, and when the daily cleanup is."""

    low: Days = 30
    medium: Days = 30
    high: Days = 30
    critical: Days = 30
    frames_days: Days = 7
    """Frames that belong to no event."""
    clips_days: Days = 30
    originals: Literal["keep", "prune"] = "keep"
    """Whether files in the cameras' folders are deleted some days after they were admitted."""
    originals_days: Annotated[int, Field(ge=1, le=3650)] = 7
    arrivals_days: Days = 90
    """Notes about files that are gone."""
    trash_days: Days = 7
    cleanup_hour: Annotated[int, Field(ge=0, le=23)] = 3

    @model_validator(mode="after")
    def _originals_before_their_copies(self) -> "RetentionSettings":
        shortest = min((days for days in (*self.levels.values(), self.frames_days, self.clips_days) if days), default=0)
        if self.originals == "prune" and 0 < shortest < self.originals_days:
            raise ValueError(
                f"originals_days ({self.originals_days}) must not be more than the fewest days of low, medium, high, "
                f"critical, frames_days and clips_days ({shortest}): an original is deleted only while its copy is kept"
            )
        return self

    @property
    def levels(self) -> dict[RiskLevel, int]:
        """The days of each level's events."""
        return {
            RiskLevel.LOW: self.low,
            RiskLevel.MEDIUM: self.medium,
            RiskLevel.HIGH: self.high,
            RiskLevel.CRITICAL: self.critical,
        }


Percent = Annotated[float, Field(ge=1, le=99.9)]


class DiskSettings(Section):
    """What is done when a disk fills up. Percentages are of its bytes, or of its inodes if fewer of these are left."""

    warn_percent: Percent = 85.0
    prune_percent: Percent = 90.0
    """From here on what is oldest is deleted before its time, until `prune_to_percent`."""
    prune_to_percent: Percent = 88.0
    refuse_percent: Percent = 95.0
    """From here on no picture is let in, until there is less than `resume_percent`."""
    resume_percent: Percent = 93.0
    min_age_hours: Annotated[float, Field(ge=1, le=8760)] = 24.0
    """What is younger is never deleted before its time."""

    @model_validator(mode="after")
    def _ordered(self) -> "DiskSettings":
        rising = (self.warn_percent, self.prune_to_percent, self.prune_percent, self.resume_percent)
        if list(rising) != sorted(rising) or not (
            self.prune_to_percent < self.prune_percent and self.resume_percent < self.refuse_percent
        ):
            raise ValueError(
                "the percentages must rise: warn_percent <= prune_to_percent < prune_percent <= resume_percent "
                "< refuse_percent"
            )
        return self


def _machine_zone() -> str:
    """Return the machine's time zone: of the variable TZ, which the Supervisor sets, or of its own clock."""
    zones = available_timezones()
    linked = Path("/etc/localtime").resolve().as_posix().partition("zoneinfo/")[2]
    return next((name for name in (os.environ.get("TZ", "").lstrip(":"), linked) if name in zones), "UTC")


class Settings(BaseSettings):
    """Everything that can be set. Raises pydantic.ValidationError with the path of each wrong value, SettingsError."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter=DELIMITER,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    data_dir: FilePath = DEFAULT_DATA_DIR
    watch_root: FilePath | None = None
    """Holds one folder per camera; None means `cameras` below the data folder."""
    models_dir: FilePath | None = None
    """Holds weights; None means `models` below the data folder."""
    database_url: SecretStr | None = None
    """PostgreSQL, or another SQLite file; None means `hsi.db` in the data folder."""
    redis_url: SecretStr | None = None
    """Redis or Valkey that delivers the messages of several workers; None means that the database does."""
    worker_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] | None = None
    """What this process is called among the workers on one database; None makes a name up."""
    name: Annotated[str, Field(min_length=1, max_length=100)] = "Home Security Intelligence"
    time_zone: Annotated[str, AfterValidator(known_time_zone)] = Field(default_factory=_machine_zone)
    mdns: bool = True
    """Show the server on the local network, so that Home Assistant finds it."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    api: ApiSettings = ApiSettings()
    ingest: IngestSettings = IngestSettings()
    ftp: FtpSettings = FtpSettings()
    clips: ClipSettings = ClipSettings()
    detector: DetectorSettings = DetectorSettings()
    detector_service: DetectorServiceSettings = DetectorServiceSettings()
    analyst: AnalystSettings = AnalystSettings()
    analyst_service: AnalystServiceSettings = AnalystServiceSettings()
    models: ModelSettings = ModelSettings()
    hardware: HardwareSettings = HardwareSettings()
    pipeline: PipelineSettings = PipelineSettings()
    batch: BatchSettings = BatchSettings()
    stationary: StationarySettings = StationarySettings()
    scene: SceneSettings = SceneSettings()
    risk: RiskSettings = RiskSettings()
    incidents: IncidentSettings = IncidentSettings()
    backup: BackupSettings = BackupSettings()
    retention: RetentionSettings = RetentionSettings()
    disk: DiskSettings = DiskSettings()

    @field_validator("watch_root")
    @classmethod
    def _apart_from_the_media(cls, value: Path | None, others: ValidationInfo) -> Path | None:
        """What the server keeps must not look like new pictures."""
        data = others.data.get("data_dir")
        if value is None or data is None:
            return value
        watched, media = value.resolve(), (data / MEDIA_FOLDER).resolve()
        if watched.is_relative_to(media) or media.is_relative_to(watched):
            raise ValueError(
                f"{value} holds the server's own pictures ({media}) or lies among them, and each would be judged "
                "again; name a folder outside the data folder"
            )
        return value

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        try:
            url = make_url(value.get_secret_value())
        except (ArgumentError, ValueError) as error:  # neither is quoted: it may hold the password
            raise ValueError("this is no URL; write postgresql://USER:PASSWORD@HOST/DATABASE") from error
        if url.get_backend_name() not in DATABASE_DRIVERS:
            raise ValueError(f"{url.get_backend_name()} is not supported; use postgresql://... or sqlite:///PATH")
        if not url.database:
            raise ValueError("the name of the database is missing at the end of the URL")
        return value

    @field_validator("redis_url")
    @classmethod
    def _known_redis(cls, value: SecretStr | None, others: ValidationInfo) -> SecretStr | None:
        if value is None:
            return None
        if not value.get_secret_value().startswith(REDIS_SCHEMES):
            raise ValueError(f"the URL begins with one of {', '.join(REDIS_SCHEMES)}")
        database: SecretStr | None = others.data.get("database_url")
        if database is None or not database.get_secret_value().startswith("postgresql"):
            raise ValueError(
                "Redis serves several workers, and those share a PostgreSQL database: set HSI_DATABASE_URL as well, "
                "or leave HSI_REDIS_URL out"
            )
        return value

    @field_validator("ingest")
    @classmethod
    def _roots_apart(cls, value: IngestSettings, others: ValidationInfo) -> IngestSettings:
        """Each file belongs to one root, and what the server keeps to none."""
        data: Path | None = others.data.get("data_dir")
        if data is None or "watch_root" not in others.data:
            return value
        taken = [(data / MEDIA_FOLDER).resolve(), (others.data["watch_root"] or data / "cameras").resolve()]
        for root in value.more_roots:
            path = root.path.resolve()
            for other in taken:
                if path.is_relative_to(other) or other.is_relative_to(path):
                    raise ValueError(
                        f"more_roots names {root.path}, which overlaps {other}: pictures in both would be judged "
                        "twice; name folders that neither hold each other nor the server's own pictures"
                    )
            taken.append(path)
        return value

    @property
    def watch_roots(self) -> tuple[WatchRoot, ...]:
        """All roots, the main one first."""
        main = WatchRoot(path=self.watch_folder, mode=self.ingest.watch_mode, poll_seconds=self.ingest.poll_seconds)
        return (main, *self.ingest.more_roots)

    @property
    def database(self) -> Path | URL:
        """Where the database is: a file of SQLite, or PostgreSQL."""
        if self.database_url is None:
            return self.data_dir / "hsi.db"
        url = make_url(self.database_url.get_secret_value())
        if url.get_backend_name() == "sqlite":
            return Path(url.database or "").expanduser()
        return url.set(drivername=DATABASE_DRIVERS[url.get_backend_name()])

    @model_validator(mode="after")
    def _ftp_beside_the_others(self) -> "Settings":
        ftp = self.ftp
        if ftp.enabled and ftp.max_file_bytes < self.ingest.max_bytes:
            raise ValueError(
                f"ftp.max_file_bytes ({ftp.max_file_bytes}) must be at least ingest.max_bytes ({self.ingest.max_bytes})"
            )
        if ftp.enabled and (self.api.port == ftp.port or self.api.port in ftp.passive_range):
            raise ValueError(f"api.port ({self.api.port}) is among the ports of ftp; choose another one")
        return self

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
        _refuse_unknown_variables(settings_cls)
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


def _refuse_unknown_variables(settings_cls: type[BaseSettings]) -> None:
    """Refuse the variables that the library would pass over: it looks below the sections' names only."""
    known = set(_variables(settings_cls))
    unknown = [name for name in os.environ if _is_unknown(name.upper(), known, settings_cls)]
    if unknown:
        raise SettingsError(
            " ".join(f"There is no setting {name}.{_suggestion(name, known)}" for name in sorted(unknown))
        )


def _is_unknown(name: str, known: set[str], settings_cls: type[BaseSettings]) -> bool:
    if not name.startswith(ENVIRONMENT_PREFIX) or name in known | OTHER_VARIABLES:
        return False
    if KUBERNETES_VARIABLE.fullmatch(name) and (name != "HSI_PORT" or "://" in os.environ.get(name, "")):
        return False
    field, _, rest = name.removeprefix(ENVIRONMENT_PREFIX).partition(DELIMITER)
    return not rest or _section(settings_cls, field.lower()) is None


def _suggestion(name: str, known: set[str]) -> str:
    nearest = difflib.get_close_matches(name.upper(), known, n=1)
    return f" Did you mean {nearest[0]}?" if nearest else " docs/installation.md lists the settings."


def _variables(settings_cls: type[BaseSettings]) -> Iterator[str]:
    """Yield the environment variable of every setting and section."""
    for name in settings_cls.model_fields:
        variable = ENVIRONMENT_PREFIX + name.upper()
        yield variable
        if section := _section(settings_cls, name):
            yield from (f"{variable}{DELIMITER}{key.upper()}" for key in section.model_fields)


def _section(settings_cls: type[BaseSettings], name: str) -> type[Section] | None:
    field = settings_cls.model_fields.get(name)
    kind = field.annotation if field else None
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None
