# SPDX-License-Identifier: AGPL-3.0-or-later
"""Supervision: a part that crashes is started again, ever slower, and health says so."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from inference_server.observability.health import HealthBoard, HealthState

_LOGGER = logging.getLogger(__name__)

FIRST_DELAY_SECONDS = 1.0
LONGEST_DELAY_SECONDS = 60.0
REMEMBERED_SECONDS = 600.0
"""So long after its last crash the server counts as unwell."""


class Supervisor:
    """Runs the parts of a server and reports the health component `supervision`."""

    def __init__(self, health: HealthBoard) -> None:
        """Start without a crash."""
        self._health = health
        self._crashes: dict[str, int] = {}
        self._last: tuple[str, float] | None = None
        self._report()

    async def run(self, component: str, part: Callable[[], Awaitable[None]]) -> None:
        """Run a part until cancelled or until it returns; start it again, ever slower, when it raises."""
        delay = FIRST_DELAY_SECONDS
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            try:
                await part()
            except Exception as error:
                _LOGGER.exception("%s crashed", component.capitalize())
                reason = _explain(error)
            else:
                return
            self._crashed(component, reason)
            if loop.time() - started > LONGEST_DELAY_SECONDS:
                delay = FIRST_DELAY_SECONDS
            await asyncio.sleep(delay)
            delay = min(delay * 2, LONGEST_DELAY_SECONDS)
            self._health.report(component, HealthState.OK, last_error=reason)

    def _crashed(self, component: str, reason: str) -> None:
        loop = asyncio.get_running_loop()
        self._crashes[component] = self._crashes.get(component, 0) + 1
        self._last = (f"{component}: {reason}", loop.time())
        self._health.report(
            component,
            HealthState.DOWN,
            last_error=reason,
            still_works="The other parts go on; what waits for this one is kept.",
            remedy="It is started again by itself. If this stays, report it with the log.",
        )
        self._report()
        loop.call_later(REMEMBERED_SECONDS, self._report)

    def _report(self) -> None:
        error = None
        if self._last is not None and asyncio.get_running_loop().time() - self._last[1] < REMEMBERED_SECONDS:
            error = self._last[0]
        self._health.report(
            "supervision",
            HealthState.DEGRADED if error else HealthState.OK,
            last_error=error,
            still_works="The part that crashed was started again, and nothing was lost." if error else None,
            remedy="Report it with the log." if error else None,
            **{f"crashes of {component}": crashes for component, crashes in self._crashes.items()},
        )


def _explain(error: BaseException) -> str:
    """Return an error's name and text; a task group's only error speaks for the group."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
