# SPDX-License-Identifier: AGPL-3.0-or-later
"""Models share the memory of a device: never more than there is, never two of the same, never one that is in use."""

import asyncio
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference_server.core.memory import is_out_of_memory
from inference_server.hardware.budget import GPU, MemoryBudget, ModelMemoryError, ModelSpec
from inference_server.models.errors import ModelUnavailable


class Device:
    """Counts what is loaded, from any thread, and runs out of memory as told."""

    def __init__(self, size: int) -> None:
        """Start empty."""
        self.size = size
        self.loaded: dict[str, int] = {}
        self.loads: list[str] = []
        self.unloads: list[str] = []
        self.failures: list[Exception] = []
        self.most = 0
        self._lock = threading.Lock()

    def spec(self, name: str, size: int = 10, priority: int = 0, *, pinned: bool = False) -> ModelSpec[str]:
        """Return a model of this device."""
        return ModelSpec(
            name=name,
            bytes=size,
            load=lambda: self._load(name, size),
            unload=self._unload,
            priority=priority,
            pinned=pinned,
        )

    def _load(self, name: str, size: int) -> str:
        with self._lock:
            self.loads.append(name)
            if self.failures:
                raise self.failures.pop(0)
            assert name not in self.loaded
            self.loaded[name] = size
            self.most = max(self.most, sum(self.loaded.values()))
        return name

    def _unload(self, name: str) -> None:
        with self._lock:
            self.unloads.append(name)
            del self.loaded[name]


def _names(budget: MemoryBudget) -> list[str]:
    return [model.name for model in budget.use.models]


async def test_a_model_is_loaded_once_for_all_who_want_it_and_stays() -> None:
    device, budget = Device(10), MemoryBudget(GPU, 10)
    spec = device.spec("clip")

    async def use() -> str:
        async with budget.lease(spec) as model:
            await asyncio.sleep(0)
            return model

    assert await asyncio.gather(*(use() for _ in range(20))) == ["clip"] * 20
    assert await use() == "clip"
    assert device.loads == ["clip"]
    (resident,) = budget.use.models
    assert (resident.leases, resident.loading, budget.use.used) == (0, False, 10)


async def test_who_is_least_important_and_then_oldest_leaves_first() -> None:
    device, budget = Device(30), MemoryBudget(GPU, 30)
    for spec in (device.spec("a"), device.spec("important", priority=5), device.spec("b"), device.spec("a")):
        async with budget.lease(spec):
            pass
    async with budget.lease(device.spec("c", priority=1)):
        assert device.unloads == ["b"]
    async with budget.lease(device.spec("large", 20)):
        assert device.unloads == ["b", "a", "c"]
        assert sorted(_names(budget)) == ["important", "large"]
    assert (device.most, budget.use.evictions) == (30, 3)


async def test_a_model_in_use_stays_and_who_wants_its_memory_waits() -> None:
    device, budget = Device(10), MemoryBudget(GPU, 10)
    order: list[str] = []

    async def use(name: str, priority: int) -> None:
        async with budget.lease(device.spec(name, priority=priority)):
            order.append(name)

    async with budget.lease(device.spec("first")):
        waiting = [asyncio.create_task(use("casual", 0)), asyncio.create_task(use("urgent", 9))]
        for _ in range(5):
            await asyncio.sleep(0)
        assert (device.unloads, order) == ([], [])
    await asyncio.gather(*waiting)
    assert order == ["urgent", "casual"]


async def test_two_that_hold_what_the_other_wants_do_not_wait_for_ever() -> None:
    device, budget = Device(20), MemoryBudget(GPU, 20, wait_seconds=0.05)

    async def hold_and_want(held: str, wanted: str) -> None:
        async with budget.lease(device.spec(held)), budget.lease(device.spec(wanted)):
            pass

    both = await asyncio.gather(hold_and_want("a", "c"), hold_and_want("b", "d"), return_exceptions=True)
    assert any(isinstance(error, ModelMemoryError) for error in both)
    assert all(model.leases == 0 for model in budget.use.models)
    async with budget.lease(device.spec("large", 20)) as model:
        assert model == "large"


async def test_what_can_never_fit_is_refused_at_once_with_the_setting() -> None:
    device, budget = Device(100 << 20), MemoryBudget(GPU, 100 << 20)
    assert await budget.acquire(device.spec("detector", 40 << 20, pinned=True)) == "detector"
    with pytest.raises(ModelMemoryError) as refused:
        async with budget.lease(device.spec("llm", 61 << 20)):
            pass
    assert str(refused.value) == (
        "llm needs 61 MiB, and the models on the GPU may take 100 MiB, of which 40 MiB are always in use"
    )
    assert "hardware.gpu_memory_bytes" in refused.value.remedy
    assert isinstance(refused.value, ModelUnavailable)


async def test_a_pinned_model_never_leaves_and_others_cannot_be_acquired() -> None:
    device, budget = Device(20), MemoryBudget(GPU, 20)
    await budget.acquire(device.spec("detector", pinned=True))
    for name in ("a", "b", "c"):
        async with budget.lease(device.spec(name, priority=100)):
            assert sorted(_names(budget)) == sorted(["detector", name])
    with pytest.raises(ValueError, match="a is not pinned"):
        await budget.acquire(device.spec("a"))


async def test_when_memory_runs_out_idle_models_leave_and_it_is_tried_once_more() -> None:
    device, budget = Device(100), MemoryBudget(GPU, 100)
    async with budget.lease(device.spec("idle")), budget.lease(device.spec("used")):
        pass
    async with budget.lease(device.spec("used")):
        device.failures = [RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")]
        async with budget.lease(device.spec("next")) as model:
            assert model == "next"
        assert device.unloads == ["idle"]
        device.failures = [MemoryError(), RuntimeError("BFCArena: Failed to allocate memory for requested buffer")]
        with pytest.raises(ModelMemoryError, match="does not fit into the memory of the GPU") as refused:
            async with budget.lease(device.spec("too much")):
                pass
        assert "choose a smaller one" in refused.value.remedy
        assert _names(budget) == ["used"]


async def test_a_load_that_fails_otherwise_is_told_to_all_and_leaves_nothing() -> None:
    device, budget = Device(10), MemoryBudget(GPU, 10)
    device.failures = [ValueError("no such file")]

    async def use() -> str:
        async with budget.lease(device.spec("broken")) as model:
            return model

    errors = await asyncio.gather(*(use() for _ in range(3)), return_exceptions=True)
    assert [str(error) for error in errors] == ["no such file"] * 3
    assert (device.loads, budget.use.models) == (["broken"], ())
    assert await use() == "broken"


async def test_the_devices_own_account_counts_too() -> None:
    free = [5]
    device, budget = Device(100), MemoryBudget(GPU, 100, free=lambda: free[0])
    with pytest.raises(ModelMemoryError, match="other programs use the rest"):
        async with budget.lease(device.spec("clip")):
            pass
    free[0] = 10
    async with budget.lease(device.spec("clip")):
        pass
    free[0] = 3  # an idle model leaves before anybody is refused
    with pytest.raises(ModelMemoryError, match="other programs"):
        async with budget.lease(device.spec("next")):
            pass
    assert device.unloads == ["clip"]


async def test_who_gives_up_waiting_is_forgotten() -> None:
    device, budget = Device(10), MemoryBudget(GPU, 10)

    async def use(name: str) -> None:
        async with budget.lease(device.spec(name)):
            pass

    async with budget.lease(device.spec("held")):
        waiting = asyncio.create_task(use("unwanted"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await use("other")
    assert device.loads == ["held", "other"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA failure 2: cudaErrorMemoryAllocation; CUDA_ERROR_OUT_OF_MEMORY"), True),
        (RuntimeError("std::bad_alloc"), True),
        (ValueError("no such file"), False),
    ],
)
def test_running_out_of_memory_is_known_by_its_words(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected
    outer = RuntimeError("the trial run failed")
    outer.__cause__ = error
    assert is_out_of_memory(outer) is expected


NAMES = "abcdef"
SIZES = st.fixed_dictionaries({name: st.integers(1, 12) for name in NAMES})
USES = st.lists(
    st.tuples(st.sampled_from(NAMES), st.integers(0, 2), st.integers(0, 3), st.booleans()), min_size=1, max_size=25
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sizes=SIZES, uses=USES, size=st.integers(8, 30), failures=st.integers(0, 3), pinned=st.booleans())
def test_whatever_is_wanted_the_budget_holds_and_everybody_comes_to_an_end(
    sizes: dict[str, int], uses: list[tuple[str, int, int, bool]], size: int, failures: int, pinned: bool
) -> None:
    """Never over the budget, no lease lost, nobody hangs; who is cancelled leaves nothing behind."""
    device = Device(size)
    device.failures = [RuntimeError("out of memory") for _ in range(failures)]

    async def main() -> None:
        budget = MemoryBudget(GPU, size, wait_seconds=20)
        in_use: dict[str, int] = {}

        async def use(name: str, priority: int, turns: int) -> None:
            spec = device.spec(name, sizes[name], priority, pinned=pinned and name == "a")
            async with budget.lease(spec) as model:
                in_use[name] = in_use.get(name, 0) + 1
                for _ in range(turns):
                    await asyncio.sleep(0)
                    assert model == name
                    assert name in device.loaded
                    assert budget.use.used <= size
                in_use[name] -= 1

        tasks = []
        for name, priority, turns, cancelled in uses:
            tasks.append(task := asyncio.create_task(use(name, priority, turns)))
            await asyncio.sleep(0)
            if cancelled:
                task.cancel()
        async with asyncio.timeout(30):
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(end) for end in ended} <= {type(None), asyncio.CancelledError, ModelMemoryError}
        assert not any("found no room" in str(end) for end in ended)
        async with asyncio.timeout(10):  # what was begun for somebody who gave up comes to its end
            while {model.name: model.bytes for model in budget.use.models} != device.loaded:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert all(model.leases == 0 for model in budget.use.models)

    asyncio.run(main())
    assert device.most <= size
