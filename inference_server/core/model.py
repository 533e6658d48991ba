# SPDX-License-Identifier: AGPL-3.0-or-later
"""Models: what one is for, what it needs, how it is getting here, and why it is not."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Capability(StrEnum):
    """What a model does."""

    DETECTION = "detection"
    EMBEDDING = "embedding"
    REIDENTIFICATION = "reidentification"
    CAPTION = "caption"
    FACE = "face"
    PLATE = "plate"
    OCR = "ocr"
    POSE = "pose"
    THREAT = "threat"
    VEHICLE = "vehicle"
    PET = "pet"
    DEPTH = "depth"
    ACTION = "action"
    CLOTHING = "clothing"
    LANGUAGE = "language"


class DeviceNeed(StrEnum):
    """What a model runs on."""

    CPU = "cpu"
    """A processor is enough: milliseconds to a second a picture."""
    GPU_HELPS = "gpu_helps"
    """A processor takes seconds a picture; a GPU does not."""
    GPU = "gpu"
    """Of use on a GPU only."""


class MemoryBasis(StrEnum):
    """How it is known what memory a model takes."""

    MEASURED = "measured"
    """By this project: `benchmarks/memory.py`, the most that is resident while two pictures are inferred at a time."""
    DOCUMENTED = "documented"
    """Stated by who made it or ran it before; on a GPU with what CUDA takes for it."""
    ESTIMATED = "estimated"
    """From the size of its weights and of its activations; generous."""


class PullStep(StrEnum):
    """What is being done to install a model."""

    DOWNLOADING = "downloading"
    CHECKING = "checking"
    CONVERTING = "converting"


class PullState(StrEnum):
    """How far the installation of a model is."""

    WAITING = "waiting"
    RUNNING = "running"
    ELSEWHERE = "elsewhere"
    """Another process is at it."""
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    """What an earlier process had downloaded is kept, and the next pull goes on after it."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens."""
        return self not in {PullState.WAITING, PullState.RUNNING, PullState.ELSEWHERE}


class ModelProblem(StrEnum):
    """Why a model cannot be had, used or removed."""

    FAILED = "failed"
    UNKNOWN = "unknown"
    NOT_INSTALLED = "not_installed"
    IN_USE = "in_use"
    BUSY = "busy"
    UNPINNED = "unpinned"
    NO_SPACE = "no_space"
    REFUSED = "refused"
    """A file is not what it is said to be."""


class ModelUnavailable(Exception):
    """A model cannot be used, installed or removed. `remedy` is a sentence that says what to do."""

    def __init__(self, message: str, remedy: str, problem: ModelProblem = ModelProblem.FAILED) -> None:
        """Keep the reason and the remedy apart; both are plain sentences."""
        super().__init__(message)
        self.remedy = remedy
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Licence:
    """Under what terms weights are given, by the name that people know it by."""

    name: str
    commercial_use: bool
    """Whether a business may use them without asking; a household always may."""


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """What a loaded model takes of one device, in MiB, and how that is known."""

    mib: int
    basis: MemoryBasis

    @property
    def bytes(self) -> int:
        """The same in bytes."""
        return self.mib << 20


@dataclass(frozen=True, slots=True)
class ModelMemory:
    """What a loaded model takes: of the machine's memory where that is what it runs in, or of an NVIDIA GPU's."""

    processor: MemoryNeed
    gpu: MemoryNeed

    def on(self, *, gpu: bool) -> MemoryNeed:
        """Return what it takes of one of the two."""
        return self.gpu if gpu else self.processor


@dataclass(frozen=True, slots=True)
class Pull:
    """The installation of a model, in bytes. `ended_at`, `error` and `remedy` are None until there is something."""

    model_id: str
    state: PullState
    step: PullStep
    done_bytes: int
    total_bytes: int
    asked_at: datetime | None = None
    ended_at: datetime | None = None
    error: str | None = None
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class ImportedModel:
    """A file that was taken in. `pull` makes of it what is loaded, where it is not loaded as it is."""

    model_id: str
    size: int
    sha256: str
    pull: Pull | None


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file of a model. Its digest is the published one, else the one noted when it was first pulled, else None."""

    name: str
    size: int
    size_exact: bool
    sha256: str | None
    pinned: bool
    """Whether the digest was published before anything was downloaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSummary:
    """A model of the catalogue, and whether it is installed. `supplied`: it is a file of the owner's own."""

    id: str
    name: str
    capability: Capability
    purpose: str
    licence: Licence
    memory: ModelMemory
    device: DeviceNeed
    files: tuple[ModelFile, ...]
    installed: bool
    supplied: bool
    in_use: bool
    pull: Pull | None

    @property
    def size(self) -> int:
        """What is downloaded, in bytes."""
        return sum(file.size for file in self.files)

    @property
    def size_exact(self) -> bool:
        """Whether the size is known to the byte."""
        return all(file.size_exact for file in self.files)

    @property
    def pinned(self) -> bool:
        """Whether each file has a published digest."""
        return all(file.pinned for file in self.files)
