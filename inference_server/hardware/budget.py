# SPDX-License-Identifier: AGPL-3.0-or-later
"""The memory that the models of one device share: loaded on demand, reserved before, and given up by priority and age.

A model is loaded once for all who want it. Whoever uses it holds a lease, and a model with a lease never leaves. Where
there is no room, idle models leave: of the lowest priority first, of these the one that was used longest ago. Who still
finds no room waits for leases to end, the highest priority first, and gives up after a while with a clear error: so two
that hold what the other one wants do not wait for ever.
"""

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from inference_server.core.hardware import MIB, MemoryUse, ResidentModel
from inference_server.core.memory import is_out_of_memory
from inference_server.core.signal import Signal
from inference_server.models.errors import ModelUnavailable

_LOGGER = logging.getLogger(__name__)

WAIT_SECONDS = 60.0


class ModelMemoryError(ModelUnavailable):
    """There is no memory for a model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec[Model]:
    """A model that can be loaded. `load` and `unload` block and run on a worker thread.

    `name` is what tells models apart. A pinned model stays, once it is loaded. `bytes` is the most that it takes.
    """

    name: str
    bytes: int
    load: Callable[[], Model]
    unload: Callable[[Model], object] = lambda _model: None
    priority: int = 0
    pinned: bool = False


@dataclass(slots=True, eq=False)
class _Slot:
    """A model that has its memory reserved."""

    spec: ModelSpec[Any]
    used_at: int
    leases: int = 0
    model: Any = None
    loaded: bool = False
    leaving: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    priority: int
    number: int


class _AbandonedError(Exception):
    """Nobody wants the model any more for which room was to be made."""


@dataclass(slots=True)
class MemoryBudget:
    """The memory of one device. All methods belong to one event loop.

    `free` returns how many bytes the device itself says are free, None where it does not say; it blocks. `changed` is
    called whenever a model begins to load, is loaded or is gone.
    """

    device: str
    budget: int
    free: Callable[[], int | None] = lambda: None
    changed: Callable[[], None] = lambda: None
    wait_seconds: float = WAIT_SECONDS
    _slots: dict[str, _Slot] = field(default_factory=dict)
    _loads: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _wanted: Counter[str] = field(default_factory=Counter)
    _waiting: list[_Waiter] = field(default_factory=list)
    _departures: set[asyncio.Task[None]] = field(default_factory=set)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _moved: Signal = field(default_factory=Signal)
    _evictions: int = 0

    @property
    def use(self) -> MemoryUse:
        """What is reserved now, and by which models."""
        models = (
            ResidentModel(
                name, slot.spec.bytes, slot.spec.priority, slot.spec.pinned, slot.leases, loading=not slot.loaded
            )
            for name, slot in self._slots.items()
        )
        return MemoryUse(self.device, self.budget, tuple(models), self._evictions)

    @asynccontextmanager
    async def lease[Model](self, spec: ModelSpec[Model]) -> AsyncIterator[Model]:
        """Give a model, loading it, for as long as the context lasts.

        Raises ModelMemoryError where there is no room for it, and whatever `load` raises.
        """
        self._wanted[spec.name] += 1  # from here on it does not leave before it was used
        try:
            slot = await self._leased(spec)
        finally:
            self._wanted[spec.name] -= 1
            self._moved.notify()
        try:
            yield slot.model
        finally:
            slot.leases -= 1
            slot.used_at = next(self._numbers)
            self._tell()

    async def acquire[Model](self, spec: ModelSpec[Model]) -> Model:
        """Return a pinned model, loading it; it stays until it is released. Raises as `lease` does, ValueError."""
        if not spec.pinned:
            raise ValueError(f"{spec.name} is not pinned: use lease, or it may leave while it is used")
        async with self.lease(spec) as model:
            return model

    def release(self, name: str) -> None:
        """Give back the memory of a pinned model that is gone already. What is not there is no error."""
        slot = self._slots.get(name)
        if slot is not None and slot.loaded and slot.spec.pinned:
            del self._slots[name]
            self._tell()

    async def unload_idle(self) -> None:
        """Let every model leave that nobody uses now."""
        while idle := self._idle():
            await self._evict(idle[0])

    async def _leased(self, spec: ModelSpec[Any]) -> _Slot:
        """Return the model's slot, loaded and with one lease more."""
        while True:
            self._check_that_it_can_fit(spec)
            seen = self._moved.count
            slot = self._slots.get(spec.name)
            if slot is not None and slot.loaded and not slot.leaving:
                slot.leases += 1
                return slot
            if slot is not None and slot.leaving:
                await self._moved.wait(seen)
                continue
            load = self._loads.get(spec.name)
            if load is None:
                load = self._loads[spec.name] = asyncio.create_task(self._load(spec))
                load.add_done_callback(lambda done: done.cancelled() or done.exception())  # perhaps nobody waits
            await asyncio.wait({load})  # which goes on when this call is cancelled
            with suppress(_AbandonedError):
                load.result()

    async def _load(self, spec: ModelSpec[Any]) -> None:
        """Reserve the memory and load a model, once more with all other idle models gone if memory runs out."""
        try:
            slot = await self._reserved(spec)
            try:
                slot.model = await self._loaded(spec)
            except BaseException:
                del self._slots[spec.name]
                raise
            slot.loaded = True
        finally:
            del self._loads[spec.name]
            self._tell()
        _LOGGER.info("Loaded %s: %d MiB of %s", spec.name, spec.bytes // MIB, self.device)

    async def _loaded(self, spec: ModelSpec[Any]) -> Any:
        try:
            return await asyncio.to_thread(spec.load)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error)
        _LOGGER.warning("No memory for %s on %s (%s); trying again without idle models", spec.name, self.device, reason)
        await self.unload_idle()
        try:
            return await asyncio.to_thread(spec.load)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise ModelMemoryError(
                f"{spec.name} does not fit into the memory of {self.device} ({error})",
                "Other programs use it too, or the model is too large: end them, or choose a smaller one.",
            ) from error

    async def _reserved(self, spec: ModelSpec[Any]) -> _Slot:
        """Return a slot whose memory is reserved, making room in turn. Raises ModelMemoryError, _AbandonedError."""
        waiter = _Waiter(spec.priority, next(self._numbers))
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(self.wait_seconds):
                while self._wanted[spec.name]:
                    self._check_that_it_can_fit(spec)
                    seen = self._moved.count
                    if waiter is self._next and await self._make_room(spec):
                        slot = self._slots[spec.name] = _Slot(spec, next(self._numbers))
                        return slot
                    await self._moved.wait(seen)
        except TimeoutError as error:
            raise self._too_busy(spec) from error
        finally:
            self._waiting.remove(waiter)
            self._tell()
        raise _AbandonedError

    @property
    def _next(self) -> _Waiter:
        return min(self._waiting, key=lambda waiter: (-waiter.priority, waiter.number))

    async def _make_room(self, spec: ModelSpec[Any]) -> bool:
        """Return whether there is room for a model, after as many idle ones left as had to. Raises ModelMemoryError."""
        while self._room() < spec.bytes:
            idle = self._idle()
            if self._room() + sum(slot.spec.bytes for slot in idle) < spec.bytes:
                return False
            await self._evict(idle[0])
        while not await self._is_really_free(spec):
            if idle := self._idle():
                await self._evict(idle[0])
            elif any(slot.leaving or not slot.loaded or not slot.spec.pinned for slot in self._slots.values()):
                return False
            else:
                raise ModelMemoryError(
                    f"{spec.name} needs {spec.bytes // MIB} MiB of {self.device}, and other programs use the rest",
                    "End what else uses it, or choose a smaller model.",
                )
        return self._room() >= spec.bytes

    def _idle(self) -> list[_Slot]:
        """Return the models that may leave, the first one to go first."""
        idle = [
            slot
            for slot in self._slots.values()
            if slot.loaded
            and not (slot.leaving or slot.leases or slot.spec.pinned)
            and not self._wanted[slot.spec.name]
        ]
        return sorted(idle, key=lambda slot: (slot.spec.priority, slot.used_at))

    def _room(self) -> int:
        return self.budget - sum(slot.spec.bytes for slot in self._slots.values())

    async def _is_really_free(self, spec: ModelSpec[Any]) -> bool:
        """Return whether the device has the memory too, beside what models that are being loaded will still take."""
        free = await asyncio.to_thread(self.free)
        loading = sum(slot.spec.bytes for slot in self._slots.values() if not slot.loaded)
        return free is None or free - loading >= spec.bytes

    async def _evict(self, slot: _Slot) -> None:
        """Unload a model, to the end even if whoever wants its memory gives up meanwhile."""
        slot.leaving = True
        self._evictions += 1
        _LOGGER.info("%s leaves %s: its memory is wanted", slot.spec.name, self.device)
        departure = asyncio.create_task(self._unload(slot))
        self._departures.add(departure)
        departure.add_done_callback(self._departures.discard)
        await asyncio.wait({departure})

    async def _unload(self, slot: _Slot) -> None:
        model, slot.model = slot.model, None
        try:
            await asyncio.to_thread(slot.spec.unload, model)
        except Exception:
            _LOGGER.exception("%s could not be unloaded cleanly", slot.spec.name)
        finally:
            del model, self._slots[slot.spec.name]
            self._tell()

    def _tell(self) -> None:
        self._moved.notify()
        self.changed()

    def _pinned_beside(self, name: str) -> int:
        return sum(slot.spec.bytes for slot in self._slots.values() if slot.spec.pinned and slot.spec.name != name)

    def _check_that_it_can_fit(self, spec: ModelSpec[Any]) -> None:
        """Raise ModelMemoryError for a model that would not even fit if all others left that can leave."""
        pinned = self._pinned_beside(spec.name)
        if spec.bytes <= self.budget - pinned:
            return
        kept = f", of which {pinned // MIB} MiB are always in use" if pinned else ""
        raise ModelMemoryError(
            f"{spec.name} needs {spec.bytes // MIB} MiB, and the models on {self.device} may take "
            f"{self.budget // MIB} MiB{kept}",
            f"Choose a smaller model, or raise {setting_of(self.device)}.",
        )

    def _too_busy(self, spec: ModelSpec[Any]) -> ModelMemoryError:
        used = ", ".join(name for name, slot in self._slots.items() if slot.leases or slot.spec.pinned)
        return ModelMemoryError(
            f"{spec.name} found no room on {self.device} within {self.wait_seconds:.0f} s: {used or 'others'} use it",
            f"Use fewer models at a time, or raise {setting_of(self.device)}.",
        )


GPU, MEMORY = "the GPU", "the memory"
"""The devices, as they are called in sentences."""


def setting_of(device: str) -> str:
    """Return the setting that bounds a device."""
    return "hardware.gpu_memory_bytes" if device == GPU else "hardware.memory_bytes"
