# SPDX-License-Identifier: AGPL-3.0-or-later
"""What starting takes: each step in its order, with its time."""

import logging
import time
from typing import override


class Steps:
    """A stopwatch over the steps of a start."""

    def __init__(self, logger: logging.Logger) -> None:
        """Begin; each step goes to the logger at debug level."""
        self._logger = logger
        self._done: list[tuple[str, float]] = []
        self._last = time.perf_counter()

    def done(self, step: str) -> None:
        """Note that a step is over."""
        now = time.perf_counter()
        self._done.append((step, now - self._last))
        self._last = now
        self._logger.debug("Started: %s", step)

    @override
    def __str__(self) -> str:
        """Return the whole time and that of each step."""
        parts = ", ".join(f"{step} {seconds * 1000:.0f} ms" for step, seconds in self._done)
        return f"{sum(seconds for _, seconds in self._done):.2f} s ({parts})"
