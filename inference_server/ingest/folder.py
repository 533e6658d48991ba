# SPDX-License-Identifier: AGPL-3.0-or-later
"""Folder watch: finds pictures below the watch root, live and after having been away, and brings them to admission."""

import asyncio
import logging
import os
import sys
import time
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import override

from watchdog.events import (
    FileClosedEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from inference_server.ingest.admission import Admission, Intake, relative_name
from inference_server.observability.health import HealthBoard, HealthState
from inference_server.storage import arrivals
from inference_server.storage.arrivals import FileVersion
from inference_server.storage.database import STORAGE_FAILURES, Database

_LOGGER = logging.getLogger(__name__)

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png"})
SETTLED_SECONDS = 1.0
"""A file whose closing was not seen counts once its size and time have not changed for this long."""
GROUP = 16
"""Files that are examined side by side and recorded in one transaction."""
RETRY_SECONDS = 5.0


def is_candidate(path: Path) -> bool:
    """Return whether a path is named like a finished picture: not hidden, no upload's temporary name."""
    return path.suffix.lower() in EXTENSIONS and not any(part.startswith(".") for part in path.parts)


class FolderWatch:
    """Watches one root with one folder per camera. The files are the truth; events only make it quick."""

    def __init__(
        self,
        root: Path,
        *,
        admission: Admission,
        intake: Intake,
        database: Database,
        health: HealthBoard,
        rescan_seconds: float,
    ) -> None:
        """Take the parts; nothing is watched yet."""
        self._root = root.resolve()
        self._admission = admission
        self._intake = intake
        self._database = database
        self._health = health
        self._rescan_seconds = rescan_seconds
        self._arrived: asyncio.Queue[Path] = asyncio.Queue()
        self._settling: dict[Path, asyncio.TimerHandle] = {}

    async def run(self) -> None:
        """Watch until cancelled. Raises OSError when the root cannot be watched."""
        await asyncio.to_thread(self._root.mkdir, parents=True, exist_ok=True)
        observer = _observe(self._root, asyncio.get_running_loop(), self)
        self._report_ok()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._admit_arrivals())
                tasks.create_task(self._rescan())
        finally:
            observer.stop()
            for timer in self._settling.values():
                timer.cancel()
            self._settling.clear()
            await asyncio.to_thread(observer.join, 5)

    def file_finished(self, path: Path) -> None:
        """Take note of a file that was closed or renamed into place."""
        if timer := self._settling.pop(path, None):
            timer.cancel()
        if self._is_ours(path):
            self._arrived.put_nowait(path)

    def file_appeared(self, path: Path) -> None:
        """Take note of a file that may still be being written."""
        if path not in self._settling and self._is_ours(path):
            self._settle(path, None)

    def _is_ours(self, path: Path) -> bool:
        return path.is_relative_to(self._root) and is_candidate(path.relative_to(self._root))

    def _settle(self, path: Path, before: FileVersion | None) -> None:
        self._settling.pop(path, None)
        try:
            now = _version(self._root, path, path.lstat())
        except OSError:
            return
        if now == before:
            self._arrived.put_nowait(path)
        else:
            loop = asyncio.get_running_loop()
            self._settling[path] = loop.call_later(SETTLED_SECONDS, self._settle, path, now)

    async def _rescan(self) -> None:
        while True:
            await self._scan()
            await asyncio.sleep(self._rescan_seconds)

    async def _scan(self) -> None:
        found = await asyncio.to_thread(_versions_below, self._root)
        async with self._database.reading() as connection:
            unseen = await arrivals.unseen(connection, list(found))
        settled_before = time.time_ns() - int(SETTLED_SECONDS * 1e9)
        for file in unseen:
            if file.modified_ns < settled_before:
                self._arrived.put_nowait(found[file])
            else:
                self.file_appeared(found[file])

    async def _admit_arrivals(self) -> None:
        while True:
            paths = [await self._arrived.get()]
            while len(paths) < GROUP and not self._arrived.empty():
                paths.append(self._arrived.get_nowait())
            await self._admit(list(dict.fromkeys(paths)))

    async def _admit(self, paths: list[Path]) -> None:
        while True:
            try:
                decided = await asyncio.gather(*(asyncio.to_thread(self._admission.admit, path) for path in paths))
                if outcomes := [outcome for outcome in decided if outcome is not None]:
                    await self._intake.take(outcomes)
            except STORAGE_FAILURES as error:
                _LOGGER.warning("Pictures wait on disk, because they cannot be stored: %s", error)
                self._health.report(
                    "ingest",
                    HealthState.DOWN,
                    last_error=str(error),
                    still_works="Pictures stay in the camera folders and are admitted later; open events go on.",
                    remedy="Free disk space and check that the data folder is writable.",
                )
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._report_ok()
                return

    def _report_ok(self) -> None:
        self._health.report("ingest", HealthState.OK, watching=str(self._root))


class _Forwarder(FileSystemEventHandler):
    """Carries the observer thread's events over to the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, watch: FolderWatch) -> None:
        self._loop = loop
        self._watch = watch

    @override
    def on_any_event(self, event: FileSystemEvent) -> None:
        if isinstance(event, FileClosedEvent):
            self._loop.call_soon_threadsafe(self._watch.file_finished, _path(event.src_path))
        elif isinstance(event, FileMovedEvent) and event.dest_path:
            self._loop.call_soon_threadsafe(self._watch.file_finished, _path(event.dest_path))
        elif isinstance(event, FileCreatedEvent | FileModifiedEvent):
            self._loop.call_soon_threadsafe(self._watch.file_appeared, _path(event.src_path))


def _observe(root: Path, loop: asyncio.AbstractEventLoop, watch: FolderWatch) -> BaseObserver:
    wanted: list[type[FileSystemEvent]] = [FileClosedEvent, FileMovedEvent, FileCreatedEvent]
    if sys.platform == "linux":
        from watchdog.observers.inotify import InotifyObserver  # noqa: PLC0415 - exists on Linux alone

        # full events name a file that is renamed into the root from elsewhere
        observer: BaseObserver = InotifyObserver(generate_full_events=True)
    else:
        wanted.append(FileModifiedEvent)
        observer = Observer()
    observer.schedule(_Forwarder(loop, watch), path=str(root), recursive=True, event_filter=wanted)
    observer.start()
    return observer


def _path(name: bytes | str) -> Path:
    return Path(os.fsdecode(name))


def _versions_below(root: Path) -> dict[FileVersion, Path]:
    """Return the candidates below the root, in the order of their arrival."""
    found = [(status.st_ctime_ns, path, status) for path, status in _candidates_below(root)]
    return {_version(root, path, status): path for _, path, status in sorted(found, key=itemgetter(0))}


def _candidates_below(root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for parent, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(parent, name) for name in names):
            if is_candidate(path.relative_to(root)):
                try:
                    yield path, path.lstat()
                except OSError:
                    continue


def _version(root: Path, path: Path, status: os.stat_result) -> FileVersion:
    return FileVersion(relative_name(root, path), status.st_size, status.st_mtime_ns)
