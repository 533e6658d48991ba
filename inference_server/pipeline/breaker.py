# SPDX-License-Identifier: AGPL-3.0-or-later
"""Circuit breaker: a model service that fails again and again is left alone for a while, and then tried with care.

Source: M. T. Nygard, "Release It!", 2nd edition, 2018, chapter 5.
"""

import asyncio
from collections.abc import Callable, Iterable
from enum import StrEnum

from inference_server.core.signal import Signal

FAILURES = 5
SUBJECTS = 3
"""Failures at fewer different subjects are those subjects' own."""
RECOVERY_SECONDS = 30.0


class BreakerState(StrEnum):
    """Whether the service is called."""

    CLOSED = "closed"
    """It is."""
    OPEN = "open"
    """It is not."""
    HALF_OPEN = "half_open"
    """It is tried with one call."""


class ServiceError(Exception):
    """A model service failed at a message; the message counts an attempt."""

    def __init__(self, service: str, reason: str) -> None:
        """Take which service is to blame."""
        super().__init__(reason)
        self.service = service


class ServiceDownError(Exception):
    """A model service is down; messages wait for it and count no attempt. `tried` tells whether it was called."""

    def __init__(self, reason: str, *, tried: bool = False) -> None:
        """Take what is known of it."""
        super().__init__(reason)
        self.tried = tried


class CircuitBreaker:
    """Stands before one model service. Time is measured by the event loop's clock, which nobody sets."""

    def __init__(
        self,
        service: str,
        changed: Callable[[], None] = lambda: None,
        *,
        failures: int = FAILURES,
        recovery_seconds: float = RECOVERY_SECONDS,
    ) -> None:
        """Take how many failures in a row open it and how long it then stays open; `changed` is told of each change."""
        self.service = service
        self.state = BreakerState.CLOSED
        self.last_error: str | None = None
        self.recovered = Signal()
        """Notified when the service works again after a failure."""
        self._changed = changed
        self._limit = failures
        self._recovery_seconds = recovery_seconds
        self._failures = 0
        self._subjects: set[int] = set()
        self._try_at = 0.0
        self._trying = False
        self._moved = Signal()

    @property
    def is_closed(self) -> bool:
        """Whether the service is called as usual."""
        return self.state is BreakerState.CLOSED

    async def ready(self) -> None:
        """Return once the service may be called, or tried."""
        while not self.is_closed:
            seen = self._moved.count
            wait = self._try_at - asyncio.get_running_loop().time()
            if not self._trying and wait <= 0:
                return
            await self._moved.wait(seen, None if self._trying else wait)

    def begin(self) -> None:
        """Begin a call, which one of the next three ends. Raises ServiceDownError when it may not be made now."""
        if self.is_closed:
            return
        if self._trying or asyncio.get_running_loop().time() < self._try_at:
            raise ServiceDownError(f"the {self.service} is down: {self.last_error}")
        self._trying = True
        self._move(BreakerState.HALF_OPEN)

    def succeeded(self) -> None:
        """Note that a call did what it should."""
        failed_before, self._failures, self._trying = self._failures > 0, 0, False
        self._subjects.clear()
        if not self.is_closed:
            self._move(BreakerState.CLOSED)
        if failed_before:
            self.recovered.notify()

    def failed(self, error: str, subjects: Iterable[int], *, certain: bool = False) -> None:
        """Note that a call about these subjects failed. `certain`: no subject is to blame, so it opens at once."""
        self.last_error = error
        self._failures += 1
        self._subjects.update(subjects)
        self._trying = False
        if certain or not self.is_closed or (self._failures >= self._limit and len(self._subjects) >= SUBJECTS):
            self._try_at = asyncio.get_running_loop().time() + self._recovery_seconds
            self._move(BreakerState.OPEN)

    def left_open(self) -> None:
        """Note that a call told nothing about the service: whoever waits may make the next one."""
        self._trying = False
        self._moved.notify()

    def _move(self, state: BreakerState) -> None:
        before, self.state = self.state, state
        self._moved.notify()
        if before is not state:
            self._changed()
