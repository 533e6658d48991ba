# SPDX-License-Identifier: AGPL-3.0-or-later
"""Slowing those who guess passwords, by the address that they come from."""

import ipaddress
from collections import OrderedDict, deque
from datetime import datetime, timedelta

from inference_server.core.clock import Clock

FAILURES = 10
"""Wrong logins within the window after which an address is shut out."""
WINDOW = timedelta(minutes=10)
LONGEST_DELAY_SECONDS = 8.0
ADDRESSES = 1024
"""Addresses remembered at most; the one that was quiet longest is forgotten first."""


class Bans:
    """Counts wrong logins. Not for several threads at once."""

    def __init__(self, clock: Clock) -> None:
        """Start with no wrong login."""
        self._clock = clock
        self._failures: OrderedDict[str, deque[datetime]] = OrderedDict()

    def failed(self, address: str) -> float:
        """Count a wrong login and return for how many seconds its answer waits: each time longer."""
        network = _network(address)
        times = self._failures.setdefault(network, deque(maxlen=FAILURES))
        self._failures.move_to_end(network)
        self._forget(times)
        times.append(self._clock.now())
        if len(self._failures) > ADDRESSES:
            self._failures.popitem(last=False)
        return float(min(2 ** (len(times) - 1), LONGEST_DELAY_SECONDS))

    def remaining(self, address: str) -> float:
        """Return for how many seconds an address is still shut out; 0 when it is not."""
        times = self._failures.get(_network(address), deque())
        self._forget(times)
        return (times[0] + WINDOW - self._clock.now()).total_seconds() if len(times) >= FAILURES else 0.0

    def _forget(self, times: deque[datetime]) -> None:
        now = self._clock.now()
        while times and not timedelta(0) <= now - times[0] < WINDOW:
            times.popleft()


def _network(address: str) -> str:
    """Return what one guesser can come from: an IPv4 address, or the network of an IPv6 address."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))
