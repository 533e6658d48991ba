# SPDX-License-Identifier: AGPL-3.0-or-later
"""The line of files that wait to be admitted."""

from collections import OrderedDict

from inference_server.core.signal import Signal


class Line:
    """Paths in the order in which they came, each once."""

    def __init__(self) -> None:
        """Start with none."""
        self._paths: OrderedDict[str, None] = OrderedDict()
        self._changed = Signal()

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._paths)

    def __contains__(self, path: str) -> bool:
        """Return whether a path waits."""
        return path in self._paths

    def add(self, path: str) -> None:
        """Let a path wait; one that waits already keeps its place."""
        self._paths.setdefault(path)
        self._changed.notify()

    def take(self, most: int) -> list[str]:
        """Take out the first paths."""
        taken = [self._paths.popitem(last=False)[0] for _ in range(min(most, len(self._paths)))]
        self._changed.notify()
        return taken

    async def until_filled(self) -> None:
        """Return when a path waits."""
        while not self._paths:
            await self._changed.wait(self._changed.count)

    async def until_empty(self) -> None:
        """Return when no path waits."""
        while self._paths:
            await self._changed.wait(self._changed.count)
