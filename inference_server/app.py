# SPDX-License-Identifier: AGPL-3.0-or-later
"""The composition root: builds every part, starts and stops them in order. The only place that wires."""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import aiohttp

from inference_server import __version__
from inference_server.api.announce import SUPERVISOR_TOKEN_VARIABLE, Advertisement, SupervisorDiscovery
from inference_server.api.context import ApiContext, ApiLimits
from inference_server.api.file_limit import raise_file_limit
from inference_server.api.mdns import MdnsService
from inference_server.api.schema import SCHEMA_VERSION
from inference_server.api.server import ApiServer
from inference_server.core.clock import Clock, SystemClock
from inference_server.core.signal import Signal
from inference_server.core.status import DetectorState
from inference_server.core.worker import Role
from inference_server.detection.onnx_detector import PARALLEL, OnnxDetector
from inference_server.ingest.admission import Admission, Gate, Intake
from inference_server.ingest.backpressure import Backpressure
from inference_server.ingest.camera_reader import CameraReader
from inference_server.ingest.clip_admission import ClipAdmission
from inference_server.ingest.clip_decoder import ClipDecoder
from inference_server.ingest.clip_reading import ClipReader
from inference_server.ingest.folder.watch import FolderWatch
from inference_server.ingest.ftp.server import FtpService
from inference_server.ingest.known_cameras import KnownCameras
from inference_server.ingest.uploads import Uploads
from inference_server.models.store import ModelStore, ResolvedModel
from inference_server.observability.health import HealthBoard
from inference_server.observability.logs import LoopErrors
from inference_server.observability.steps import Steps
from inference_server.pipeline.backups import Backups
from inference_server.pipeline.batch import BatchRules
from inference_server.pipeline.broker import Broker
from inference_server.pipeline.close import CloseStage
from inference_server.pipeline.detect import DetectStage
from inference_server.pipeline.disk_watch import DiskWatch
from inference_server.pipeline.gather import GatherStage
from inference_server.pipeline.inference import InferenceThreads
from inference_server.pipeline.intake import FrameIntake
from inference_server.pipeline.judged_news import JudgedNews
from inference_server.pipeline.judging import Judging
from inference_server.pipeline.redis_broker import RedisBroker
from inference_server.pipeline.replay import AutomaticReplay
from inference_server.pipeline.sql_broker import SqlBroker
from inference_server.pipeline.stage import Stage, run_stage
from inference_server.pipeline.status_watch import StatusWatch
from inference_server.pipeline.streams import Streams
from inference_server.pipeline.supervise import Supervisor
from inference_server.pipeline.upkeep import Upkeep
from inference_server.pipeline.workers import Heartbeat, worker_name
from inference_server.settings import BACKUP_PASSPHRASE_VARIABLE, Settings, WatchRoot
from inference_server.storage import identity
from inference_server.storage.data_folder import DataFolder
from inference_server.storage.database import STORAGE_FAILURES, Database, DatabaseDownError
from inference_server.storage.media import MediaFolder
from inference_server.storage.token_file import ensure_token

_LOGGER = logging.getLogger(__name__)

STOP_SECONDS = 8.0
"""Whoever stops containers kills them after ten seconds."""
DATABASE_RETRY_SECONDS = 2.0
SHARED_RECHECK_SECONDS = 0.25
"""How often announcements of other processes are looked for, who cannot wake anybody here."""


class Server:
    """All parts of one process: of the one that does everything, or of a further worker."""

    broker: Broker

    def __init__(self, settings: Settings, clock: Clock | None = None, role: Role = Role.ALL) -> None:
        """Build the parts; nothing is opened or started. Raises DatabaseUnusableError, RedisMissingError."""
        self.settings = settings
        self.role = role
        self.clock = clock or SystemClock()
        self.folder = DataFolder(settings.data_dir)
        self.health = HealthBoard(self.clock)
        self.database = Database(settings.database)
        self.worker = settings.worker_name or worker_name(shared=self.database.shared)
        self.media = MediaFolder(self.folder.media)
        self.backpressure = Backpressure()
        self.announced = Signal()
        self.server_changed = Signal()
        self.judging = Judging(self.health, self.server_changed)
        self.threads = InferenceThreads(PARALLEL)
        self.backpressure = Backpressure()
        self.backups = Backups(
            self.database,
            self.folder,
            settings.backup,
            zone=settings.zone,
            passphrase=os.environ.get(BACKUP_PASSPHRASE_VARIABLE) or None,
            health=self.health,
            clock=self.clock,
        )
        self.heartbeat = Heartbeat(
            self.database,
            self.health,
            self.clock,
            name=self.worker,
            role=role,
            detector=lambda: self.judging.status.state,
        )
        self.known_cameras = KnownCameras(settings.zone)
        self.camera_reader = CameraReader(self.database, self.known_cameras, self.health)
        self.upkeep = Upkeep(
            settings,
            self.database,
            self.media,
            announced=self.announced,
            health=self.health,
            clock=self.clock,
            judged=lambda: self.judging.status.judges,
        )
        self._stopping = False

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set; a database that does not answer yet is waited for.

        Raises DataFolderError, DatabaseUnusableError or OSError at the start.
        """
        while not stop.is_set():
            try:
                await self._serve(stop)
            except DatabaseDownError as error:
                _LOGGER.warning("%s does not answer yet (%s); trying again", self.database.name, error)
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), DATABASE_RETRY_SECONDS)
            else:
                return

    async def _serve(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set. Raises DatabaseDownError only while starting."""
        steps = Steps(_LOGGER)
        async with AsyncExitStack() as stack:
            self.folder.prepare()
            if self.role is Role.ALL:
                stack.enter_context(self.folder.lock())
            stack.push_async_callback(self.database.close)
            await self.database.open()
            async with self.database.writing() as connection:
                server_id = await identity.server_id(connection, self.clock)
            token = await self._token()
            steps.done("database")
            self.broker = self._broker(server_id)
            stack.push_async_callback(self.broker.close)
            stack.push_async_callback(self._let_go)
            await self._recover()
            steps.done("messages")
            await self.camera_reader.read()
            api = ApiServer(self._api_context(server_id), self.settings.api.host, self.settings.api.port)
            await api.start()
            stack.push_async_callback(api.stop)
            steps.done("interface")
            await stack.enter_async_context(self._working())
            if token is not None:
                await stack.enter_async_context(self._advertised(server_id, token, api.port))
            steps.done("parts")
            _LOGGER.info(
                "Server %s listens on %s:%d; started in %s", server_id, self.settings.api.host, api.port, steps
            )
            await stop.wait()
            _LOGGER.info("Stopping; whatever waits is kept")
            self._stopping = True

    async def _token(self) -> str | None:
        """Return the integration's token, which the server that does everything looks after."""
        if self.role is not Role.ALL:
            return None
        return await ensure_token(self.database, self.folder.token, self.clock)

    async def _recover(self) -> None:
        try:
            recovered = await self.broker.recover()
        except STORAGE_FAILURES as error:
            _LOGGER.warning("What a stopped server was working on comes back when its lease is over: %s", error)
            return
        if recovered:
            _LOGGER.info("Took back %d messages that a stopped server was working on", recovered)

    async def _let_go(self) -> None:
        """Give what is not done to the others at once, instead of after its lease."""
        with suppress(*STORAGE_FAILURES):
            await self.heartbeat.stop()
            await self.broker.recover()

    def _broker(self, server_id: str) -> Broker:
        if self.settings.redis_url is None:
            return SqlBroker(self.database, self.clock, worker=self.worker)
        url = self.settings.redis_url.get_secret_value()
        streams = Streams(url, prefix=f"hsi:{server_id}", worker=self.worker)
        return RedisBroker(self.database, self.clock, streams=streams, health=self.health, worker=self.worker)

    @asynccontextmanager
    async def _working(self) -> AsyncIterator[None]:
        supervisor = Supervisor(self.health)
        tasks = [
            asyncio.create_task(supervisor.run(component, run), name=component) for component, run in self._parts()
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.threads.stop()

    def _parts(self) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        stages = self._stages()
        parts = [
            ("detector", self._load_detector),
            ("cameras", self.camera_reader.run),
            *((stage.name.value, self._runner(stage)) for stage in stages for _ in range(stage.lanes)),
            ("status", self._status_watch().run),
            ("broker", self.broker.run),
            ("heartbeat", self.heartbeat.run),
            ("replay", AutomaticReplay(self.database, self.broker, self.judging.breaker).run),
        ]
        if self.role is Role.ALL:
            judged = JudgedNews(self.database, self.announced, self.clock, self.judging)
            clips = self._clips()
            parts += [(watch.component, watch.run) for watch in self._watches(clips)]
            parts += [("clips", clips.run), ("judged", judged.run)]
            if self.settings.ftp.enabled:
                parts.append(("ftp", self._ftp().run))
            parts.append(("backup", self.backups.run))
            parts += [("disk", self._disk_watch().run), ("cleanup", self.upkeep.housekeeping.run)]
        return parts

    def _runner(self, stage: Stage) -> Callable[[], Awaitable[None]]:
        return lambda: run_stage(stage, self.broker, self.health)

    def _clips(self) -> ClipAdmission:
        settings, decoder = self.settings, ClipDecoder(self.settings.clips, self.settings.ingest)
        return ClipAdmission(
            settings.clips,
            reader=ClipReader(
                settings.clips,
                settings.ingest,
                decoder=decoder,
                cameras=self.known_cameras,
                database=self.database,
                media=self.media,
                clock=self.clock,
            ),
            intake=self._intake(),
            database=self.database,
            media=self.media,
            backpressure=self.backpressure,
            health=self.health,
            clock=self.clock,
        )

    def _watches(self, intake: Intake) -> list[FolderWatch]:
        return [self._watch(root, intake, main=number == 0) for number, root in enumerate(self.settings.watch_roots)]

    def _watch(self, root: WatchRoot, intake: Intake, *, main: bool) -> FolderWatch:
        limits, cameras = self.settings.ingest, self.known_cameras
        return FolderWatch(
            root,
            main=main,
            admission=Admission(root.path, self.media, limits, self.clock, cameras, main=main),
            intake=intake,
            database=self.database,
            health=self.health,
            backpressure=self.backpressure,
            cameras=cameras,
            settings=limits,
            clock=self.clock,
        )

    def _uploads(self) -> Uploads:
        limits = self.settings.ingest
        return Uploads(
            self.folder.uploads,
            gate=Gate(self.media, limits, self.known_cameras),
            intake=self._intake(),
            database=self.database,
            backpressure=self.backpressure,
            clock=self.clock,
            max_bytes=limits.max_bytes,
        )

    def _intake(self) -> FrameIntake:
        return FrameIntake(self.broker, self.announced, self.clock, judging=self.judging)

    def _ftp(self) -> FtpService:
        settings = self.settings
        return FtpService(
            settings.ftp,
            pictures=settings.ingest,
            root=settings.watch_folder,
            certificate=self.folder.ftp_certificate,
            database=self.database,
            backpressure=self.backpressure,
            health=self.health,
            clock=self.clock,
        )

    def _status_watch(self) -> StatusWatch:
        return StatusWatch(
            database=self.database,
            broker=self.broker,
            health=self.health,
            changed=self.server_changed,
            clock=self.clock,
            backpressure=self.backpressure,
            most_waiting=self.settings.pipeline.most_waiting,
        )

    def _disk_watch(self) -> DiskWatch:
        return DiskWatch(
            self.upkeep.places,
            housekeeping=self.upkeep.housekeeping,
            backpressure=self.backpressure,
            health=self.health,
            clock=self.clock,
            settings=self.settings.disk,
        )

    def _stages(self) -> tuple[Stage, ...]:
        settings = self.settings
        rules = BatchRules(settings.batch)
        detect = DetectStage(
            self.database,
            self.broker,
            self.media,
            self.clock,
            judging=self.judging,
            threads=self.threads,
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

    def _api_context(self, server_id: str) -> ApiContext:
        return ApiContext(
            database=self.database,
            media=self.media,
            clock=self.clock,
            server_id=server_id,
            name=self.settings.name,
            thresholds=self.settings.risk.thresholds,
            health=self.health,
            accounts=self.upkeep.accounts,
            housekeeping=self.upkeep.housekeeping,
            trash_days=self.settings.retention.trash_days,
            detector_status=lambda: self.judging.status,
            queue_status=self.broker.status,
            replay=self.broker.replay,
            announced=self.announced,
            server_changed=self.server_changed,
            uploads=self._uploads(),
            cameras_changed=self.camera_reader.read_if_possible,
            ready=self._is_ready,
            started_at=self.clock.now(),
            backups=self.backups,
            limits=ApiLimits(recheck_seconds=SHARED_RECHECK_SECONDS) if self.database.shared else ApiLimits(),
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


async def serve(settings: Settings, role: Role = Role.ALL) -> None:
    """Serve until the process is asked to stop (SIGTERM, SIGINT)."""
    raise_file_limit()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(LoopErrors())

    def ask_to_stop() -> None:
        if not stop.is_set():
            stop.set()
            _end_in_time()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask_to_stop)
    server = Server(settings, role=role)
    await server.run(stop)
    if server.threads.stuck:
        _end("%d calls of the detector hang", server.threads.stuck)


def _end_in_time() -> None:
    """End the process the hard way when stopping takes too long: something hangs, and nothing is lost by that."""
    timer = threading.Timer(STOP_SECONDS, _end, ("After %.0f s something hangs", STOP_SECONDS))
    timer.daemon = True
    timer.start()


def _end(reason: str, *values: object) -> None:
    _LOGGER.error(f"{reason}; the process ends without it", *values)  # noqa: G004 - the template of a constant
    logging.shutdown()
    os._exit(0)
