# SPDX-License-Identifier: AGPL-3.0-or-later
"""What recognises and describes whole pictures and cut-out objects.

The digests of pinned files are those that several unrelated public projects recorded for these revisions.
"""

from inference_server.core.model import Capability, DeviceNeed, ModelMemory
from inference_server.models.catalogue.entry import ModelEntry, Weights
from inference_server.models.catalogue.hub import hub, unpinned
from inference_server.models.catalogue.licences import APACHE, MIT
from inference_server.models.catalogue.memory import documented, estimated, measured

_CLIP_TEXT_REVISION = "48ca1db27cb4063eb311ec2aa7f087a808112876"
_CLIP_IMAGE_REVISION = "a636590e595dbbd798647c9dd4550d5652fba969"
_OSNET_REVISION = "1e22b925c70caa5591e9fab3f5540af8484bcad8"

_FLORENCE_SMALL_FILES = {
    "config.json": 3_000,
    "generation_config.json": 500,
    "preprocessor_config.json": 1_000,
    "processor_config.json": 1_000_000,
    "tokenizer.json": 2_300_000,
    "tokenizer_config.json": 250_000,
    "special_tokens_map.json": 150_000,
    "added_tokens.json": 30_000,
    "vocab.json": 1_100_000,
    "merges.txt": 460_000,
}
_FLORENCE_OPTIONAL = (
    *("generation_config.json", "preprocessor_config.json", "processor_config.json"),
    *("special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt"),
)


def _florence(size: str, weights: int, memory: ModelMemory) -> ModelEntry:
    identity = f"florence-2-{size}"
    sizes = {"model.safetensors": weights, **_FLORENCE_SMALL_FILES}
    return ModelEntry(
        id=identity,
        name=f"Florence-2 {size}",
        capability=Capability.CAPTION,
        purpose="Describes scenes and reads text in them.",
        licence=MIT,
        memory=memory,
        device=DeviceNeed.GPU_HELPS,
        files=unpinned(identity, f"florence-community/Florence-2-{size}", sizes, _FLORENCE_OPTIONAL),
    )


EMBEDDINGS: tuple[ModelEntry, ...] = (
    ModelEntry(
        id="clip-vit-b32",
        name="CLIP ViT-B/32",
        capability=Capability.EMBEDDING,
        purpose="Pictures and sentences as comparable vectors: search by words, recognition of objects.",
        licence=MIT,
        memory=ModelMemory(processor=estimated(900), gpu=documented(800)),
        device=DeviceNeed.CPU,
        files=(
            Weights(
                "clip-vit-b32/image.onnx",
                351_686_194,
                "c68d3d9a200ddd2a8c8a5510b576d4c94d1ae383bf8b36dd8c084f94e1fb4d63",
                (hub("Qdrant/clip-ViT-B-32-vision", "model.onnx", _CLIP_IMAGE_REVISION),),
            ),
            Weights(
                "clip-vit-b32/text.onnx",
                254_102_519,
                "4dbe762b11e36488304471e439cde89da053ad7acaddbf9e096745d142ec8d8b",
                (hub("Qdrant/clip-ViT-B-32-text", "model.onnx", _CLIP_TEXT_REVISION),),
            ),
            Weights(
                "clip-vit-b32/tokenizer.json",
                2_224_000,
                "b68d571997a1f81bf521fb73806740ddb91e4ed6666cb6e996c066bb289cf55b",
                (hub("Qdrant/clip-ViT-B-32-text", "tokenizer.json", _CLIP_TEXT_REVISION),),
                size_exact=False,
            ),
        ),
    ),
    ModelEntry(
        id="osnet-x0-25",
        name="OSNet x0.25",
        capability=Capability.REIDENTIFICATION,
        purpose="Recognises a person by clothes and stature, across cameras.",
        licence=MIT,
        memory=ModelMemory(processor=estimated(100), gpu=documented(100)),
        device=DeviceNeed.CPU,
        files=(
            Weights(
                "osnet_x0_25_msmt17.onnx",
                907_169,
                "e78604f4ccda49b8f41cd0f8f7303800ce75d2361895ebb0729513c1bf53d277",
                (
                    hub("anriha/osnet_x0_25_msmt17", "osnet_x0_25_msmt17.onnx", _OSNET_REVISION),
                    hub("kornia/osnet", "osnet_x0_25_msmt17.onnx"),
                ),
            ),
        ),
    ),
    _florence("base", 465_000_000, ModelMemory(processor=measured(1600), gpu=documented(1460))),
    _florence("large", 1_560_000_000, ModelMemory(processor=estimated(3600), gpu=estimated(3600))),
    ModelEntry(
        id="depth-anything-v2-small",
        name="Depth Anything V2 small",
        capability=Capability.DEPTH,
        purpose="Tells what is near and what is far.",
        licence=APACHE,
        memory=ModelMemory(processor=estimated(400), gpu=documented(150)),
        device=DeviceNeed.CPU,
        files=(
            Weights(
                "depth_anything_v2_small.onnx",
                99_060_839,
                "afb6a5c28f3b6bf1618c6e43f02073ef9dfdc70e937502d51603e57b0a1df10c",
                (
                    hub(
                        "onnx-community/depth-anything-v2-small",
                        "onnx/model.onnx",
                        "4472b7362082ad9968fee890ca0f1e5aca36b93d",
                    ),
                ),
            ),
        ),
    ),
)
