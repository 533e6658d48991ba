# SPDX-License-Identifier: AGPL-3.0-or-later
"""A watch root with what is outside of it, and the folder watch on it."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from zoneinfo import ZoneInfo

from inference_server.core.clock import SystemClock
from inference_server.ingest.admission import Admission
from inference_server.ingest.backpressure import Backpressure
from inference_server.ingest.folder.mounts import MOUNT_TABLE
from inference_server.ingest.folder.watch import FolderWatch
from inference_server.ingest.known_cameras import KnownCameras
from inference_server.observability.health import ComponentHealth, HealthBoard
from inference_server.settings import ExistingFiles, IngestSettings, WatchMode, WatchRoot
from inference_server.storage import watch_roots
from inference_server.storage.database import Database
from inference_server.storage.media import MediaFolder
from tests.support.home import MovableClock
from tests.support.pictures import TINY_ALLOWED, jpeg
from tests.support.recording_intake import RecordingIntake

LONG = 3600.0
MARKER = "marker/0.jpg"


@dataclass
class Watched:
    """A watch root, what is outside of it, and what was taken from it."""

    root: Path
    outside: Path
    media: MediaFolder
    intake: RecordingIntake
    health: HealthBoard
    database: Database
    mode: WatchMode = WatchMode.AUTO
    rescan_seconds: float = LONG
    existing: ExistingFiles = ExistingFiles.IGNORE
    ignore: tuple[str, ...] = ()
    known: bool = True
    """Whether the root was seen before, so that files count whatever their age."""
    main: bool = True
    mount_table: Path = MOUNT_TABLE
    backpressure: Backpressure = field(default_factory=Backpressure)
    cameras: KnownCameras = field(default_factory=lambda: KnownCameras(ZoneInfo("UTC")))

    def write(self, name: str, content: bytes, *, old: bool = False) -> Path:
        """Write a file below the root; an old one was written long ago."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if old:
            seconds = path.stat().st_mtime - 2 * LONG
            os.utime(path, (seconds, seconds))
        return path

    def ingest(self) -> ComponentHealth:
        """Return what health says about the root."""
        component = "ingest" if self.main else f"ingest:{self.root}"
        return next(found for found in self.health.components if found.name == component)

    @property
    def settings(self) -> IngestSettings:
        """Return the settings of ingest."""
        changed = {"existing_files": self.existing, "ignore": self.ignore, "rescan_seconds": self.rescan_seconds}
        return TINY_ALLOWED.model_copy(update=changed)

    def watch(self) -> FolderWatch:
        """Return a watch on the root."""
        return FolderWatch(
            WatchRoot(path=self.root, mode=self.mode, poll_seconds=0.1),
            main=self.main,
            admission=Admission(self.root, self.media, TINY_ALLOWED, MovableClock(), self.cameras, main=self.main),
            intake=self.intake,
            database=self.database,
            health=self.health,
            backpressure=self.backpressure,
            cameras=self.cameras,
            settings=self.settings,
            clock=SystemClock(),
            mount_table=self.mount_table,
        )

    async def know(self) -> None:
        """Have the root seen before."""
        path, now = str(self.root.resolve()), SystemClock().now()
        async with self.database.writing() as connection:
            await watch_roots.see(connection, path, now, main=self.main)
            await watch_roots.finish(connection, path, now)

    @asynccontextmanager
    async def started(self) -> AsyncIterator[None]:
        """Watch during the block."""
        if self.known:
            await self.know()
        task = asyncio.create_task(self.watch().run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watch during the block. Live events work from its start: a marker was found by the scan that follows them."""
        self.write(MARKER, jpeg(999), old=self.known)
        async with self.started():
            await self.intake.until_taken(MARKER if self.main else str(self.root / MARKER))
            yield


async def until_healthy(watched: Watched, words: str) -> ComponentHealth:
    """Return what health says about the root once it contains these words."""
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(StopIteration):
                found = watched.ingest()
                if words in f"{found.state} {found.last_error} {found.details}":
                    return found
            await asyncio.sleep(0.01)
