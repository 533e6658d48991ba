# SPDX-License-Identifier: AGPL-3.0-or-later
"""One of several GPUs is used, by everything alike, and a choice that cannot be met is said."""

from dataclasses import replace

import pytest
from pydantic import ValidationError

from inference_server.core.hardware import GIB, TierName
from inference_server.doctor.machine import gpu as look_at_gpus
from inference_server.hardware import machine as machine_module
from inference_server.hardware.gpu_choice import VISIBLE, with_chosen_gpu
from inference_server.hardware.machine import Machine
from inference_server.hardware.tiers import choose
from inference_server.observability.health import HealthBoard, HealthState
from inference_server.settings import HardwareSettings
from tests.support.gpus import CUDA_RUNTIME, FakeGpus, card, hardware
from tests.support.home import MovableClock

SMALL = replace(card(12, "small"), index=0, uuid="GPU-aaaa1111")
LARGE = replace(card(24, "large"), index=1, uuid="GPU-bbbb2222")
BOTH = hardware(SMALL, LARGE, runtime=CUDA_RUNTIME)
ONE = hardware(SMALL, runtime=CUDA_RUNTIME)


@pytest.mark.parametrize(
    ("found", "wanted", "given", "used", "seen"),
    [
        (BOTH, None, None, LARGE, "GPU-bbbb2222"),
        (BOTH, "0", None, SMALL, "GPU-aaaa1111"),
        (BOTH, "GPU-AAAA", None, SMALL, "GPU-aaaa1111"),
        (BOTH, "1", "GPU-aaaa1111", LARGE, "GPU-bbbb2222"),
        (BOTH, None, "GPU-aaaa1111", SMALL, "GPU-aaaa1111"),
        (BOTH, None, "0,1", SMALL, "0,1"),
        (BOTH, "7", None, None, "-1"),
        (BOTH, "GPU-cccc", None, None, "-1"),
        (ONE, None, None, SMALL, None),
        (ONE, "1", None, None, "-1"),
        (hardware(), None, None, None, None),
    ],
)
def test_everything_sees_the_chosen_gpu_alone(
    found: object, wanted: str | None, given: str | None, used: object, seen: str | None
) -> None:
    environment = {} if given is None else {VISIBLE: given}
    assert isinstance(found, type(BOTH))
    chosen = with_chosen_gpu(found, wanted, environment)
    assert (chosen.best_gpu, environment.get(VISIBLE)) == (used, seen)
    assert with_chosen_gpu(found, wanted, environment).best_gpu == used, "looking again changes nothing"


@pytest.mark.parametrize("name", ["", "first", "GPU-", "-1", "0,1", "GPU-zzzz", "9999"])
def test_what_names_no_gpu_is_no_setting(name: str) -> None:
    with pytest.raises(ValidationError, match="gpu"):
        HardwareSettings(gpu=name)


def test_the_doctor_says_which_one_is_used_or_which_there_are() -> None:
    told = [finding.found for finding in look_at_gpus(with_chosen_gpu(BOTH, "0", {}))]
    assert any("small (0, GPU-aaaa1111) is the one that is used" in found for found in told)
    missing = with_chosen_gpu(BOTH, "7", {})
    (problem,) = [finding for finding in look_at_gpus(missing) if "no GPU is called 7" in finding.found]
    assert "1 (large, GPU-bbbb2222)" in problem.found
    chosen = choose(missing, None)
    assert (chosen.tier.name, "no GPU is called 7" in chosen.reason) == (TierName.CPU, True)


@pytest.mark.parametrize(
    ("wanted", "state", "budget"), [("0", HealthState.OK, 11 * GIB), ("7", HealthState.DEGRADED, 0)]
)
async def test_the_server_uses_it_and_health_says_so(
    monkeypatch: pytest.MonkeyPatch, wanted: str, state: HealthState, budget: int
) -> None:
    monkeypatch.setattr(machine_module, "probe", lambda _open: BOTH)
    clock, environment = MovableClock(), dict[str, str]()
    board = HealthBoard(clock)
    settings = HardwareSettings(gpu=wanted)
    made = Machine(settings, board, clock, open_gpus=FakeGpus(SMALL), environment=environment)
    plan = await made.plan()
    await made.look()
    health = next(one for one in board.components if one.name == "gpu")
    assert (health.state, plan.gpu.budget if plan.gpu else 0) == (state, budget)
    assert environment[VISIBLE] == ("GPU-aaaa1111" if budget else "-1")
    assert budget or "no GPU is called 7" in (health.last_error or "")
