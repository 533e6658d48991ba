# SPDX-License-Identifier: AGPL-3.0-or-later
"""Cleaning: the steps of a cleanup. Each goes on in small pieces, so that live work never waits for it.

A piece deletes its rows in one transaction and their files after it. A crash between the two leaves orphans, which
the next cleanup finds; it never leaves a row that lost its file.
"""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

from inference_server.core.cleanup import Amount
from inference_server.core.clock import Clock
from inference_server.core.signal import Signal
from inference_server.storage import originals, orphans, retention, trash
from inference_server.storage.arrivals import FileVersion
from inference_server.storage.database import Database
from inference_server.storage.media import MediaFolder
from inference_server.storage.originals import CameraFolders, Note, Original
from inference_server.storage.orphans import Strays
from inference_server.storage.retention import Condition, Deleted

_LOGGER = logging.getLogger(__name__)

EVENTS_AT_ONCE = 20
ORPHANS_AT_ONCE = 500

type Step = AsyncGenerator[Amount]
"""Deletes piece by piece and says of each piece what it was. It may be left at any piece."""


class Cleaner:
    """Deletes what it is told to."""

    def __init__(
        self,
        database: Database,
        media: MediaFolder,
        folders: CameraFolders,
        announced: Signal,
        clock: Clock,
        *,
        judged: Callable[[], bool],
    ) -> None:
        """Take the parts; `judged` says whether cameras are judged now, which stands in what is announced."""
        self._database = database
        self._media = media
        self._folders = folders
        self._announced = announced
        self._clock = clock
        self._judged = judged

    async def frames(self, before: datetime) -> Step:
        """Delete the frames of no event that arrived before."""
        wanted = retention.expired_frames(before)
        after = 0
        while True:
            async with self._database.reading() as connection:
                ids = await retention.find_frames(connection, wanted, after=after)
            if not ids:
                return
            async with self._database.writing() as connection:
                deleted = await retention.delete_frames(connection, ids, wanted)
            yield Amount(len(deleted.frames), await self._delete_files(deleted))
            after = ids[-1]

    async def events(self, wanted: Condition) -> Step:
        """Delete events and their frames."""
        after = 0
        while True:
            async with self._database.reading() as connection:
                ids = await retention.find_events(connection, wanted, after=after, limit=EVENTS_AT_ONCE)
            if not ids:
                return
            for event_id in ids:
                async for amount in self._event(event_id, wanted):
                    yield amount
            after = ids[-1]

    async def _event(self, event_id: int, wanted: Condition) -> Step:
        while True:
            async with self._database.writing() as connection:
                deleted = await retention.delete_event(connection, event_id, wanted)
                if deleted and deleted.was_last:
                    now, judged = self._clock.now(), self._judged()
                    await trash.tell_removed(connection, event_id, deleted.camera_id, now, judged=judged)
            if deleted is None:
                return
            if deleted.was_last:
                self._announced.notify()
            yield Amount(int(deleted.done), await self._delete_files(deleted.files))
            if deleted.done:
                return

    async def clips(self, before: datetime) -> Step:
        """Delete the files of clips that arrived before; their frames stay."""
        while True:
            async with self._database.writing() as connection:
                deleted = await retention.prune_clips(connection, before, self._clock.now())
            if not deleted.clips:
                return
            yield Amount(len(deleted.clips), await self._delete_files(deleted))

    async def originals(self, before: datetime, *, disk: Path | None = None) -> Step:
        """Delete the files in the cameras' folders whose content was admitted before and is kept as media.

        With a disk, given by a path on it, only those that lie there.
        """
        async for items in self._admitted(before):
            yield await asyncio.to_thread(self._amount, items, partial(self._folders.delete, disk=disk))

    async def originals_amount(self, before: datetime) -> Amount:
        """Return what `originals` would delete."""
        total = Amount()
        async for items in self._admitted(before):
            total += await asyncio.to_thread(self._amount, items, self._folders.size)
        return total

    async def _admitted(self, before: datetime) -> AsyncGenerator[Sequence[Original]]:
        after = 0
        while True:
            async with self._database.reading() as connection:
                items = await originals.admitted(connection, before, after=after)
            if not items:
                return
            yield items
            after = items[-1].arrival_id

    def _amount(self, items: Iterable[Original], act: Callable[[FileVersion], int | None]) -> Amount:
        total = Amount()
        for item in items:
            if self._media.size(item.media_path) is None:
                continue
            try:
                size = act(item.file)
            except OSError as error:
                _LOGGER.warning("%r cannot be deleted: %s", item.file.path, error)
            else:
                total += Amount() if size is None else Amount(1, size)
        return total

    async def notes(self, before: datetime) -> AsyncGenerator[int]:
        """Forget arrivals of before whose files are gone."""
        after = 0
        while True:
            async with self._database.reading() as connection:
                notes = await originals.old_notes(connection, before, after=after)
            if not notes:
                return
            gone = await asyncio.to_thread(self._gone, notes)
            async with self._database.writing() as connection:
                await originals.forget(connection, gone)
            yield len(gone)
            after = notes[-1].id

    def _gone(self, notes: Iterable[Note]) -> list[Note]:
        return [note for note in notes if self._folders.is_gone(note.path)]

    async def strays(self) -> list[Strays]:
        """Compare the media folder with the database, camera by camera."""
        root, found = self._media.root, []
        async with self._database.reading() as connection:
            folders = await orphans.folders(connection, root)
        for folder in folders:
            present = await self._present_files(folder)
            async with self._database.reading() as connection:
                known = await orphans.known_files(connection, folder)
            found.append(await asyncio.to_thread(orphans.compare, root, present, known))
        return found

    async def _present_files(self, folder: str) -> dict[str, os.stat_result]:
        """Look through a folder on a thread, which ends soon when this is cancelled: a stop must not wait for it."""
        stopped = threading.Event()
        try:
            return await asyncio.to_thread(orphans.present_files, self._media.root, folder, stopped.is_set)
        except asyncio.CancelledError:
            stopped.set()
            raise

    async def tidy(self, strays: Sequence[Strays]) -> Step:
        """Delete orphans, and take note of which frames have their files."""
        for one in strays:
            for ids, at in ((one.missing, self._clock.now()), (one.found_again, None)):
                for start in range(0, len(ids), ORPHANS_AT_ONCE):
                    async with self._database.writing() as connection:
                        await orphans.mark_pruned(connection, ids[start : start + ORPHANS_AT_ONCE], at)
            paths = list(one.orphans)
            for start in range(0, len(paths), ORPHANS_AT_ONCE):
                yield await asyncio.to_thread(self._delete_media, paths[start : start + ORPHANS_AT_ONCE])

    async def _delete_files(self, deleted: Deleted) -> int:
        return (await asyncio.to_thread(self._delete_media, (*deleted.frames, *deleted.clips))).bytes

    def _delete_media(self, paths: Iterable[str]) -> Amount:
        """Delete files; one that cannot be deleted now is an orphan that the next cleanup finds."""
        total = Amount()
        for path in paths:
            try:
                size = self._media.delete(path)
            except (OSError, ValueError) as error:
                _LOGGER.warning("%r cannot be deleted: %s", path, error)
            else:
                total += Amount() if size is None else Amount(1, size)
        return total
