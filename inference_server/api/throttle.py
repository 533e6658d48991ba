# SPDX-License-Identifier: AGPL-3.0-or-later
"""Slowing addresses that present wrong tokens."""

from collections import OrderedDict, deque
from datetime import datetime, timedelta

from inference_server.core.clock import Clock

WINDOW = timedelta(minutes=1)
ADDRESSES = 1024
"""Addresses remembered at most; the one that was quiet longest is forgotten first."""


class Throttle:
    """Counts refusals per address."""

    def __init__(self, clock: Clock, limit: int) -> None:
        """Take how many refusals within a minute an address may have before it is slowed."""
        self._clock = clock
        self._limit = limit
        self._refusals: OrderedDict[str, deque[datetime]] = OrderedDict()

    def refuse(self, address: str) -> float:
        """Count a refusal. Return 0, or for how many seconds an address that has had too many is slowed."""
        now = self._clock.now()
        times = self._refusals.setdefault(address, deque())
        self._refusals.move_to_end(address)
        while times and not timedelta(0) <= now - times[0] < WINDOW:
            times.popleft()
        if len(times) >= self._limit:
            return (times[0] + WINDOW - now).total_seconds()
        times.append(now)
        if len(self._refusals) > ADDRESSES:
            self._refusals.popitem(last=False)
        return 0.0
