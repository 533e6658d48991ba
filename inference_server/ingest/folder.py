# SPDX-License-Identifier: AGPL-3.0-or-later
"""Folder watch: finds pictures below the watch root, live and after having been away, and brings them to admission."""

import asyncio
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
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

from inference_server.core.clip import VideoKind
from inference_server.ingest.admission import Admission, Intake, relative_name
from inference_server.ingest.backpressure import Backpressure
from inference_server.observability.health import HealthBoard, HealthState
from inference_server.storage import arrivals
from inference_server.storage.arrivals import FileVersion
from inference_server.storage.database import STORAGE_FAILURES, Database

_LOGGER = logging.getLogger(__name__)

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", *(f".{kind}" for kind in VideoKind)})
SETTLED_SECONDS = 1.0
"""A file whose closing was not seen counts once its size and time have not changed for this long."""
GROUP = 16
"""Files that are examined side by side and recorded in one transaction."""
RETRY_SECONDS = 5.0
PROBLEMS_SHOWN = 5

type RootId = tuple[int, int]
"""Device and inode of the watch root."""


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
        backpressure: Backpressure,
        rescan_seconds: float,
    ) -> None:
        """Take the parts; nothing is watched yet."""
        self._root = root.resolve()
        self._admission = admission
        self._intake = intake
        self._database = database
        self._health = health
        self._backpressure = backpressure
        self._rescan_seconds = rescan_seconds
        self._arrived: asyncio.Queue[Path] = asyncio.Queue()
        self._queued: set[Path] = set()
        self._problems: tuple[str, ...] = ()
        self._settling: dict[Path, asyncio.TimerHandle] = {}

    async def run(self) -> None:
        """Watch until cancelled, anew whenever another folder or mount takes the root's place."""
        while True:
            try:
                root = await asyncio.to_thread(self._make_root)
            except OSError as error:
                self._report_no_root(error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                await self._watch(root)

    def _make_root(self) -> RootId:
        self._root.mkdir(parents=True, exist_ok=True)
        return self._root_id()

    def _root_id(self) -> RootId:
        status = self._root.stat()
        return status.st_dev, status.st_ino

    async def _watch(self, root: RootId) -> None:
        """Watch until the root is another folder than this one."""
        observer, problem = _observe(self._root, asyncio.get_running_loop(), self)
        try:
            async with asyncio.TaskGroup() as tasks:
                admitting = tasks.create_task(self._admit_arrivals())
                while await self._scan(problem) == root:  # noqa: ASYNC110 - nothing tells that a mount has gone
                    await asyncio.sleep(self._rescan_seconds)
                _LOGGER.warning("%s is another folder now; watching it anew", self._root)
                admitting.cancel()
        finally:
            for timer in self._settling.values():
                timer.cancel()
            self._settling.clear()
            if observer is not None:
                observer.stop()
                await asyncio.to_thread(observer.join, 5)

    def file_finished(self, path: Path) -> None:
        """Take note of a file that was closed or renamed into place."""
        if timer := self._settling.pop(path, None):
            timer.cancel()
        if self._is_ours(path):
            self._enqueue(path)

    def file_appeared(self, path: Path) -> None:
        """Take note of a file that may still be being written."""
        if path not in self._settling and self._is_ours(path):
            self._settle(path, None)

    def _enqueue(self, path: Path) -> None:
        if path not in self._queued:
            self._queued.add(path)
            self._arrived.put_nowait(path)

    def _is_ours(self, path: Path) -> bool:
        return path.is_relative_to(self._root) and is_candidate(path.relative_to(self._root))

    def _settle(self, path: Path, before: FileVersion | None) -> None:
        self._settling.pop(path, None)
        try:
            now = _version(self._root, path, path.lstat())
        except OSError:
            return
        if now == before:
            self._enqueue(path)
        else:
            loop = asyncio.get_running_loop()
            self._settling[path] = loop.call_later(SETTLED_SECONDS, self._settle, path, now)

    async def _scan(self, problem: str | None) -> RootId | None:
        """Look for files that no event told about, and return which folder the root is; None when it is gone."""
        found, problems = await asyncio.to_thread(_versions_below, self._root)
        self._take_note([*([problem] if problem else []), *problems])
        async with self._database.reading() as connection:
            unseen = await arrivals.unseen(connection, list(found))
        settled_before = time.time_ns() - int(SETTLED_SECONDS * 1e9)
        for file in unseen:
            if file.modified_ns < settled_before:
                self._enqueue(found[file])
            else:
                self.file_appeared(found[file])
        try:
            return await asyncio.to_thread(self._root_id)
        except OSError:
            return None

    async def _admit_arrivals(self) -> None:
        while True:
            paths = [await self._arrived.get()]
            while len(paths) < GROUP and not self._arrived.empty():
                paths.append(self._arrived.get_nowait())
            self._queued.difference_update(paths)
            await self._admit(paths)

    async def _admit(self, paths: list[Path]) -> None:
        """Bring files to admission; one with which something unexpected goes wrong is refused, and no other."""
        try:
            await self._admit_together(paths)
        except Exception as error:  # whatever is wrong with one file must not keep the others
            if len(paths) > 1:
                for path in paths:
                    await self._admit([path])
                return
            _LOGGER.exception("%s could not be admitted", paths[0])
            await self._intake.take([self._admission.refuse(paths[0], error)])

    async def _admit_together(self, paths: list[Path]) -> None:
        while True:
            await self._until_let_in()
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

    async def _until_let_in(self) -> None:
        if (reason := self._backpressure.reason) is not None:
            self._health.report(
                "ingest",
                HealthState.DOWN,
                last_error=reason,
                still_works="Pictures stay in the camera folders and are admitted later; what was admitted is judged.",
                remedy="See what closed admission.",
            )
            await self._backpressure.until_open()

    def _take_note(self, problems: Sequence[str]) -> None:
        if tuple(problems) != self._problems:
            self._problems = tuple(problems)
            for problem in problems:
                _LOGGER.warning("%s", problem)
        self._report_ok()

    def _report_ok(self) -> None:
        if not self._problems:
            self._health.report("ingest", HealthState.OK, watching=str(self._root))
            return
        self._health.report(
            "ingest",
            HealthState.DEGRADED,
            last_error="; ".join(self._problems[:PROBLEMS_SHOWN]),
            still_works="All other pictures are admitted.",
            remedy="Put right what is named; the next scan notices it.",
            watching=str(self._root),
        )

    def _report_no_root(self, error: OSError) -> None:
        _LOGGER.warning("The watch folder cannot be used: %s", error)
        self._health.report(
            "ingest",
            HealthState.DOWN,
            last_error=str(error),
            still_works="Pictures that were admitted before are judged.",
            remedy="Make the watch folder (HSI_WATCH_ROOT) a folder that the server may read.",
        )


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


def _observe(root: Path, loop: asyncio.AbstractEventLoop, watch: FolderWatch) -> tuple[BaseObserver | None, str | None]:
    """Start an observer. Where the system has none left, return instead what that means and what to do."""
    wanted: list[type[FileSystemEvent]] = [FileClosedEvent, FileMovedEvent, FileCreatedEvent]
    if sys.platform != "linux":
        wanted.append(FileModifiedEvent)
    try:
        observer = _observer()
        with ExitStack() as undo:
            undo.callback(observer.stop)
            observer.schedule(_Forwarder(loop, watch), path=str(root), recursive=True, event_filter=wanted)
            observer.start()
            undo.pop_all()
    except OSError as error:
        return None, (
            f"The system tells nothing about new files ({error}), so that pictures wait for the next scan: "
            "raise fs.inotify.max_user_instances and fs.inotify.max_user_watches."
        )
    return observer, None


def _observer() -> BaseObserver:
    if sys.platform == "linux":
        from watchdog.observers.inotify import InotifyObserver  # noqa: PLC0415 - exists on Linux alone

        # full events name a file that is renamed into the root from elsewhere
        return InotifyObserver(generate_full_events=True)
    return Observer()


def _path(name: bytes | str) -> Path:
    return Path(os.fsdecode(name))


def _versions_below(root: Path) -> tuple[dict[FileVersion, Path], list[str]]:
    """Return the candidates below the root, in the order of their arrival, and what could not be looked at."""
    problems: list[str] = []
    found = [(status.st_ctime_ns, path, status) for path, status in _candidates_below(root, problems)]
    return {_version(root, path, status): path for _, path, status in sorted(found, key=itemgetter(0))}, problems


def _candidates_below(root: Path, problems: list[str]) -> Iterator[tuple[Path, os.stat_result]]:
    def not_read(error: OSError) -> None:
        problems.append(
            f"The folder {error.filename} cannot be read ({error.strerror}): check its owner and permissions."
        )

    for parent, folders, names in os.walk(root, onerror=not_read):
        folders[:] = [name for name in folders if not name.startswith(".")]
        linked = [path for name in folders if (path := Path(parent, name)).is_symlink()]
        problems += [f"The folder {path} is a link, which is not followed: mount the folder there." for path in linked]
        for path in (Path(parent, name) for name in names):
            if is_candidate(path.relative_to(root)):
                try:
                    yield path, path.lstat()
                except OSError:
                    continue


def _version(root: Path, path: Path, status: os.stat_result) -> FileVersion:
    return FileVersion.of(relative_name(root, path), status)
