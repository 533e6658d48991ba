# SPDX-License-Identifier: AGPL-3.0-or-later
"""The memory that is kept for the language model's process."""

import pytest

from inference_server.core.hardware import GIB, MIB
from inference_server.hardware.analyst import analyst_bytes, reserve_analyst
from inference_server.hardware.budget import GPU, MEMORY, MemoryBudget, ModelMemoryError
from inference_server.hardware.machine import Plan
from inference_server.hardware.probe import probe
from inference_server.hardware.tiers import choose


def _plan(memory: int, gpu: int | None = None) -> Plan:
    hardware = probe()
    room = None if gpu is None else MemoryBudget(GPU, gpu)
    return Plan(hardware, choose(hardware, None), MemoryBudget(MEMORY, memory), room)


def test_a_model_of_the_catalogue_takes_what_that_says_and_another_its_file_and_what_it_reads() -> None:
    assert analyst_bytes("nemotron-3-nano-30b", 7, gpu=True) == 14_700 * MIB
    assert analyst_bytes("nemotron-3-nano-30b", 7, gpu=False) == 26_000 * MIB
    assert analyst_bytes("mine", 10 * GIB, gpu=False) == 11 * GIB + 512 * MIB


async def test_its_memory_is_kept_where_it_runs_and_asking_again_keeps_no_more() -> None:
    plan = _plan(8 * GIB, gpu=8 * GIB)
    assert plan.gpu is not None
    await reserve_analyst(plan, "nemotron-mini-4b", 7, gpu=True)
    await reserve_analyst(plan, "nemotron-mini-4b", 7, gpu=True)
    assert (plan.gpu.use.used, plan.memory.use.used) == (3_600 * MIB, 0)
    await reserve_analyst(plan, "mine", GIB, gpu=False)
    assert [model.name for model in plan.memory.use.models] == ["mine"]


async def test_a_model_that_does_not_fit_names_the_setting_that_helps() -> None:
    with pytest.raises(ModelMemoryError) as full:
        await reserve_analyst(_plan(2 * GIB), "nemotron-mini-4b", 7, gpu=True)
    assert "hardware.memory_bytes" in full.value.remedy
