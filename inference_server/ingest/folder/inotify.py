# SPDX-License-Identifier: AGPL-3.0-or-later
"""Linux tells about new files and folders: one watch per folder, on watchdog's reader of inotify."""

import asyncio
import itertools
import os
import threading
from dataclasses import dataclass
from typing import Protocol

from watchdog.observers.inotify_c import CallbackId, InotifyConstants, InotifyEvent, InotifyFD, Mask, WatchDescriptor

from inference_server.ingest.folder.mounts import is_within

_WANTED = Mask(
    InotifyConstants.IN_CREATE
    | InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_MOVED_FROM
    | InotifyConstants.IN_MOVED_TO
    | InotifyConstants.IN_ONLYDIR
    | InotifyConstants.IN_DONT_FOLLOW
    | InotifyConstants.IN_EXCL_UNLINK
)
_NOT_ALLOWED = WatchDescriptor(-1)
"""What the reader returns for a folder that may not be read."""


class Listener(Protocol):
    """Hears on the event loop what happens below the folders that are watched for it."""

    def file_finished(self, path: str) -> None:
        """Take note of a file that was closed or renamed into place."""
        ...

    def file_appeared(self, path: str) -> None:
        """Take note of a file that may still be being written."""
        ...

    def folder_appeared(self, path: str) -> None:
        """Take note of a folder that was made or moved here, with whatever is in it already."""
        ...

    def folder_went(self, path: str) -> None:
        """Take note of a folder that was moved away."""
        ...

    def events_lost(self) -> None:
        """Take note that the system had more to tell than it could keep."""
        ...


@dataclass(frozen=True, slots=True)
class _Watch:
    path: str
    listener: Listener
    callback_id: CallbackId


class Inotify:
    """Watches folders, each for itself, so that it is known of each whether the system tells about it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin. Raises OSError when the system has no instance left."""
        self._loop = loop
        self._lock = threading.Lock()
        self._watches: dict[WatchDescriptor, _Watch] = {}
        self._descriptors: dict[str, WatchDescriptor] = {}
        self._ids = itertools.count(1)
        self._closed = False
        self._reader = InotifyFD()
        self._reader.start()

    def watch(self, path: str, listener: Listener) -> bool:
        """Return whether the system tells about a folder from now on, if not before."""
        with self._lock:
            callback_id = CallbackId(next(self._ids))
            descriptor = self._add(path, callback_id)
            stale = self._descriptors.get(path)
            if stale is not None and stale != descriptor:
                self._drop(path, stale)
            if descriptor is None:
                return False
            if known := self._watches.get(descriptor):
                self._drop(known.path, descriptor)
            self._watches[descriptor] = _Watch(path, listener, callback_id)
            self._descriptors[path] = descriptor
            return True

    def forget(self, path: str) -> None:
        """Stop watching a folder and those below it."""
        with self._lock:
            for known in [known for known in self._descriptors if is_within(known, path)]:
                self._drop(known, self._descriptors[known])

    def _add(self, path: str, callback_id: CallbackId) -> WatchDescriptor | None:
        """Return the folder's descriptor, which is the same after it was moved; None where there is none."""
        if self._closed:
            return None
        try:
            descriptor = self._reader.add_callback(os.fsencode(path), _WANTED, self, callback_id)
        except OSError:
            return None
        return None if descriptor == _NOT_ALLOWED else descriptor

    def _drop(self, path: str, descriptor: WatchDescriptor) -> None:
        del self._descriptors[path]
        watch = self._watches.pop(descriptor)
        self._reader.remove_callbacks([(descriptor, watch.callback_id)])

    def close(self) -> None:
        """Stop watching; nothing is told any more when this returns."""
        with self._lock:
            self._closed = True
        self._reader.stop()
        self._reader.join()

    def on_event(self, event: InotifyEvent) -> None:
        """Pass on what happened in a folder (called by the reader, on its thread)."""
        with self._lock:
            watch = self._watches.get(event.wd)
        if watch is None or not event.name:
            return
        path = f"{watch.path}/{os.fsdecode(event.name)}"
        if not event.is_directory:
            if event.is_close_write or event.is_moved_to:
                self._loop.call_soon_threadsafe(watch.listener.file_finished, path)
            elif event.is_create:
                self._loop.call_soon_threadsafe(watch.listener.file_appeared, path)
        elif event.is_moved_from:
            self.forget(path)
            self._loop.call_soon_threadsafe(watch.listener.folder_went, path)
        elif event.is_create or event.is_moved_to:
            self._loop.call_soon_threadsafe(watch.listener.folder_appeared, path)

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        """Forget a folder that was deleted (called by the reader)."""
        with self._lock:
            if watch := self._watches.pop(wd, None):
                self._descriptors.pop(watch.path, None)

    def on_queue_overflow(self) -> None:
        """Pass on that events were lost (called by the reader)."""
        with self._lock:
            listeners = {id(watch.listener): watch.listener for watch in self._watches.values()}
        for listener in listeners.values():
            self._loop.call_soon_threadsafe(listener.events_lost)
