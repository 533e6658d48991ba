# SPDX-License-Identifier: AGPL-3.0-or-later
"""Judging: who judges pictures now, if anybody does. Loads the detector, exchanges it, and tells everybody of changes.

There is a detector on this machine, one on another machine, or both. The one elsewhere comes first; the one here stands
in for it while it is down.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from inference_server.core.signal import Signal
from inference_server.core.status import DetectorState, DetectorStatus
from inference_server.detection.backends.opening import Opened
from inference_server.detection.detector import Detector
from inference_server.detection.errors import DetectorUnusable
from inference_server.models.errors import ModelUnavailable
from inference_server.models.store import ResolvedModel
from inference_server.observability.health import Detail, HealthBoard, HealthState
from inference_server.pipeline.breaker import CircuitBreaker
from inference_server.pipeline.fitting import FittingDetector

_LOGGER = logging.getLogger(__name__)

TRY_AGAIN_SECONDS = 60.0
MAKE_ROOM_SECONDS = 10.0
REMOTE_FAILURES = 3
"""Failures in a row after which a detector elsewhere is left alone, where another one stands in for it."""


@dataclass(frozen=True, slots=True)
class Service:
    """A detector and the breaker before it."""

    detector: Detector
    breaker: CircuitBreaker


type Open = Callable[[ResolvedModel], Awaitable[Opened]]
"""Opens a detector where there is memory for it. Raises ModelUnavailable, DetectorUnusable."""


async def _nothing_to_unload() -> None:
    return


class Judging:
    """Holds the detectors and their common status."""

    def __init__(
        self,
        health: HealthBoard,
        changed: Signal,
        *,
        remote: bool = False,
        local: bool = True,
        make_room: Callable[[], Awaitable[None]] = _nothing_to_unload,
    ) -> None:
        """Start without a detector; `changed` is notified with every new status.

        `remote` and `local` say which ones are to come: one elsewhere, one on this machine. `make_room` unloads the
        models that nobody uses, when memory runs out.
        """
        self._make_room = make_room
        self._smaller: str | None = None
        self._opened_message: str | None = None
        self._here: FittingDetector | None = None
        self._health = health
        self.changed = changed
        self._expects_remote = remote
        self._expects_local = local
        self._local: Service | None = None
        self._model: ResolvedModel | None = None
        self._local_status = DetectorStatus(DetectorState.STARTING)
        self._remote: Service | None = None
        self._remote_error: str | None = None
        self._loaded = asyncio.Event()
        self._told: tuple[DetectorState, bool, str | None] | None = None
        self.breaker = CircuitBreaker("detector", self._breaker_moved)
        """Of whoever judges last: when it is open, nobody judges."""
        self.remote_breaker = (
            CircuitBreaker("detector", self._breaker_moved, failures=REMOTE_FAILURES) if local else self.breaker
        )
        self._report()

    @property
    def services(self) -> tuple[Service, ...]:
        """The detectors that there are; each stands in for the one before it."""
        return tuple(service for service in (self._remote, self._local) if service is not None)

    @property
    def status(self) -> DetectorStatus:
        """How it is: down also while all detectors are left alone because they failed again and again."""
        if self._remote is not None and self._remote.breaker.is_closed:
            detector = self._remote.detector
            return DetectorStatus(DetectorState.OK, "remote", detector.name, provider=detector.provider)
        if self._local is not None and self._local.breaker.is_closed:
            return self._stand_in() if self._expects_remote else self._local_status
        if self.services:
            error = (self.services[-1].breaker.last_error or "").rstrip(".")
            message = f"The detector fails: {error}. It is tried again by itself."
            return replace(self._local_status, state=DetectorState.DOWN, message=message)
        if self._remote_error is None or (self._local_status.state is not DetectorState.DOWN and self._expects_local):
            return self._local_status
        messages = [self._remote_error, self._local_status.message]
        return DetectorStatus(DetectorState.DOWN, message=" ".join(filter(None, messages)))

    def _stand_in(self) -> DetectorStatus:
        """Return the status while the detector on this machine stands in for the one elsewhere."""
        error = self._remote.breaker.last_error if self._remote else self._remote_error
        name = self._local_status.name
        message = (
            f"{error or 'The detector service was not reached yet.'} "
            f"{name} on this machine judges meanwhile; the other one is tried again by itself."
        )
        return replace(self._local_status, fallback=True, message=message)

    @property
    def loaded(self) -> FittingDetector | None:
        """The detector of this machine, if there is one already."""
        return self._here

    def _breaker_moved(self) -> None:
        self._report()
        self._tell()
        self.changed.notify()

    def _tell(self) -> None:
        """Log who judges, when that has changed."""
        status = self.status
        if self._told == (told := (status.state, status.fallback, status.provider)):
            return
        self._told = told
        if not status.judges:
            _LOGGER.error("The detector is left alone for a while: %s", status.message)
        elif not status.is_wanted:
            _LOGGER.warning("%s", status.message)
        else:
            _LOGGER.info("%s judges on %s", status.name, status.provider)

    async def detector(self) -> Detector:
        """Return the first detector, as soon as there is one."""
        await self._loaded.wait()
        return self.services[0].detector

    async def ready(self) -> None:
        """Return once there is a detector that works, or may be tried."""
        await self._loaded.wait()
        while not await self._first_ready():
            pass

    async def _first_ready(self) -> bool:
        """Wait for a detector to be ready; return False when the detectors changed before one was."""
        changing = asyncio.ensure_future(self.changed.wait(self.changed.count))
        waiting = [asyncio.ensure_future(service.breaker.ready()) for service in self.services]
        try:
            done, _ = await asyncio.wait([changing, *waiting], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (changing, *waiting):
                each.cancel()
        return any(each in done for each in waiting)

    async def model(self) -> ResolvedModel:
        """Return the model that is used on this machine, as soon as there is one."""
        while self._model is None:
            await self.changed.wait(self.changed.count)
        return self._model

    async def another_model(self, than: ResolvedModel) -> None:
        """Return once this machine uses another model."""
        while self._model is than:
            await self.changed.wait(self.changed.count)

    async def load(
        self,
        resolve: Callable[[], Awaitable[ResolvedModel]],
        open_model: Open,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Load the detector of this machine, trying again until it works.

        `pause` waits so many seconds at most before it is tried again.
        """
        while self._local is None:
            try:
                model = await resolve()
                opened = await open_model(model)
            except (ModelUnavailable, DetectorUnusable) as error:
                self._fail(error)
                await pause(TRY_AGAIN_SECONDS)
            else:
                self._use(model, opened)

    def exchange(self, opened: Opened, model: ResolvedModel | None = None) -> None:
        """Go on with another detector, for the same model unless there is one. Pictures under way end on the old one.

        May be called once this machine has a detector.
        """
        if self._model is None:
            raise RuntimeError("there is no detector yet that could be exchanged")
        self._use(model or self._model, opened)

    def reached(self, detector: Detector) -> None:
        """Note that the detector elsewhere answers for the first time: from now on it judges."""
        _LOGGER.info("Detector service ready: %s on %s", detector.name, detector.provider)
        self._remote_error = None
        self._remote = Service(detector, self.remote_breaker)
        self._there_is_one()

    def missed(self, error: str) -> None:
        """Note that the detector elsewhere did not answer so far, and why."""
        if error != self._remote_error:
            _LOGGER.error("No detector elsewhere: %s", error)
        self._remote_error = error
        self._report()
        self.changed.notify()

    def _use(self, model: ResolvedModel, opened: Opened) -> None:
        detector, shortfall = opened.detector, opened.shortfall
        messages = [model.message, shortfall.message(detector.provider) if shortfall else None]
        loop = asyncio.get_running_loop()
        self._here = FittingDetector(
            detector,
            opened.batch,
            make_room=partial(self._make_room_from_a_thread, loop),
            shrunk=partial(self._tell_from_a_thread, loop, detector.provider),
        )
        self._smaller = None
        self._opened_message = " ".join(message for message in messages if message) or None
        self._model, self._local = model, Service(self._here, self.breaker)
        self._local_status = DetectorStatus(
            DetectorState.OK,
            model.model_id,
            model.name,
            model.fallback,
            detector.provider,
            self._opened_message,
            shortfall.wanted if shortfall else None,
        )
        _LOGGER.info("Detector ready: %s on %s, %d px", model.name, detector.provider, detector.input_size)
        self._there_is_one()

    def _make_room_from_a_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        """Unload idle models and wait for it, on the thread of an inference."""
        try:
            asyncio.run_coroutine_threadsafe(_awaited(self._make_room), loop).result(MAKE_ROOM_SECONDS)
        except (TimeoutError, CancelledError, RuntimeError) as error:  # it stops, or a model does not end
            _LOGGER.warning("Idle models could not be unloaded: %s", str(error) or type(error).__name__)

    def _tell_from_a_thread(self, loop: asyncio.AbstractEventLoop, provider: str, batch: int, reason: str) -> None:
        with suppress(RuntimeError):  # it stops
            loop.call_soon_threadsafe(self._shrunk, provider, batch, reason)

    def _shrunk(self, provider: str, batch: int, reason: str) -> None:
        self._smaller = f"Memory ran out on {provider} ({reason}): {batch} picture(s) are inferred at a time since."
        remedy = f"End what else uses its memory, or set detector.max_batch to {batch}."
        message = " ".join(filter(None, (self._opened_message, self._smaller, remedy)))
        self._local_status = replace(self._local_status, message=message)
        self._report()
        self.changed.notify()

    def _there_is_one(self) -> None:
        self._report()
        self._tell()
        self._loaded.set()
        self.changed.notify()

    def _fail(self, error: ModelUnavailable | DetectorUnusable) -> None:
        remedy = error.remedy if isinstance(error, ModelUnavailable) else "Choose another model file."
        message = f"{str(error).rstrip('.')}. {remedy}"
        _LOGGER.error("No detector: %s Trying again in %d s.", message, TRY_AGAIN_SECONDS)
        self._local_status = DetectorStatus(DetectorState.DOWN, message=message)
        self._report()
        self.changed.notify()

    def _report(self) -> None:
        status = self.status
        by_service = self._remote is not None and self._remote.breaker.is_closed
        stands_in = self._expects_remote and status.judges and not by_service
        who = "detector service" if by_service else "this machine" if stands_in else "nobody"
        details: dict[str, Detail] = {"judged_by": who} if self._expects_remote else {}
        if self._here is not None:
            details["batch"] = self._here.batch
        error = status.message if status.state is DetectorState.DOWN or stands_in else None
        smaller = self._smaller if status.judges else None
        self._health.report(
            "detector",
            HealthState.DEGRADED if smaller and _health_of(status) is HealthState.OK else _health_of(status),
            last_error=" ".join(filter(None, (error, smaller))) or None,
            still_works=_still_works(status) or ("Pictures are judged, fewer at a time." if smaller else None),
            remedy=status.message,
            model=status.model,
            provider=status.provider,
            wanted=status.wanted_provider,
            fallback=status.fallback,
            breaker=self.remote_breaker.state.value if self._expects_remote else self.breaker.state.value,
            **details,
        )


async def _awaited(work: Callable[[], Awaitable[None]]) -> None:
    await work()


def _health_of(status: DetectorStatus) -> HealthState:
    if status.state is DetectorState.DOWN:
        return HealthState.DOWN
    return HealthState.DEGRADED if not (status.is_wanted and status.judges) else HealthState.OK


def _still_works(status: DetectorStatus) -> str | None:
    if not status.judges:
        return "Pictures are admitted and wait; they are judged when the detector is there."
    return "Pictures are judged, by another detector than the wanted one." if status.fallback else None
