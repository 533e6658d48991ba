# SPDX-License-Identifier: AGPL-3.0-or-later
"""A wake-up call between tasks of one event loop."""

import asyncio


class Signal:
    """Wakes everybody who waits. A notification that nobody waits for is kept for each next wait."""

    def __init__(self) -> None:
        """Start at rest."""
        self._count = 0
        self._changed = asyncio.Event()

    @property
    def count(self) -> int:
        """How often it was notified: remember it before looking, and pass it to `wait` after finding nothing."""
        return self._count

    def notify(self) -> None:
        """Wake everybody who waits."""
        self._count += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self, seen: int, timeout: float | None = None) -> None:
        """Return once the count is above `seen`, or after `timeout` seconds."""
        changed = self._changed
        if self._count > seen:
            return
        try:
            async with asyncio.timeout(timeout):
                await changed.wait()
        except TimeoutError:
            return
