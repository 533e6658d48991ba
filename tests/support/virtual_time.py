# SPDX-License-Identifier: AGPL-3.0-or-later
"""An event loop whose timers cost no time: when nothing is left to do, its time jumps to the next timer."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, override


def in_virtual_time[Result](main: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end. Worker threads are waited for only while no timer is set."""
    loop = _VirtualLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    @override
    def time(self) -> float:
        return self._jumping.jumped


class _JumpingSelector(selectors.SelectSelector):
    """Adds up the waits that it is asked for and waits only without a timeout."""

    jumped = 0.0

    @override
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select(None)
        if ready := super().select(0):
            return ready
        self.jumped += max(timeout, 0)
        return []
