# SPDX-License-Identifier: AGPL-3.0-or-later
"""The composition root: builds every part, starts and stops them in order. The only place that wires."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp

from inference_server import __version__
from inference_server.api.announce import SUPERVISOR_TOKEN_VARIABLE, Advertisement, SupervisorDiscovery
from inference_server.api.context import ApiContext
from inference_server.api.file_limit import raise_file_limit
from inference_server.api.mdns import MdnsService
from inference_server.api.schema import SCHEMA_VERSION
from inference_server.api.server import ApiServer
from inference_server.core.announcement import Announcement, AnnouncementKind
from inference_server.core.clock import Clock, SystemClock
from inference_server.core.signal import Signal
from inference_server.core.status import DetectorState
from inference_server.detection.onnx_detector import PARALLEL, OnnxDetector
from inference_server.ingest.admission import Admission
from inference_server.ingest.folder import FolderWatch
from inference_server.models.store import ModelStore, ResolvedModel
from inference_server.observability.health import HealthBoard
from inference_server.observability.logs import LoopErrors
from inference_server.pipeline.batch import BatchRules
from inference_server.pipeline.close import CloseStage
from inference_server.pipeline.detect import DetectStage
from inference_server.pipeline.gather import GatherStage
from inference_server.pipeline.intake import FrameIntake
from inference_server.pipeline.judging import Judging
from inference_server.pipeline.sql_broker import SqlBroker
from inference_server.pipeline.stage import Stage, run_stage
from inference_server.pipeline.status_watch import StatusWatch
from inference_server.pipeline.supervise import supervise
from inference_server.settings import Settings
from inference_server.storage import announcements, cameras, identity
from inference_server.storage.data_folder import DataFolder
from inference_server.storage.database import Database
from inference_server.storage.media import MediaFolder
from inference_server.storage.token_file import ensure_token

_LOGGER = logging.getLogger(__name__)

PRUNE_SECONDS = 600.0


class Server:
    """All parts of one process that does everything, on one data folder."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        """Build the parts; nothing is opened or started."""
        self.settings = settings
        self.clock = clock or SystemClock()
        self.folder = DataFolder(settings.data_dir)
        self.health = HealthBoard(self.clock)
        self.database = Database(self.folder.database)
        self.media = MediaFolder(self.folder.media)
        self.announced = Signal()
        self.server_changed = Signal()
        self.broker = SqlBroker(self.database, self.clock)
        self.judging = Judging(self.health, self.server_changed)
        self._stopping = False

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set. Raises DataFolderError, DatabaseUnusableError or OSError at the start."""
        async with AsyncExitStack() as stack:
            self.folder.prepare()
            stack.enter_context(self.folder.lock())
            await self.database.open()
            stack.push_async_callback(self.database.close)
            async with self.database.writing() as connection:
                server_id = await identity.server_id(connection, self.clock)
            token = await ensure_token(self.database, self.folder.token, self.clock)
            if recovered := await self.broker.recover():
                _LOGGER.info("Took back %d messages that a stopped server was working on", recovered)
            api = ApiServer(self._api_context(server_id), self.settings.api.host, self.settings.api.port)
            await api.start()
            stack.push_async_callback(api.stop)
            await stack.enter_async_context(self._working())
            await stack.enter_async_context(self._advertised(server_id, token, api.port))
            _LOGGER.info("Server %s listens on %s:%d", server_id, self.settings.api.host, api.port)
            await stop.wait()
            _LOGGER.info("Stopping; whatever waits is kept")
            self._stopping = True

    @asynccontextmanager
    async def _working(self) -> AsyncIterator[None]:
        with ThreadPoolExecutor(PARALLEL, thread_name_prefix="inference") as threads:
            tasks = [
                asyncio.create_task(supervise(component, run, self.health), name=component)
                for component, run in self._parts(threads)
            ]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def _parts(self, threads: Executor) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        watch, stages = self._watch(), self._stages(threads)
        return [
            ("detector", self._load_detector),
            ("ingest", watch.run),
            *((stage.name.value, self._runner(stage)) for stage in stages for _ in range(stage.lanes)),
            ("status", self._status_watch().run),
            ("announcements", self._prune),
            ("broker", self.broker.run),
        ]

    def _runner(self, stage: Stage) -> Callable[[], Awaitable[None]]:
        return lambda: run_stage(stage, self.broker, self.health)

    def _watch(self) -> FolderWatch:
        settings = self.settings
        return FolderWatch(
            settings.watch_folder,
            admission=Admission(settings.watch_folder, self.media, settings.ingest, self.clock),
            intake=FrameIntake(self.broker, self.announced, self.clock, judging=self.judging),
            database=self.database,
            health=self.health,
            rescan_seconds=settings.ingest.rescan_seconds,
        )

    def _status_watch(self) -> StatusWatch:
        return StatusWatch(
            self.folder.root,
            database=self.database,
            broker=self.broker,
            health=self.health,
            changed=self.server_changed,
            clock=self.clock,
        )

    def _stages(self, threads: Executor) -> tuple[Stage, ...]:
        settings = self.settings
        rules = BatchRules(settings.batch)
        detect = DetectStage(
            self.database,
            self.broker,
            self.media,
            self.clock,
            judging=self.judging,
            threads=threads,
        )
        gather = GatherStage(
            self.broker,
            self.announced,
            self.clock,
            judging=self.judging,
            rules=rules,
            risk=settings.risk,
            zone=settings.zone,
        )
        close = CloseStage(self.broker, self.announced, self.clock, judging=self.judging, rules=rules)
        return detect, gather, close

    async def _load_detector(self) -> None:
        settings = self.settings.detector
        store = ModelStore(self.settings.models_folder)

        def build(model: ResolvedModel) -> OnnxDetector:
            return OnnxDetector(model.path, settings, name=model.name)

        await self.judging.load(lambda: store.resolve(settings), build)
        await self._tell_whether_judged()

    async def _tell_whether_judged(self) -> None:
        """Tell every camera's state again: without a detector it was unknown, not safe."""
        async with self.database.writing() as connection:
            states = await cameras.states(connection, judged=self.judging.status.judges)
            now = self.clock.now()
            told = [Announcement(AnnouncementKind.CAMERA_UPDATED, state.camera.id, now, state) for state in states]
            await announcements.add(connection, told)
        self.announced.notify()

    async def _prune(self) -> None:
        while True:
            async with self.database.writing() as connection:
                await announcements.prune(connection)
            await asyncio.sleep(PRUNE_SECONDS)

    def _api_context(self, server_id: str) -> ApiContext:
        return ApiContext(
            database=self.database,
            media=self.media,
            clock=self.clock,
            server_id=server_id,
            name=self.settings.name,
            thresholds=self.settings.risk.thresholds,
            health=self.health,
            detector_status=lambda: self.judging.status,
            queue_status=self.broker.status,
            announced=self.announced,
            server_changed=self.server_changed,
            ready=self._is_ready,
            started_at=self.clock.now(),
        )

    def _is_ready(self) -> bool:
        return not self._stopping and self.judging.status.state is not DetectorState.STARTING

    @asynccontextmanager
    async def _advertised(self, server_id: str, token: str, port: int) -> AsyncIterator[None]:
        advertisement = Advertisement(
            server_id=server_id,
            name=self.settings.name,
            version=__version__,
            schema_version=SCHEMA_VERSION,
            host=self.settings.api.host,
            port=port,
        )
        supervisor_token = os.environ.get(SUPERVISOR_TOKEN_VARIABLE)
        async with AsyncExitStack() as stack:
            if supervisor_token:
                session = await stack.enter_async_context(aiohttp.ClientSession())
                discovery = SupervisorDiscovery(session, advertisement, token=token, supervisor_token=supervisor_token)
                await discovery.start()
                stack.push_async_callback(discovery.stop)
            if self.settings.mdns:
                mdns = MdnsService(advertisement, homeassistant_app=bool(supervisor_token))
                showing = asyncio.create_task(mdns.start(), name="mdns")
                stack.push_async_callback(mdns.stop)
                stack.callback(showing.cancel)
            yield


async def serve(settings: Settings) -> None:
    """Serve until the process is asked to stop (SIGTERM, SIGINT)."""
    raise_file_limit()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(LoopErrors())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await Server(settings).run(stop)
