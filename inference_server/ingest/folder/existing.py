# SPDX-License-Identifier: AGPL-3.0-or-later
"""What lay in a watch root when it was first seen: old files, that the owner has imported or left alone."""

import heapq
from datetime import datetime, timedelta

from inference_server.core.signal import Signal
from inference_server.ingest.folder.sighting import NANOSECONDS, Sighting
from inference_server.storage.arrivals import FileVersion

OLD = timedelta(minutes=10)
"""A file that was written so long before the first sight is old."""


class FirstSight:
    """Tells old files from live ones and keeps the old ones, the oldest first, until all are dealt with."""

    def __init__(self, at: datetime, *, finished: bool) -> None:
        """Take when the root was first seen, which may have been before a restart."""
        self.finished = finished
        self.changed = Signal()
        self.found = False
        """Whether a file was come across: a root where there is none may be a share that is not mounted yet."""
        self._seen_ns = int(at.timestamp() * NANOSECONDS)
        self._old_ns = int((at - OLD).timestamp() * NANOSECONDS)
        self._files: dict[str, FileVersion] = {}
        self._order: list[tuple[int, str]] = []
        self._in_hand: set[str] = set()

    @property
    def left(self) -> int:
        """How many old files wait to be dealt with."""
        return len(self._files)

    def is_old(self, sighting: Sighting) -> bool:
        """Return whether a file that never arrived was written long before the first sight, and not touched since."""
        if self.finished or sighting.changed_ns > self._seen_ns:
            return False
        return sighting.written_ns(self._seen_ns) < self._old_ns

    def note_found(self) -> None:
        """Take note that there are files."""
        if not self.found:
            self.found = True
            self.changed.notify()

    def keep(self, sighting: Sighting) -> None:
        """Let an old file wait; one that waits already keeps its place."""
        if sighting.path not in self._files and sighting.path not in self._in_hand:
            heapq.heappush(self._order, (sighting.written_ns(self._seen_ns), sighting.path))
            self._files[sighting.path] = sighting.file
            self.changed.notify()

    def discard(self, path: str) -> None:
        """Let a file wait no longer: it has become a live one."""
        self._files.pop(path, None)

    def take(self, most: int) -> dict[str, FileVersion]:
        """Take the oldest files in hand, by path; those taken before are done."""
        taken: dict[str, FileVersion] = {}
        while self._order and len(taken) < most:
            _, path = heapq.heappop(self._order)
            if file := self._files.pop(path, None):
                taken[path] = file
        self._in_hand = set(taken)
        return taken
