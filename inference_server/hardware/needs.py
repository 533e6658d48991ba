# SPDX-License-Identifier: AGPL-3.0-or-later
"""How much memory each model takes while it runs. The ids are those of the catalogue."""

from dataclasses import dataclass
from enum import StrEnum

from inference_server.core.hardware import MIB


class NeedSource(StrEnum):
    """Where a number comes from."""

    MEASURED = "measured"
    """By this project: ONNX Runtime 1.32 on two cores, resident memory while two pictures are inferred."""
    DOCUMENTED = "documented"
    """By whoever operates the model; includes what CUDA takes for it."""
    ESTIMATED = "estimated"
    """From the number of parameters and the size of the activations; generous."""


@dataclass(frozen=True, slots=True)
class Need:
    """The memory of a model on its device, in bytes."""

    bytes: int
    source: NeedSource


def _need(mib: int, source: NeedSource) -> Need:
    return Need(mib * MIB, source)


ON_GPU: dict[str, Need] = {
    "yolo26n": _need(400, NeedSource.ESTIMATED),
    "yolo26s": _need(500, NeedSource.ESTIMATED),
    "yolo26m": _need(650, NeedSource.DOCUMENTED),
    "yolo26l": _need(800, NeedSource.ESTIMATED),
    "yolo26x": _need(1200, NeedSource.ESTIMATED),
    "yolov3-tiny": _need(400, NeedSource.ESTIMATED),
    "clip-vit-b32": _need(800, NeedSource.DOCUMENTED),
    "threat-yolov8n": _need(400, NeedSource.DOCUMENTED),
    "yolo26n-pose": _need(300, NeedSource.DOCUMENTED),
    "osnet-x0-25": _need(100, NeedSource.DOCUMENTED),
    "pet-resnet18": _need(200, NeedSource.DOCUMENTED),
    "depth-anything-v2-small": _need(150, NeedSource.DOCUMENTED),
    "plate-detector": _need(300, NeedSource.DOCUMENTED),
    "plate-reader": _need(100, NeedSource.DOCUMENTED),
    "florence-2-base": _need(1460, NeedSource.DOCUMENTED),
    "segformer-b2-clothes": _need(1500, NeedSource.DOCUMENTED),
    "nemotron-mini-4b": _need(3600, NeedSource.ESTIMATED),
    # 30 of its 53 layers with a context of 4096 tokens; the others stay in the machine's memory.
    "nemotron-3-nano-30b": _need(14_700, NeedSource.DOCUMENTED),
}
"""On an NVIDIA GPU."""

ON_PROCESSOR: dict[str, Need] = {
    "yolo26n": _need(200, NeedSource.ESTIMATED),
    "yolo26s": _need(300, NeedSource.ESTIMATED),
    "yolo26m": _need(500, NeedSource.ESTIMATED),
    "yolo26l": _need(600, NeedSource.ESTIMATED),
    "yolo26x": _need(1000, NeedSource.ESTIMATED),
    "yolov3-tiny": _need(100, NeedSource.MEASURED),
    "osnet-x0-25": _need(100, NeedSource.ESTIMATED),
    "clip-vit-b32": _need(700, NeedSource.ESTIMATED),
    "yolo26n-pose": _need(200, NeedSource.ESTIMATED),
    "nemotron-mini-4b": _need(3600, NeedSource.ESTIMATED),
}
"""In the machine's memory, which a GPU of Intel shares."""

_BESIDE_THE_WEIGHTS = 256 * MIB
_TIMES_THE_FILE = 3


def need_of_file(size: int) -> Need:
    """Return a generous estimate for a model of which only the size of its file is known, in bytes."""
    return Need(_TIMES_THE_FILE * size + _BESIDE_THE_WEIGHTS, NeedSource.ESTIMATED)


def need_of(model_id: str, size: int, *, on_gpu: bool) -> Need:
    """Return the memory that a model takes, by its id or else by the size of its file."""
    return (ON_GPU if on_gpu else ON_PROCESSOR).get(model_id) or need_of_file(size)
