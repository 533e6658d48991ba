# SPDX-License-Identifier: AGPL-3.0-or-later
"""The watch on one root, which holds one folder per camera."""

import asyncio
import errno
import logging
import os
import stat
import sys
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inference_server.core.clock import Clock
from inference_server.ingest.admission import Admission, Intake
from inference_server.ingest.backpressure import Backpressure
from inference_server.ingest.folder.admitting import Admitter, until_stored
from inference_server.ingest.folder.area import Area, RootParts
from inference_server.ingest.folder.condition import Condition, RootHealth
from inference_server.ingest.folder.existing import FirstSight
from inference_server.ingest.folder.ignoring import IgnoreRules
from inference_server.ingest.folder.mounts import MOUNT_TABLE, read_mounts
from inference_server.ingest.folder.old_files import OldFiles
from inference_server.ingest.folder.places import Place, places_of
from inference_server.ingest.known_cameras import KnownCameras
from inference_server.observability.health import HealthBoard, HealthState
from inference_server.settings import IngestSettings, WatchRoot
from inference_server.storage import watch_roots
from inference_server.storage.arrivals import storable
from inference_server.storage.database import Database
from inference_server.storage.watch_roots import KnownRoot

if TYPE_CHECKING:
    from inference_server.ingest.folder.inotify import Inotify

_LOGGER = logging.getLogger(__name__)

RETRY_SECONDS = 5.0
CHECK_SECONDS = 5.0
"""How often it is checked that the root is still the same folder with the same mounts."""
IMPORT_THREADS = 2
COMPONENT = "ingest"


@dataclass(frozen=True, slots=True)
class Layout:
    """Which folder a root is (device and inode), and on which file systems it lies."""

    device: int
    inode: int
    places: tuple[Place, ...]


class FolderWatch:
    """Watches one root, each of its places for itself. The files are the truth; events only make it quick."""

    def __init__(
        self,
        root: WatchRoot,
        *,
        main: bool = True,
        admission: Admission,
        intake: Intake,
        database: Database,
        health: HealthBoard,
        backpressure: Backpressure,
        cameras: KnownCameras,
        settings: IngestSettings,
        clock: Clock,
        mount_table: Path = MOUNT_TABLE,
    ) -> None:
        """Take the parts; nothing is watched yet. The main root is made where it is missing, others are not."""
        path = root.path.resolve()
        self.component = COMPONENT if main else f"{COMPONENT}:{storable(str(path))}"
        self._path = path
        self._root = root
        self._main = main
        self._admission = admission
        self._intake = intake
        self._database = database
        self._backpressure = backpressure
        self._cameras = cameras
        self._settings = settings
        self._clock = clock
        self._mount_table = mount_table
        self._health = RootHealth(health, self.component, watching=storable(str(path)))

    async def run(self) -> None:
        """Watch until cancelled, anew whenever another folder or mount takes the root's place."""
        thread = ThreadPoolExecutor(1, thread_name_prefix="root")
        try:
            while True:
                self._health.clear()
                try:
                    layout = await asyncio.get_running_loop().run_in_executor(thread, self._prepare)
                except OSError as error:
                    self._report_no_root(error)
                    await asyncio.sleep(RETRY_SECONDS)
                else:
                    await self._watch(layout, thread)
        finally:
            thread.shutdown(wait=False)

    def _prepare(self) -> Layout:
        if self._main:
            self._path.mkdir(parents=True, exist_ok=True)
        return self._layout()

    def _layout(self) -> Layout:
        """Return which folder the root is and on what it lies. Raises OSError when it is gone, or no folder."""
        status = self._path.stat()
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(self._path))
        places = places_of(str(self._path), self._root.mode, read_mounts(self._mount_table))
        return Layout(status.st_dev, status.st_ino, places)

    def _is_still(self, layout: Layout) -> bool:
        try:
            return self._layout() == layout
        except OSError:
            return False

    async def _watch(self, layout: Layout, thread: Executor) -> None:
        """Watch until the root is another folder, or lies on other file systems."""
        known = await until_stored(self._see, self._health)
        sight = FirstSight(known.first_seen_at, finished=known.finished)
        threads = ThreadPoolExecutor(IMPORT_THREADS, thread_name_prefix="import")
        inotify = self._inotify(layout.places)
        try:
            areas = self._areas(layout.places, sight, inotify)
            old_files = self._old_files(areas, sight, threads)
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(run()) for run in (*(area.run for area in areas), old_files.run)]
                loop = asyncio.get_running_loop()
                # nothing tells that a mount has gone
                while await loop.run_in_executor(thread, self._is_still, layout):  # noqa: ASYNC110
                    await asyncio.sleep(min(CHECK_SECONDS, self._settings.rescan_seconds))
                _LOGGER.warning(
                    "%s is another folder now, or mounted otherwise; watching it anew", storable(str(self._path))
                )
                for task in running:
                    task.cancel()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            if inotify is not None:
                await asyncio.to_thread(inotify.close)

    async def _see(self) -> KnownRoot:
        async with self._database.writing() as connection:
            return await watch_roots.see(connection, str(self._path), self._clock.now(), main=self._main)

    def _inotify(self, places: Sequence[Place]) -> "Inotify | None":
        """Begin to be told about new files where a place wants it; say so where the system cannot."""
        problems = []
        inotify = None
        if not all(place.polled for place in places):
            try:
                inotify = _start_inotify(asyncio.get_running_loop())
            except OSError as error:
                problems.append(
                    f"The system tells nothing about new files ({error}), so that folders are polled: "
                    "raise fs.inotify.max_user_instances, then restart the server."
                )
        self._health.note_problems("inotify", problems)
        self._tell_how(places, told=inotify is not None)
        return inotify

    def _tell_how(self, places: Sequence[Place], *, told: bool) -> None:
        polling = f"polling every {self._root.poll_seconds:g} s"

        def how(place: Place) -> str:
            return "inotify" if told and not place.polled else polling

        def why(place: Place) -> str:
            return place.why if told or place.polled else "the system cannot tell about new files"

        for place in places:
            _LOGGER.info("Watching %s by %s, because %s", storable(place.path), how(place), why(place))
        root, *mounted = places
        below = "; ".join(f"{storable(place.path)}: {how(place)}, because {why(place)}" for place in mounted)
        self._health.tell(watched_by=how(root), because=why(root), mounted_below=below or None)

    def _areas(self, places: Sequence[Place], sight: FirstSight, inotify: "Inotify | None") -> list[Area]:
        path = str(self._path)
        parts = RootParts(
            root=path,
            prefix="" if self._main else f"{path}/",
            poll_seconds=self._root.poll_seconds,
            rescan_seconds=self._settings.rescan_seconds,
            admission=self._admission,
            intake=self._intake,
            database=self._database,
            backpressure=self._backpressure,
            health=self._health,
            sight=sight,
            rules=IgnoreRules(self._settings.ignore, self._patterns_of),
            clock=self._clock,
        )
        mounted = frozenset(place.path for place in places)
        watch = None if inotify is None else inotify.watch
        return [
            Area(place, parts, elsewhere=mounted - {place.path}, watch=None if place.polled else watch)
            for place in places
        ]

    def _patterns_of(self, camera_id: str) -> Sequence[str]:
        return self._cameras.settings(camera_id).ignore_patterns

    def _old_files(self, areas: Sequence[Area], sight: FirstSight, threads: Executor) -> OldFiles:
        async def until_live_done() -> None:
            for area in areas:
                await area.until_done()

        return OldFiles(
            str(self._path),
            self._settings.existing_files,
            sight=sight,
            scanned=[area.scanned for area in areas],
            until_live_done=until_live_done,
            admitter=Admitter(admission=self._admission, intake=self._intake, health=self._health, threads=threads),
            backpressure=self._backpressure,
            database=self._database,
            health=self._health,
            clock=self._clock,
        )

    def _report_no_root(self, error: OSError) -> None:
        remedy = (
            "Make the watch folder (HSI_WATCH_ROOT) a folder that the server may read."
            if self._main
            else "Mount or make the folder, or take it out of HSI_INGEST__MORE_ROOTS."
        )
        self._health.note(
            "root",
            Condition(
                HealthState.DOWN,
                f"The watch folder cannot be used: {error}.",
                "Pictures that were admitted before are judged, and other watch folders are watched.",
                remedy,
            ),
        )


def _start_inotify(loop: asyncio.AbstractEventLoop) -> "Inotify | None":
    if sys.platform != "linux":
        return None
    from inference_server.ingest.folder.inotify import Inotify  # noqa: PLC0415 - exists on Linux alone

    return Inotify(loop)
