# SPDX-License-Identifier: AGPL-3.0-or-later
"""The analyst: holds the language model, opens it again when it is gone, and tells how it is."""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from enum import StrEnum
from statistics import median

from inference_server.core.signal import Signal
from inference_server.core.status import AnalystState, AnalystStatus
from inference_server.models.errors import ModelUnavailable
from inference_server.observability.health import HealthBoard, HealthState
from inference_server.pipeline.breaker import CircuitBreaker, ServiceDownError
from inference_server.risk.analyst.language_model import (
    BadAnswer,
    LanguageAnswer,
    LanguageModel,
    LanguageRequest,
    ModelDown,
    ModelError,
    ModelState,
    Refused,
    TimedOut,
)
from inference_server.risk.analyst.opening import NoModel

_LOGGER = logging.getLogger(__name__)

SERVICE = "analyst"
FIRST_DELAY_SECONDS = 5.0
LONGEST_DELAY_SECONDS = 60.0
TIMES_KEPT = 101
"""Answers from whose times the median is taken."""

type OpenModel = Callable[[], Awaitable[LanguageModel | NoModel]]
"""Returns the model that the settings mean, not yet loaded. Raises ModelUnavailable."""


class Counted(StrEnum):
    """What the analyst counts, since the start."""

    ANSWERED = "answered"
    REPAIRED = "repaired"
    """Verdicts in which something had to be put right."""
    REFUSED = "refused"
    """Events whose answers could not be used: the rules' assessment stands."""
    SUPERSEDED = "superseded"
    """Answers for which it was too late: the event had changed."""
    TOO_OLD = "too old"
    """Events that waited for too long."""


class Analyst:
    """Implements what the stage needs: `ready`, `ask` and whether there is anybody to ask at all."""

    def __init__(
        self,
        open_model: OpenModel,
        health: HealthBoard,
        changed: Signal,
        *,
        expected: bool,
        first_delay_seconds: float = FIRST_DELAY_SECONDS,
    ) -> None:
        """Take how the model is opened; `changed` is notified with each new status.

        `expected` says whether there surely is to be one; else that is known once the machine was looked at.
        """
        self._open_model = open_model
        self._health = health
        self._changed = changed
        self._first_delay = first_delay_seconds
        self._delay = first_delay_seconds
        self._model: LanguageModel | None = None
        self._wanted = expected
        self._status = AnalystStatus(AnalystState.STARTING if expected else AnalystState.OFF)
        self._remedy = ""
        self._reason: str | None = None
        self._told: AnalystStatus | None = None
        self._refusal: str | None = None
        self._moved = Signal()
        self._try_at = 0.0
        self._answers = 0
        self._seconds: deque[float] = deque(maxlen=TIMES_KEPT)
        self.breaker = CircuitBreaker(SERVICE, self._report)
        self.counts: Counter[Counted] = Counter()
        self.waiting = 0
        """How many events wait, as `note_waiting` was told."""
        if expected:
            self._report()

    @property
    def wanted(self) -> bool:
        """Whether events are to be explained, now or as soon as the model answers."""
        return self._wanted

    @property
    def status(self) -> AnalystStatus:
        """How it is."""
        if self._status.state is AnalystState.OK and not self.breaker.is_closed:
            message = f"The analyst fails: {self.breaker.last_error} It is tried again by itself."
            return replace(self._status, state=AnalystState.DOWN, message=message)
        return self._status

    @property
    def sees_pictures(self) -> bool:
        """Whether the model in use sees pictures."""
        return self._model is not None and self._model.status.sees_pictures

    @property
    def answers(self) -> int:
        """How many requests were answered, well or badly."""
        return self._answers

    async def run(self) -> None:
        """Keep the model open until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            if self._status.state is AnalystState.OK:
                await self._moved.wait(self._moved.count)
            elif (pause := self._try_at - loop.time()) > 0:
                await asyncio.sleep(pause)
            else:
                await self._try_to_open()

    async def close(self) -> None:
        """Let go of the model."""
        model, self._model = self._model, None
        if model is not None:
            await model.close()

    async def ready(self) -> None:
        """Return once the model can be asked."""
        while True:
            seen = self._moved.count
            if self._status.state is AnalystState.OK:
                await self.breaker.ready()
                if self._status.state is AnalystState.OK:
                    return
            else:
                await self._moved.wait(seen)

    async def ask(self, request: LanguageRequest, event_id: int) -> LanguageAnswer:
        """Return the model's answer. Raises ModelError, and ServiceDownError while it may not be asked."""
        model = self._model
        if model is None or self._status.state is not AnalystState.OK:
            raise ServiceDownError(f"the analyst is down: {self._reason}")
        self.breaker.begin()
        try:
            answer = await model.answer(request)
        except TimedOut as error:
            self.breaker.failed(str(error), [event_id])
            raise
        except (ModelDown, Refused) as error:
            self.breaker.left_open()
            its_own = isinstance(error, ModelDown) or model.status.state is ModelState.DOWN
            if its_own and self._model is model:
                await self._fail(error)
            raise
        except BadAnswer:
            self.breaker.succeeded()
            self._answers += 1
            raise
        except BaseException:
            self.breaker.left_open()
            raise
        self.breaker.succeeded()
        self._answers += 1
        self._delay = self._first_delay
        self._seconds.append(answer.seconds)
        self._report()
        return answer

    def note(self, what: Counted, number: int = 1) -> None:
        """Count something."""
        self.counts[what] += number
        self._report()

    def refuse(self, error: ModelError) -> None:
        """Count an event whose answers could not be used, and remember why."""
        self._refusal = f"{error} {error.remedy}".strip()[:500]
        self.note(Counted.REFUSED)

    def note_waiting(self, number: int) -> None:
        """Take how many events wait."""
        if number != self.waiting:
            self.waiting = number
            self._report()

    async def _try_to_open(self) -> None:
        """Open the model, or tell why there is none."""
        try:
            if self._model is None:
                found = await self._open_model()
                if isinstance(found, NoModel):
                    self._do_without(found)
                    return
                self._model = found
            self._wanted = True
            if self._status.state is AnalystState.OFF:
                self._tell(AnalystStatus(AnalystState.STARTING, self._model.status.model))
            await self._model.load()
        except (ModelError, ModelUnavailable) as error:
            await self._fail(error)
            return
        self._reason, self._remedy = None, ""
        self._tell(AnalystStatus(AnalystState.OK, self._model.status.model))
        _LOGGER.info("Events are explained by %s", self._model.status.model)

    def _do_without(self, found: NoModel) -> None:
        """Look again later: a model may be installed meanwhile."""
        self._wanted = found.wanted
        self._reason, self._remedy = found.reason, found.remedy
        state = AnalystState.DOWN if found.wanted else AnalystState.OFF
        self._try_at = asyncio.get_running_loop().time() + LONGEST_DELAY_SECONDS
        self._tell(AnalystStatus(state, message=f"{found.reason} {found.remedy}".strip()))

    async def _fail(self, error: ModelError | ModelUnavailable) -> None:
        """Note that there is no model for now. It is opened anew after a while, longer each time."""
        if self._status.state is AnalystState.OK:
            _LOGGER.warning("The analyst is down: %s %s", error, error.remedy)
        told = (error.retry_after if isinstance(error, ModelDown) else None) or 0.0
        delay, self._delay = self._delay, min(self._delay * 2, LONGEST_DELAY_SECONDS)
        self._try_at = asyncio.get_running_loop().time() + max(delay, min(told, LONGEST_DELAY_SECONDS))
        self._reason, self._remedy, self._wanted = str(error), error.remedy, True
        name = self._model.status.model if self._model else self._status.model
        self._tell(AnalystStatus(AnalystState.DOWN, name, f"{error} {error.remedy}".strip()))
        await self.close()

    def _tell(self, status: AnalystStatus) -> None:
        changed, self._status = status != self._status, status
        self._report()
        if changed:
            self._moved.notify()

    def _report(self) -> None:
        status = self.status
        down = status.state is AnalystState.DOWN
        self._health.report(
            SERVICE,
            HealthState.DEGRADED if down else HealthState.OK,
            last_error=(self._reason or status.message) if down else None,
            still_works="Events appear and are judged by the rules; they are explained later." if down else None,
            remedy=(self._remedy or None) if down else None,
            status=status.state.value,
            model=status.model,
            waiting=self.waiting,
            last_refusal=self._refusal,
            seconds_median=round(median(self._seconds), 2) if self._seconds else None,
            **{what.value.replace(" ", "_"): self.counts[what] for what in Counted},
        )
        if status != self._told:
            self._told = status
            self._changed.notify()
