# SPDX-License-Identifier: AGPL-3.0-or-later
"""The folders of an area, and what is found in them."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from inference_server.ingest.folder.ignoring import IgnoreRules
from inference_server.ingest.folder.mounts import is_within
from inference_server.ingest.folder.names import is_candidate, is_folder_wanted
from inference_server.ingest.folder.sighting import Sighting, Version, look_at
from inference_server.storage.arrivals import storable

type Look = Iterator[list[Sighting]]
"""A look around, folder by folder: between two of them it can be interrupted."""


@dataclass(slots=True, eq=False)
class Folder:
    """A folder that was come across, and what the poller remembers of it."""

    path: str
    parent: "Folder | None" = None
    modified_ns: int = -1
    """Its time before it was listed; -1 when that failed."""
    folders: dict[str, "Folder"] = field(default_factory=dict)
    names: dict[str, Version] | None = None
    """The files in it, while it is polled each time."""
    unsettled_until: float = 0.0
    lively_until: float = 0.0


class Tree:
    """An area's folders. It is used on one thread at a time; what it finds may have been found before."""

    def __init__(
        self,
        top: str,
        *,
        root: str,
        prefix: str,
        rules: IgnoreRules,
        elsewhere: frozenset[str] = frozenset(),
        watch: Callable[[str], bool] | None = None,
    ) -> None:
        """Take an area's top folder within a watch root, and the folders that belong to other areas.

        A file goes by its path below the root, after the prefix. `watch` makes the system tell about a folder and
        returns whether it does; without it all folders are polled.
        """
        self.top = Folder(top)
        self._rules = rules
        self._root = root
        self._prefix = prefix
        self._elsewhere = elsewhere
        self._watch = watch
        self._unwatched: set[str] = set()
        self._problems: dict[str, list[str]] = {}

    @property
    def unwatched(self) -> int:
        """How many folders the system should tell about and does not."""
        return len(self._unwatched)

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be looked at, and what to do about it."""
        return tuple(problem for problems in self._problems.values() for problem in problems)

    def is_polled(self, folder: Folder) -> bool:
        """Return whether nobody tells about new files in a folder."""
        return self._watch is None or folder.path in self._unwatched

    def explore(self, start: Folder) -> Look:
        """Find everything in a folder and below it."""
        waiting = deque([start])
        while waiting:
            folder = waiting.popleft()
            yield self.look_at(folder, self.names_in(folder))
            waiting.extend(folder.folders.values())

    def explore_new(self, path: str) -> Look:
        """Find everything in a folder that appeared."""
        parent = self._find(os.path.dirname(path))
        if parent is not None and self._is_wanted(path) and not os.path.islink(path):
            yield from self.explore(self._child(parent, os.path.basename(path)))

    def names_in(self, folder: Folder) -> list[str]:
        """List a folder: take over which folders are in it, and return the names of the files that may be pictures."""
        if self._watch is not None:  # before listing, so that nothing falls in between
            (self._unwatched.discard if self._watch(folder.path) else self._unwatched.add)(folder.path)
        try:
            modified_ns = os.stat(folder.path).st_mtime_ns
            with os.scandir(folder.path) as entries:
                names, folders, links = self._sort(entries)
        except (FileNotFoundError, NotADirectoryError):
            self.forget(folder.path)
            return []
        except OSError as error:
            self.note_unreadable(folder, error)
            return []
        folder.modified_ns = modified_ns
        for gone in folder.folders.keys() - folders:
            self.forget(folder.folders[gone].path)
        for name in folders:
            self._child(folder, name)
        self._problems.pop(folder.path, None)
        if links:
            self._problems[folder.path] = [
                f"The folder {storable(link)} is a link, which is not followed: mount the folder there."
                for link in links
            ]
        return names

    def look_at(self, folder: Folder, names: Iterable[str]) -> list[Sighting]:
        """Look at files of a folder; those that are gone again are left out."""
        return look_at((f"{folder.path}/{name}" for name in names), self.name_of)

    def name_of(self, path: str) -> str:
        """Return the name by which a file goes in the database."""
        return storable(self._prefix + self._below_root(path))

    def forget(self, path: str) -> None:
        """Forget a folder that is gone, and what was in it."""
        folder = self._find(path)
        if folder is not None and folder.parent is not None:
            del folder.parent.folders[os.path.basename(path)]
        self._unwatched = {known for known in self._unwatched if not is_within(known, path)}
        self._problems = {known: texts for known, texts in self._problems.items() if not is_within(known, path)}

    def note_unreadable(self, folder: Folder, error: OSError) -> None:
        """Take note of a folder that cannot be looked into."""
        folder.modified_ns = -1
        self._problems[folder.path] = [
            f"The folder {storable(folder.path)} cannot be read ({error.strerror}): check its owner and permissions."
        ]

    def _sort(self, entries: Iterable[os.DirEntry[str]]) -> tuple[list[str], set[str], list[str]]:
        """Return what a folder holds: names of files, names of folders, and paths of links to folders."""
        names, folders, links = [], set(), []
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if self._is_wanted(entry.path):
                    folders.add(entry.name)
            elif entry.is_symlink() and entry.is_dir():
                if self._is_wanted(entry.path):
                    links.append(entry.path)
            elif is_candidate(entry.name) and not self._rules.ignore(self._below_root(entry.path)):
                names.append(entry.name)
        return names, folders, links

    def _is_wanted(self, path: str) -> bool:
        wanted = is_folder_wanted(os.path.basename(path)) and path not in self._elsewhere
        return wanted and not self._rules.ignore(self._below_root(path))

    def _below_root(self, path: str) -> str:
        return path[len(self._root) + 1 :]

    def _child(self, folder: Folder, name: str) -> Folder:
        child = folder.folders.get(name)
        if child is None:
            child = folder.folders[name] = Folder(f"{folder.path}/{name}", folder)
        return child

    def _find(self, path: str) -> Folder | None:
        folder: Folder | None = self.top
        if not is_within(path, self.top.path):
            return None
        for name in path[len(self.top.path) + 1 :].split("/"):
            if name and folder is not None:
                folder = folder.folders.get(name)
        return folder
