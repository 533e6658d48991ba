# SPDX-License-Identifier: AGPL-3.0-or-later
"""The classes of machines: which models each one runs, and which class a machine is of."""

from collections.abc import Iterable
from dataclasses import dataclass

from inference_server.core.hardware import GIB, MIB, TierName
from inference_server.core.model import MemoryNeed
from inference_server.hardware.probe import Hardware
from inference_server.models.catalogue import memory_of

GPU_RESERVE = 1024 * MIB
"""What stays free on a card: CUDA's own context, a screen, and what batches take for a moment."""
MEMORY_RESERVE = 512 * MIB
"""What stays free in the machine's memory: the server itself, the database, pictures that are decoded."""


@dataclass(frozen=True, slots=True)
class Tier:
    """A class of machines. All models named here fit at once, with the reserve, into `memory_bytes`.

    That is the memory of the smallest card of the class, of which some is never free (ECC, the driver), or of the
    machine where the models run there. Without an analyst the rules judge alone.
    """

    name: TierName
    memory_bytes: int
    detector: str
    smaller_detectors: tuple[str, ...]
    enrichers: tuple[str, ...]
    analyst: str | None

    @property
    def on_gpu(self) -> bool:
        """Whether the models run on an NVIDIA GPU."""
        return self.name not in {TierName.CPU, TierName.INTEL}

    @property
    def models(self) -> tuple[str, ...]:
        """The ids of all its models."""
        return (self.detector, *self.enrichers, *((self.analyst,) if self.analyst else ()))

    @property
    def needs(self) -> dict[str, MemoryNeed]:
        """The memory of each of its models, as the catalogue says."""
        return {model: memory_of(model).on(gpu=self.on_gpu) for model in self.models}

    @property
    def reserve(self) -> int:
        """What its models leave free."""
        return GPU_RESERVE if self.on_gpu else MEMORY_RESERVE


_LIGHT = ("clip-vit-b32", "threat-yolov8n", "yolo26n-pose", "osnet-x0-25", "pet-resnet18")
_PLATES = ("plate-detector", "plate-reader")
_HEAVY = ("florence-2-base", "segformer-b2-clothes", "depth-anything-v2-small")

TIERS: dict[TierName, Tier] = {
    tier.name: tier
    for tier in (
        Tier(TierName.CPU, 850 * MIB, "yolo26n", (), ("osnet-x0-25",), None),
        Tier(
            TierName.INTEL,
            6 * GIB,
            "yolo26s",
            ("yolo26n",),
            ("osnet-x0-25", "clip-vit-b32", "yolo26n-pose"),
            "nemotron-mini-4b",
        ),
        Tier(
            TierName.NVIDIA_8GB,
            7600 * MIB,
            "yolo26m",
            ("yolo26s", "yolo26n"),
            (*_LIGHT, *_PLATES),
            "nemotron-mini-4b",
        ),
        Tier(
            TierName.NVIDIA_12GB,
            11_000 * MIB,
            "yolo26m",
            ("yolo26s", "yolo26n"),
            (*_LIGHT, *_PLATES, *_HEAVY),
            "nemotron-mini-4b",
        ),
        Tier(
            TierName.NVIDIA_24GB,
            22_500 * MIB,
            "yolo26m",
            ("yolo26s", "yolo26n"),
            (*_LIGHT, *_PLATES, *_HEAVY),
            "nemotron-3-nano-30b",
        ),
    )
}


@dataclass(frozen=True, slots=True)
class ChosenTier:
    """The tier in use and why. `misfit` says what this machine lacks for it, with `remedy`; None where it fits."""

    tier: Tier
    reason: str
    misfit: str | None = None
    remedy: str | None = None


def choose(hardware: Hardware, wanted: TierName | None) -> ChosenTier:
    """Return the wanted tier, whether or not it fits, or without one the largest that fits the machine."""
    if wanted is not None:
        tier = TIERS[wanted]
        misfit = lacking(tier, hardware)
        remedy = f"Set hardware.tier to auto ({_largest(hardware).name} fits this machine), or add what is missing."
        return ChosenTier(tier, "the settings name it", misfit, remedy if misfit else None)
    tier = _largest(hardware)
    misfit = lacking(tier, hardware)  # the smallest tier is taken even where it does not fit
    return ChosenTier(tier, _reason(tier, hardware), misfit, "Add memory to the machine." if misfit else None)


def lacking(tier: Tier, hardware: Hardware) -> str | None:
    """Return what the machine lacks for a tier, in plain words; None where the tier fits."""
    if tier.on_gpu:
        return _lacking_gpu(tier, hardware)
    if tier.name is TierName.INTEL:
        devices = hardware.intel
        if devices.gpu is None and devices.npu is None:
            return "no GPU or NPU of Intel is shown under /dev/dri or /dev/accel"
        if not devices.usable:
            return f"{devices.gpu or devices.npu} is there, but {devices.obstacle}"
    if hardware.memory.usable < tier.memory_bytes:
        return f"its models want {_gib(tier.memory_bytes)} of memory, and {_gib(hardware.memory.usable)} may be used"
    return None


def _lacking_gpu(tier: Tier, hardware: Hardware) -> str | None:
    gpu = hardware.best_gpu
    if gpu is None:
        if hardware.missing_gpu:
            return hardware.missing_gpu
        divided = "every NVIDIA GPU is divided into instances (MIG), which is not supported"
        return hardware.no_gpu.message.rstrip(".") if hardware.no_gpu else divided
    if gpu.memory_bytes < tier.memory_bytes:
        return f"it wants {_gib(tier.memory_bytes)} of GPU memory, and {gpu.name} has {_gib(gpu.memory_bytes)}"
    if hardware.runtime is None or not hardware.runtime.has_cuda:
        return f"{gpu.name} is there, but the installed ONNX Runtime was built without CUDA (install onnxruntime-gpu)"
    return None


def _largest(hardware: Hardware) -> Tier:
    fitting = [tier for tier in _descending(TIERS.values()) if lacking(tier, hardware) is None]
    return fitting[0] if fitting else TIERS[TierName.CPU]


def _descending(tiers: Iterable[Tier]) -> list[Tier]:
    order = list(TierName)
    return sorted(tiers, key=lambda tier: order.index(tier.name), reverse=True)


def _reason(tier: Tier, hardware: Hardware) -> str:
    if tier.on_gpu and (gpu := hardware.best_gpu):
        return f"{gpu.name} with {_gib(gpu.memory_bytes)}"
    if tier.name is TierName.INTEL:
        return f"{hardware.intel.gpu or hardware.intel.npu} and OpenVINO"
    larger = next((text for name in (TierName.NVIDIA_8GB, TierName.INTEL) if (text := _near(name, hardware))), None)
    return larger or "no GPU that could be used"


def _near(name: TierName, hardware: Hardware) -> str | None:
    """Return why a machine that has a GPU is not of the tier that such a GPU begins."""
    there = hardware.gpus if name is TierName.NVIDIA_8GB else (hardware.intel.gpu or hardware.intel.npu)
    return f"not {name}: {lacking(TIERS[name], hardware)}" if there else None


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
