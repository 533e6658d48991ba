# SPDX-License-Identifier: AGPL-3.0-or-later
"""Backpressure: while the queue or the disk is full, files wait where they are and uploads are told to come later."""

from collections.abc import Callable

from inference_server.core.signal import Signal


class Backpressure:
    """Whether pictures are let in now. Those who measure close and open it, those who admit ask it first."""

    def __init__(self) -> None:
        """Start open and idle."""
        self._reasons: dict[str, str] = {}
        self._busy = False
        self._changed = Signal()

    @property
    def reason(self) -> str | None:
        """Why nothing is let in, in plain words with what to do; None while pictures are let in. Any thread may ask."""
        reasons = list(self._reasons.values())
        return reasons[0] if reasons else None

    def is_closed_by(self, cause: str) -> bool:
        """Return whether this cause lasts."""
        return cause in self._reasons

    def close(self, cause: str, reason: str) -> None:
        """Let nothing in while this cause lasts."""
        self._reasons[cause] = reason
        self._changed.notify()

    def open(self, cause: str) -> None:
        """Note that a cause is over."""
        if self._reasons.pop(cause, None) is not None:
            self._changed.notify()

    def set_busy(self, busy: bool) -> None:
        """Note whether live pictures keep the pipeline busy, so that imports of old ones wait."""
        if busy != self._busy:
            self._busy = busy
            self._changed.notify()

    async def until_open(self) -> None:
        """Return once pictures are let in."""
        await self._until(lambda: not self._reasons)

    async def until_idle(self) -> None:
        """Return once pictures are let in and no live ones wait: the moment for old ones."""
        await self._until(lambda: not self._reasons and not self._busy)

    async def _until(self, met: Callable[[], bool]) -> None:
        while not met():
            await self._changed.wait(self._changed.count)
