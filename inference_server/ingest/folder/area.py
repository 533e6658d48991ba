# SPDX-License-Identifier: AGPL-3.0-or-later
"""One place of a watch root at work: files are found, settle, and are brought to admission in their order."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from inference_server.core.clock import Clock
from inference_server.ingest.admission import Admission, Intake
from inference_server.ingest.backpressure import Backpressure
from inference_server.ingest.folder.admitting import Admitter, until_stored
from inference_server.ingest.folder.condition import Condition, RootHealth
from inference_server.ingest.folder.existing import FirstSight
from inference_server.ingest.folder.ignoring import IgnoreRules
from inference_server.ingest.folder.line import Line
from inference_server.ingest.folder.lookout import Lookout
from inference_server.ingest.folder.names import is_path_wanted, is_video, settled_seconds
from inference_server.ingest.folder.places import Place
from inference_server.ingest.folder.settling import Settling
from inference_server.ingest.folder.sighting import NANOSECONDS, Sighting, Version, look_at
from inference_server.ingest.folder.tree import Tree
from inference_server.observability.health import HealthState
from inference_server.storage import arrivals
from inference_server.storage.arrivals import FileVersion
from inference_server.storage.database import Database

GROUP = 16
"""Files that are examined side by side and recorded in one transaction."""
THREADS = 4
"""Per place, so that one that does not answer keeps no other waiting."""
AT_REST_SECONDS = 60.0
"""A file that was written before is not looked at twice: clocks of file servers differ by less."""


@dataclass(frozen=True, slots=True)
class RootParts:
    """What the places of a watch root share. The root is a resolved path."""

    root: str
    prefix: str
    """What stands before a path below the root in the database."""
    poll_seconds: float
    rescan_seconds: float
    admission: Admission
    intake: Intake
    database: Database
    backpressure: Backpressure
    health: RootHealth
    sight: FirstSight
    rules: IgnoreRules
    clock: Clock


class Area:
    """Watches one place. The files are the truth; events only make it quick."""

    def __init__(
        self,
        place: Place,
        parts: RootParts,
        *,
        elsewhere: frozenset[str],
        watch: Callable[[str, "Area"], bool] | None,
    ) -> None:
        """Take the place, the folders that are other places, and how to have the system tell about a folder."""
        self.scanned = asyncio.Event()
        """Set when everything was looked at for the first time."""
        self._pictures = Line()
        self._videos = Line()
        self._place = place
        self._parts = parts
        self._settling = Settling()
        self._by_scan: list[Sighting] = []
        self._period = parts.poll_seconds if watch is None else 0.0
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="folder")
        self._tree = Tree(
            place.path,
            root=parts.root,
            prefix=parts.prefix,
            rules=parts.rules,
            elsewhere=elsewhere,
            watch=None if watch is None else lambda path: watch(path, self),
        )
        self._lookout = Lookout(
            self._tree,
            parts.root,
            finder=self,
            in_thread=self._in_thread,
            poll_seconds=parts.poll_seconds,
            rescan_seconds=parts.rescan_seconds,
        )
        self._admitter = Admitter(
            admission=parts.admission, intake=parts.intake, health=parts.health, threads=self._threads
        )

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._lookout.run())
                tasks.create_task(self._let_settle())
                tasks.create_task(self._admit(self._pictures, GROUP))
                tasks.create_task(self._admit(self._videos, 1))
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def file_finished(self, path: str) -> None:
        """Take note of a file that was closed or renamed into place."""
        self._settling.discard(path)
        if self._is_wanted(path):
            self._parts.sight.discard(path)
            self._line_of(path).add(path)

    def file_appeared(self, path: str) -> None:
        """Take note of a file that may still be being written."""
        if self._is_wanted(path):
            self._settle(path, None)

    def folder_appeared(self, path: str) -> None:
        """Take note of a folder that was made or moved here, with whatever is in it already."""
        self._lookout.look_into(path)

    def folder_went(self, path: str) -> None:
        """Take note of a folder that was moved away."""
        self._lookout.forget(path)

    def events_lost(self) -> None:
        """Take note that the system had more to tell than it could keep."""
        self._lookout.scan_soon()

    async def until_done(self) -> None:
        """Return when no file waits to be admitted."""
        await self._pictures.until_empty()
        await self._videos.until_empty()

    async def found(self, sightings: list[Sighting], *, by_scan: bool) -> None:
        """Let files wait for what is to become of them, those aside that were dealt with before."""
        if sightings:
            self._parts.sight.note_found()
        for seen in await self._unseen(sightings):
            if seen.path in self._line_of(seen.path):
                continue
            if self._parts.sight.is_old(seen):
                self._parts.sight.keep(seen)
            elif by_scan and self._is_at_rest(seen):
                self._by_scan.append(seen)
            else:
                self._settle(seen.path, seen.version)
        self._tell_problems()

    def looked_around(self) -> None:
        """Bring what a scan found into the line, in the order of its arrival."""
        self._by_scan.sort(key=lambda seen: seen.changed_ns)
        for seen in self._by_scan:
            self._line_of(seen.path).add(seen.path)
        self._by_scan.clear()
        self.scanned.set()
        self._tell_whether_empty()

    async def _unseen(self, sightings: Sequence[Sighting]) -> list[Sighting]:
        async def ask() -> set[FileVersion]:
            async with self._parts.database.reading() as connection:
                return set(await arrivals.unseen(connection, [seen.file for seen in sightings]))

        unseen = await until_stored(ask, self._parts.health) if sightings else ()
        return [seen for seen in sightings if seen.file in unseen]

    def _is_at_rest(self, seen: Sighting) -> bool:
        now_ns = int(self._parts.clock.now().timestamp() * NANOSECONDS)
        rest_seconds = max(AT_REST_SECONDS, settled_seconds(seen.path))
        return seen.written_ns(now_ns) < now_ns - int(rest_seconds * NANOSECONDS)

    def _is_wanted(self, path: str) -> bool:
        below = path[len(self._parts.root) + 1 :]
        return is_path_wanted(below) and not self._parts.rules.ignore(below)

    def _settle(self, path: str, version: Version | None) -> None:
        if path not in self._settling and path not in self._line_of(path):
            rest = 0.0 if version is None else max(settled_seconds(path), self._period)
            self._settling.add(path, version, asyncio.get_running_loop().time() + rest)

    async def _let_settle(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._settling.until_due(loop.time())
            before = self._settling.take_due(loop.time())
            rested = []
            for seen in await self._in_thread(look_at, list(before), self._tree.name_of):
                if seen.version == before[seen.path]:
                    rested.append(seen)
                else:
                    self._settle(seen.path, seen.version)
            for seen in await self._unseen(rested):
                self._line_of(seen.path).add(seen.path)

    def _line_of(self, path: str) -> Line:
        """Return where a file waits: no picture waits until a video is sampled."""
        return self._videos if is_video(path) else self._pictures

    async def _admit(self, line: Line, together: int) -> None:
        while True:
            await line.until_filled()
            await self._until_open()
            await self._admitter.admit(line.take(together))

    async def _until_open(self) -> None:
        reason = self._parts.backpressure.reason
        if reason is not None:
            waits = Condition(
                HealthState.DEGRADED,
                reason,
                "Files stay in the camera folders and are admitted later.",
                "It goes on by itself when that is over.",
            )
            self._parts.health.note("backpressure", waits)
            await self._parts.backpressure.until_open()
            self._parts.health.note("backpressure", None)

    def _tell_problems(self) -> None:
        problems = list(self._tree.problems)
        if self._tree.unwatched:
            problems.append(
                f"The system tells nothing about new files in {self._tree.unwatched} folders, which are polled: "
                "raise fs.inotify.max_user_watches."
            )
        self._parts.health.note_problems(f"problems of {self._place.path}", problems)

    def _tell_whether_empty(self) -> None:
        """An empty root that held files before may be a share that is not mounted."""
        path = self._place.path
        empty = path == self._parts.root and self._parts.sight.finished and not self._tree.top.folders
        problem = f"The folder {path} is empty now: if it is a share or a disk, check that it is mounted."
        self._parts.health.note_problems("empty", [problem] if empty else [])

    def _in_thread[*Args, Result](self, function: Callable[[*Args], Result], *args: *Args) -> Awaitable[Result]:
        return asyncio.get_running_loop().run_in_executor(self._threads, function, *args)
