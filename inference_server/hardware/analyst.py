# SPDX-License-Identifier: AGPL-3.0-or-later
"""The language model's place in the memory: it runs in a process of its own, for which room is kept here."""

from inference_server.core.hardware import MIB
from inference_server.hardware.budget import ModelSpec
from inference_server.hardware.machine import Plan
from inference_server.models.catalogue import CATALOGUE, memory_of

PRIORITY = 50
"""Pictures are judged before they are explained."""
_BESIDE_THE_WEIGHTS = 512 * MIB
"""What is read and the state after it, at some thousand tokens."""


def analyst_bytes(model_id: str, size: int, *, gpu: bool) -> int:
    """Return what a language model takes: as the catalogue says, else its file of so many bytes and what it reads."""
    if any(entry.id == model_id for entry in CATALOGUE):
        return memory_of(model_id).on(gpu=gpu).bytes
    return size + size // 10 + _BESIDE_THE_WEIGHTS


async def reserve_analyst(plan: Plan, model_id: str, size: int, *, gpu: bool) -> None:
    """Keep the memory of a model of so many bytes, on the GPU if it may use one. Raises ModelMemoryError."""
    budget = plan.gpu if gpu and plan.gpu is not None else plan.memory
    needed = analyst_bytes(model_id, size, gpu=budget is plan.gpu)
    await budget.acquire(ModelSpec(name=model_id, bytes=needed, load=lambda: model_id, priority=PRIORITY, pinned=True))
