# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which models a machine runs, and that they fit it."""

from dataclasses import replace
from pathlib import Path

import pytest

from inference_server.core.hardware import GIB, TierName
from inference_server.core.model import MemoryBasis, MemoryNeed
from inference_server.hardware.detector import resolve_detector
from inference_server.hardware.intel import IntelDevices
from inference_server.hardware.probe import Hardware
from inference_server.hardware.tiers import TIERS, Tier, choose, lacking
from inference_server.models.catalogue import CATALOGUE, memory_of
from inference_server.models.catalogue.memory import memory_of_file
from inference_server.models.errors import ModelUnavailable
from inference_server.models.store import ModelStore
from inference_server.settings import DetectorSettings
from tests.support.gpus import CPU_RUNTIME, CUDA_RUNTIME, card, hardware

NODE = Path("/dev/dri/renderD128")
PAGE = (Path(__file__).parents[3] / "docs" / "hardware.md").read_text()


@pytest.mark.parametrize("tier", TIERS.values(), ids=list(TIERS))
def test_the_models_of_a_tier_and_its_reserve_fit(tier: Tier) -> None:
    assert sum(need.bytes for need in tier.needs.values()) + tier.reserve <= tier.memory_bytes


@pytest.mark.parametrize("model", sorted({model for tier in TIERS.values() for model in tier.models}))
def test_the_models_of_the_tiers_are_in_the_catalogue(model: str) -> None:
    assert model in {entry.id for entry in CATALOGUE}


def test_the_page_says_what_each_tier_runs() -> None:
    rows = {line.split("|")[1].strip(" `"): line for line in PAGE.splitlines() if line.startswith("| `")}
    for tier in TIERS.values():
        row = rows[tier.name]
        assert all(f"`{model}`" in row for model in (tier.detector, tier.analyst) if model)
        assert f"{sum(need.bytes for need in tier.needs.values()) / GIB:.1f} GiB" in row


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        (hardware(), TierName.CPU),
        (hardware(memory_gib=0.5), TierName.CPU),
        (hardware(card(24), runtime=CUDA_RUNTIME), TierName.NVIDIA_24GB),
        (hardware(card(22.5), runtime=CUDA_RUNTIME), TierName.NVIDIA_24GB),
        (hardware(card(15.7), runtime=CUDA_RUNTIME), TierName.NVIDIA_12GB),
        (hardware(card(11.6), runtime=CUDA_RUNTIME), TierName.NVIDIA_12GB),
        (hardware(card(7.8), runtime=CUDA_RUNTIME), TierName.NVIDIA_8GB),
        (hardware(card(4), runtime=CUDA_RUNTIME), TierName.CPU),
        (hardware(card(24), runtime=CPU_RUNTIME), TierName.CPU),
        (hardware(card(24), runtime=None), TierName.CPU),
        (hardware(replace(card(80), mig=True), card(8, "RTX 3050"), runtime=CUDA_RUNTIME), TierName.NVIDIA_8GB),
        (hardware(intel=IntelDevices(gpu=NODE, openvino=True)), TierName.INTEL),
        (hardware(intel=IntelDevices(gpu=NODE, openvino=True), memory_gib=4), TierName.CPU),
        (hardware(intel=IntelDevices(gpu=NODE)), TierName.CPU),
        (hardware(intel=IntelDevices(gpu=NODE, denied=(NODE,), openvino=True)), TierName.CPU),
    ],
)
def test_the_largest_tier_that_fits_is_chosen(machine: Hardware, expected: TierName) -> None:
    chosen = choose(machine, None)
    assert chosen.tier.name is expected
    assert (chosen.misfit is None) == (lacking(chosen.tier, machine) is None)
    assert chosen.reason


def test_a_gpu_that_is_not_used_is_explained() -> None:
    assert "built without CUDA" in choose(hardware(card(24)), None).reason
    assert "has 4.0 GiB" in choose(hardware(card(4), runtime=CUDA_RUNTIME), None).reason
    assert "the extra openvino" in choose(hardware(intel=IntelDevices(gpu=NODE)), None).reason


@pytest.mark.parametrize("name", TierName)
def test_a_tier_that_does_not_fit_is_taken_with_a_warning(name: TierName) -> None:
    chosen = choose(hardware(memory_gib=0.5), name)
    assert chosen.tier.name is name
    assert chosen.misfit
    assert "hardware.tier" in (chosen.remedy or "")


def test_what_is_not_known_is_estimated_by_its_file() -> None:
    assert memory_of("mine", 10 << 20) == memory_of_file(10 << 20)
    assert memory_of("mine", 10 << 20).processor == MemoryNeed(286, MemoryBasis.ESTIMATED)
    assert memory_of("yolov3-tiny", 1 << 40).processor.basis is MemoryBasis.MEASURED


@pytest.mark.parametrize(
    ("settings", "installed", "expected"),
    [
        (DetectorSettings(fallback_model="stand-in"), ("yolo26m", "yolo26n"), ("yolo26m", False)),
        (DetectorSettings(fallback_model="stand-in"), ("yolo26n", "stand-in"), ("yolo26n", True)),
        (DetectorSettings(fallback_model="stand-in"), ("stand-in",), ("stand-in", True)),
        (DetectorSettings(model="mine", fallback_model="stand-in"), ("yolo26m", "mine"), ("mine", False)),
    ],
)
async def test_the_tiers_detector_runs_or_the_best_that_is_there(
    tmp_path: Path, settings: DetectorSettings, installed: tuple[str, ...], expected: tuple[str, bool]
) -> None:
    store = ModelStore(tmp_path, catalogue=())
    for model in installed:
        (tmp_path / f"{model}.onnx").write_bytes(b"a model")
    resolved = await resolve_detector(store, settings, TIERS[TierName.NVIDIA_8GB])
    assert (resolved.model_id, resolved.fallback) == expected
    assert bool(resolved.message) is resolved.fallback


async def test_nothing_to_be_had_names_the_tiers_detector(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="yolo26m"):
        await resolve_detector(ModelStore(tmp_path, catalogue=()), DetectorSettings(), TIERS[TierName.NVIDIA_8GB])
