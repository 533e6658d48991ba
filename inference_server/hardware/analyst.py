# SPDX-License-Identifier: AGPL-3.0-or-later
"""The language model's place in the memory: it runs in a process of its own, for which room is kept here."""

from inference_server.hardware.budget import ModelSpec
from inference_server.hardware.machine import Plan
from inference_server.hardware.needs import need_of

PRIORITY = 50
"""Pictures are judged before they are explained."""


async def reserve_analyst(plan: Plan, model_id: str, size: int, *, gpu: bool) -> None:
    """Keep the memory of a model of so many bytes, on the GPU if it may use one. Raises ModelMemoryError."""
    budget = plan.for_models if gpu else plan.memory
    need = need_of(model_id, size, on_gpu=budget is plan.gpu)
    await budget.acquire(
        ModelSpec(name=model_id, bytes=need.bytes, load=lambda: model_id, priority=PRIORITY, pinned=True)
    )
