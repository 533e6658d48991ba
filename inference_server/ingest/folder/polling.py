# SPDX-License-Identifier: AGPL-3.0-or-later
"""Polling: looking for new files where nobody tells about them, often where they are likely and rarely elsewhere."""

import heapq
import math
import os
from collections.abc import Iterable, Iterator

from inference_server.ingest.folder.sighting import Sighting
from inference_server.ingest.folder.tree import Folder, Look, Tree

NEWEST = 2
"""So many of the newest folders in each folder are looked at each time: of today, and of yesterday."""
LIVELY_SECONDS = 600.0
"""A folder in which something changed is looked at each time for so long."""
ROUND_SECONDS = 10.0
"""Within this time each folder has its turn, however old it is."""
UNSETTLED_SECONDS = 3.0
"""A folder's time may be as coarse as two seconds: it proves nothing for so long after a change."""
FEW = 32
"""Files that are looked at one by one each time. In a fuller folder these are the new ones, and all in its turn."""


class Poller:
    """Finds new and changed files by looking again and again. It is used on the thread of its tree."""

    def __init__(self, tree: Tree, root: str) -> None:
        """Take the tree, and the watch root that it lies in: the folders there are cameras, and always close by."""
        self._tree = tree
        self._root = root
        self._close_by: set[Folder] = set()
        self._round: Iterator[Folder] = iter(())
        self._round_size = 0
        self._polled_at = -math.inf

    def poll(self, now: float) -> Look:
        """Look at the folders where new files are likely, and at the next few of all the others. Time is in seconds."""
        close_by = set(self._find_close_by(self._tree.top, now))
        for folder in self._close_by - close_by:
            folder.names = None
        self._close_by = close_by
        for folder in sorted(close_by, key=lambda one: one.path):
            yield from self._glance(folder, now, thorough=False)
        for folder in self._take_turns(now):
            yield from self._glance(folder, now, thorough=True)

    def enliven(self, folder: Folder | None, now: float) -> None:
        """Expect more in a folder, and so in those above it."""
        while folder is not None:
            folder.lively_until = now + LIVELY_SECONDS
            folder = folder.parent

    def _find_close_by(self, folder: Folder, now: float) -> Iterator[Folder]:
        if self._tree.is_polled(folder):
            yield folder
        within = list(folder.folders.values())
        if folder.path != self._root and len(within) > NEWEST:
            newest = heapq.nlargest(NEWEST, within, key=lambda one: (one.modified_ns, one.path))
            within = [one for one in within if one in newest or one.lively_until > now]
        for one in within:
            yield from self._find_close_by(one, now)

    def _take_turns(self, now: float) -> Iterator[Folder]:
        """Yield those folders whose turn has come since the last time."""
        passed = min(now - self._polled_at, ROUND_SECONDS)
        self._polled_at = now
        for _ in range(math.ceil(self._round_size * passed / ROUND_SECONDS)):
            folder = next(self._round, None)
            if folder is None:
                break
            yield folder
        else:
            if self._round_size:
                return
        folders = list(self._polled_below(self._tree.top))
        self._round, self._round_size = iter(folders), len(folders)

    def _polled_below(self, folder: Folder) -> Iterator[Folder]:
        if self._tree.is_polled(folder):
            yield folder
        for one in folder.folders.values():
            yield from self._polled_below(one)

    def _glance(self, folder: Folder, now: float, *, thorough: bool) -> Look:
        try:
            modified_ns = os.stat(folder.path).st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            self._tree.forget(folder.path)
            return
        except OSError as error:
            self._tree.note_unreadable(folder, error)
            return
        if modified_ns != folder.modified_ns:
            folder.unsettled_until = now + UNSETTLED_SECONDS
            self.enliven(folder, now)
        close_by = folder in self._close_by
        if now < folder.unsettled_until or (close_by and (thorough or folder.names is None)):
            yield from self._list(folder, now, thorough=thorough)
        elif close_by and folder.names is not None and len(folder.names) <= FEW:
            yield self._news(folder, folder.names, now)

    def _list(self, folder: Folder, now: float, *, thorough: bool) -> Look:
        known, folders = folder.names, set(folder.folders)
        names = self._tree.names_in(folder)
        folder.names = {name: known[name] for name in names if name in known} if known else {}
        every = thorough or len(names) <= FEW
        yield self._news(folder, [name for name in names if every or name not in folder.names], now, known=bool(known))
        for name in folder.folders.keys() - folders:
            self.enliven(folder.folders[name], now)
            yield from self._tree.explore(folder.folders[name])

    def _news(self, folder: Folder, names: Iterable[str], now: float, *, known: bool = True) -> list[Sighting]:
        """Return and remember what is new or has changed."""
        remembered = folder.names if folder.names is not None else {}
        news = [seen for seen in self._tree.look_at(folder, names) if remembered.get(_name(seen)) != seen.version]
        remembered.update((_name(seen), seen.version) for seen in news)
        if news and known:
            self.enliven(folder, now)
        return news


def _name(sighting: Sighting) -> str:
    return os.path.basename(sighting.path)
