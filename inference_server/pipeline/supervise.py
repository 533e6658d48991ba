# SPDX-License-Identifier: AGPL-3.0-or-later
"""Supervision: a part that crashes is started again, and health says so."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from inference_server.observability.health import HealthBoard, HealthState

_LOGGER = logging.getLogger(__name__)

FIRST_DELAY_SECONDS = 1.0
LONGEST_DELAY_SECONDS = 60.0


async def supervise(component: str, run: Callable[[], Awaitable[None]], health: HealthBoard) -> None:
    """Run a part until cancelled or until it returns; start it again, ever slower, when it raises."""
    delay = FIRST_DELAY_SECONDS
    while True:
        started = asyncio.get_running_loop().time()
        try:
            await run()
        except Exception as error:
            _LOGGER.exception("%s crashed", component.capitalize())
            reason = _explain(error)
        else:
            return
        health.report(
            component,
            HealthState.DOWN,
            last_error=reason,
            still_works="The other parts go on; what waits for this one is kept.",
            remedy="It is started again by itself. If this stays, report it with the log.",
        )
        if asyncio.get_running_loop().time() - started > LONGEST_DELAY_SECONDS:
            delay = FIRST_DELAY_SECONDS
        await asyncio.sleep(delay)
        delay = min(delay * 2, LONGEST_DELAY_SECONDS)
        health.report(component, HealthState.OK, last_error=reason)


def _explain(error: BaseException) -> str:
    """Return an error's name and text; a task group's only error speaks for the group."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
