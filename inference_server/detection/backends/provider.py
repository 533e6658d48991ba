# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a provider's name tells: the kind of processor, the library, and how many pictures at a time suit it."""

CUDA = "cuda"
GPU_BATCH = 8
"""Pictures per inference on an NVIDIA GPU: most of what batching gains, at little wait and memory."""

_KINDS = {"cuda": CUDA, "tensorrt": CUDA, "gpu": "gpu", "npu": "npu", "cpu": "cpu"}


def device_of(provider: str) -> str:
    """Return the kind of processor: cuda (NVIDIA), gpu, npu (Intel), cpu, or else the provider's own name."""
    name = provider.lower()
    return next((kind for part, kind in _KINDS.items() if part in name), provider)


def engine_of(provider: str) -> str:
    """Return the library."""
    return "ONNX Runtime" if provider.endswith("ExecutionProvider") else provider.partition(" ")[0]


def batch_of(provider: str) -> int:
    """Return how many pictures at a time suit it, where the settings do not say: a processor's caches like one best."""
    return GPU_BATCH if device_of(provider) == CUDA else 1
