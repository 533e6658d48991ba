# SPDX-License-Identifier: AGPL-3.0-or-later
"""When to look: at new folders at once, at polled ones again and again, and at everything now and then."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from inference_server.core.signal import Signal
from inference_server.ingest.folder.polling import Poller
from inference_server.ingest.folder.sighting import Sighting
from inference_server.ingest.folder.tree import Look, Tree

SLICE_SECONDS = 0.1
SLICE_FILES = 500
"""A look is interrupted after so long or so many files, so that one at many files does not hold up the others."""


class InThread(Protocol):
    """Runs a function on a thread that may wait for a file system."""

    def __call__[*Args, Result](self, function: Callable[[*Args], Result], *args: *Args) -> Awaitable[Result]:
        """Return what the function returns."""
        ...


class Finder(Protocol):
    """Takes what was found."""

    async def found(self, sightings: list[Sighting], *, by_scan: bool) -> None:
        """Take files that may have been found before."""
        ...

    def looked_around(self) -> None:
        """Take note that everything was looked at."""
        ...


class Lookout:
    """Looks around in one area, on the event loop's time, and has the file system asked on a thread."""

    def __init__(
        self,
        tree: Tree,
        root: str,
        *,
        finder: Finder,
        in_thread: InThread,
        poll_seconds: float,
        rescan_seconds: float,
    ) -> None:
        """Take the parts."""
        self._tree = tree
        self._poller = Poller(tree, root)
        self._finder = finder
        self._in_thread = in_thread
        self._poll_seconds = poll_seconds
        self._rescan_seconds = rescan_seconds
        self._appeared: dict[str, None] = {}
        self._went: list[str] = []
        self._scan: Look | None = None
        self._scan_due = -math.inf
        self._scan_again = False
        self._poll_due = -math.inf
        self._changed = Signal()

    def look_into(self, path: str) -> None:
        """Look soon at everything in a folder that appeared."""
        self._appeared.setdefault(path)
        self._changed.notify()

    def forget(self, path: str) -> None:
        """Forget soon a folder that is gone."""
        self._went.append(path)
        self._changed.notify()

    def scan_soon(self) -> None:
        """Look soon at everything."""
        self._scan_again = True
        if self._scan is None:
            self._scan_due = -math.inf
        self._changed.notify()

    async def run(self) -> None:
        """Look around until cancelled."""
        while True:
            seen = self._changed.count
            now = asyncio.get_running_loop().time()
            if self._went or self._appeared:
                await self._look_at_changed_folders()
            elif self._is_polling and now >= self._poll_due:
                await self._poll()
            elif self._scan is not None or now >= self._scan_due:
                await self._scan_on()
            else:
                due = min(self._scan_due, self._poll_due) if self._is_polling else self._scan_due
                await self._changed.wait(seen, due - now)

    @property
    def _is_polling(self) -> bool:
        return self._tree.is_polled(self._tree.top) or self._tree.unwatched > 0

    async def _look_at_changed_folders(self) -> None:
        while self._went:
            await self._in_thread(self._tree.forget, self._went.pop(0))
        while self._appeared:
            path = next(iter(self._appeared))
            del self._appeared[path]
            await self._look(self._tree.explore_new(path))

    async def _poll(self) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        await self._look(self._poller.poll(time.monotonic()))
        self._poll_due = loop.time() + max(self._poll_seconds, loop.time() - started)

    async def _look(self, look: Look) -> None:
        more = True
        while more:
            found, more = await self._in_thread(_take_some, look)
            if found:
                await self._finder.found(found, by_scan=False)

    async def _scan_on(self) -> None:
        """Begin to look at everything, or go on with it."""
        if self._scan is None:
            self._scan_again = False
            self._scan = self._tree.explore(self._tree.top)
        found, more = await self._in_thread(_take_some, self._scan)
        await self._finder.found(found, by_scan=True)
        if not more:
            self._scan = None
            pause = 0.0 if self._scan_again else self._rescan_seconds
            self._scan_due = asyncio.get_running_loop().time() + pause
            self._finder.looked_around()


def _take_some(look: Look) -> tuple[list[Sighting], bool]:
    """Return what the next folders of a look hold, and whether there may be more."""
    until = time.monotonic() + SLICE_SECONDS
    found: list[Sighting] = []
    for sightings in look:
        found += sightings
        if len(found) >= SLICE_FILES or time.monotonic() >= until:
            return found, True
    return found, False
