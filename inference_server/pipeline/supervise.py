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
            health.report(
                component,
                HealthState.DOWN,
                last_error=f"{type(error).__name__}: {error}",
                still_works="The other parts go on; what waits for this one is kept.",
                remedy="It is started again by itself. If this stays, report it with the log.",
            )
        else:
            return
        if asyncio.get_running_loop().time() - started > LONGEST_DELAY_SECONDS:
            delay = FIRST_DELAY_SECONDS
        await asyncio.sleep(delay)
        delay = min(delay * 2, LONGEST_DELAY_SECONDS)
