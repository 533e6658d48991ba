# SPDX-License-Identifier: AGPL-3.0-or-later
"""The detector service as a process: loads the detector, listens, and stops in order."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from aiohttp import web

from inference_server.api.connections import LimitedRunner
from inference_server.api.context import ApiLimits
from inference_server.api.server import cannot_listen
from inference_server.api.throttle import Throttle
from inference_server.core.clock import Clock, SystemClock
from inference_server.core.signal import Signal
from inference_server.detection.backends.opening import Opened
from inference_server.detector_service.access import Access
from inference_server.detector_service.application import Loaded, ServiceContext, create_application
from inference_server.detector_service.batching import Batcher
from inference_server.detector_service.bodies import Bodies
from inference_server.detector_service.gpu import memory_used
from inference_server.detector_service.metrics import Metrics
from inference_server.hardware.detector import place_detector, resolve_detector
from inference_server.hardware.machine import Machine
from inference_server.models.store import ModelStore, ResolvedModel
from inference_server.observability.health import HealthBoard
from inference_server.pipeline.judging import Judging
from inference_server.pipeline.supervise import Supervisor
from inference_server.settings import Backend, Settings
from inference_server.storage.data_folder import DataFolder
from inference_server.storage.token_file import ensure_secret

_LOGGER = logging.getLogger(__name__)

_SHUTDOWN_SECONDS = 2.0


class DetectorServiceMisplacedError(Exception):
    """The settings make a detector service that would ask another one."""


class DetectorService:
    """Serves the detector alone. It needs no database and no cameras."""

    def __init__(
        self, settings: Settings, build: Callable[[ResolvedModel], Opened], clock: Clock | None = None
    ) -> None:
        """Take the settings and what loads a model; nothing is opened. Raises DetectorServiceMisplacedError."""
        if settings.detector.backend is Backend.REMOTE:
            raise DetectorServiceMisplacedError(
                "This is to be a detector service, but detector.backend is remote. "
                "Choose what this machine itself judges with, or start it without --role detector."
            )
        self._settings = settings
        self._build = build
        self._health = HealthBoard(clock or SystemClock())
        self._machine = Machine(settings.hardware, self._health, clock or SystemClock())
        self._judging = Judging(self._health, Signal())
        self._throttle = Throttle(clock or SystemClock(), ApiLimits().refusals_per_minute)
        self._loaded: Loaded | None = None
        self.stuck = 0
        """How many inferences still hung when everything else had stopped."""
        self.port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """The port that is listened on, as soon as it is."""

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set. Raises DataFolderError, CannotListenError or OSError at the start."""
        async with AsyncExitStack() as stack:
            metrics = self._metrics()
            context = self._context(metrics)
            await stack.enter_async_context(self._listening(context))
            await stack.enter_async_context(self._judging_pictures(metrics))
            await stop.wait()
            _LOGGER.info("Stopping")

    def _metrics(self) -> Metrics:
        return Metrics(
            waiting=lambda: self._loaded.batcher.waiting if self._loaded else 0,
            loaded=lambda: self._loaded is not None,
            stuck=lambda: self._loaded.batcher.stuck if self._loaded else 0,
        )

    def _context(self, metrics: Metrics) -> ServiceContext:
        settings = self._settings.detector_service
        return ServiceContext(
            settings=settings,
            access=Access(self._token(), self._throttle),
            bodies=Bodies(settings),
            metrics=metrics,
            status=lambda: self._judging.status,
            loaded=lambda: self._loaded,
            vram_used=memory_used,
        )

    def _token(self) -> str:
        if self._settings.detector_service.token is not None:
            return self._settings.detector_service.token.get_secret_value()
        folder = DataFolder(self._settings.data_dir)
        folder.prepare()
        return ensure_secret(folder.detector_token)

    @asynccontextmanager
    async def _listening(self, context: ServiceContext) -> AsyncIterator[None]:
        host, port = context.settings.host, context.settings.port
        runner = LimitedRunner(
            create_application(context),
            ApiLimits(),
            handle_signals=False,
            handler_cancellation=True,
            shutdown_timeout=_SHUTDOWN_SECONDS,
        )
        await runner.setup()
        try:
            try:
                await web.TCPSite(runner, host, port).start()
            except OSError as error:
                raise cannot_listen(error, host, port, "HSI_DETECTOR_SERVICE") from error
            self.port.set_result(int(runner.addresses[0][1]))
            _LOGGER.info("The detector service listens on %s:%d", host, self.port.result())
            yield
        finally:
            await runner.cleanup()

    @asynccontextmanager
    async def _judging_pictures(self, metrics: Metrics) -> AsyncIterator[None]:
        """Judge as long as the context lasts, from when the detector is loaded."""
        judging = asyncio.create_task(Supervisor(self._health).run("detector", partial(self._judge, metrics)))
        try:
            yield
        finally:
            judging.cancel()
            await asyncio.gather(judging, return_exceptions=True)

    async def _judge(self, metrics: Metrics) -> None:
        store = ModelStore(self._settings.models_folder, offline=self._settings.models.offline_folder)
        plan = await self._machine.plan()
        await self._judging.load(
            lambda: resolve_detector(store, self._settings.detector, plan.chosen.tier),
            self._build,
            partial(place_detector, plan),
        )
        detector = await self._judging.detector()
        batcher = Batcher(
            detector,
            self._settings.detector_service,
            max_batch=self._settings.detector.max_batch,
            inferred=metrics.inferred,
        )
        try:
            async with batcher.running():
                self._loaded = Loaded(detector, batcher)
                await asyncio.Event().wait()
        finally:
            self._loaded = None
            self.stuck = batcher.stuck
