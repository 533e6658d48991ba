# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files that may still be being written: each counts once two looks at it found the same."""

import heapq

from inference_server.core.signal import Signal
from inference_server.ingest.folder.sighting import Version

AT_ONCE = 500
"""Files looked at together."""


class Settling:
    """Files that wait for their next look. Times are those of the event loop, in seconds."""

    def __init__(self) -> None:
        """Start with none."""
        self._waiting: dict[str, tuple[float, Version | None]] = {}
        self._due: list[tuple[float, str]] = []
        self._changed = Signal()

    def __len__(self) -> int:
        """Return how many files wait."""
        return len(self._waiting)

    def __contains__(self, path: str) -> bool:
        """Return whether a file waits."""
        return path in self._waiting

    def add(self, path: str, version: Version | None, due: float) -> None:
        """Let a file, which is like this now, wait for its next look at this time."""
        self._waiting[path] = due, version
        heapq.heappush(self._due, (due, path))
        if self._due[0] == (due, path):
            self._changed.notify()

    def discard(self, path: str) -> None:
        """Let a file wait no longer."""
        self._waiting.pop(path, None)

    async def until_due(self, now: float) -> None:
        """Return when a look may be due."""
        due = self._due[0][0] if self._due else None
        if due is None or due > now:
            await self._changed.wait(self._changed.count, None if due is None else due - now)

    def take_due(self, now: float) -> dict[str, Version | None]:
        """Take out the files whose look is due, with what each was like."""
        taken: dict[str, Version | None] = {}
        while self._due and self._due[0][0] <= now and len(taken) < AT_ONCE:
            due, path = heapq.heappop(self._due)
            waiting = self._waiting.get(path)
            if waiting is not None and waiting[0] == due:
                taken[path] = self._waiting.pop(path)[1]
        return taken
