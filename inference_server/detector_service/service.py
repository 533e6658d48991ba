# SPDX-License-Identifier: AGPL-3.0-or-later
"""The detector service as a process: loads the detector, listens, and stops in order."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from aiohttp import web

from inference_server.api.connections import LimitedRunner
from inference_server.api.context import ApiLimits
from inference_server.api.server import cannot_listen
from inference_server.api.throttle import Throttle
from inference_server.core.clock import Clock, SystemClock
from inference_server.core.signal import Signal
from inference_server.detection.backends.opening import Opened
from inference_server.detector_service.access import Access
from inference_server.detector_service.application import EngineBuildMessage, ServiceContext, create_application
from inference_server.detector_service.bodies import Bodies
from inference_server.detector_service.exchange import Exchange
from inference_server.detector_service.gpu import memory_used
from inference_server.detector_service.metrics import Metrics
from inference_server.hardware.detector import DetectorPlaces, Open, resolve_detector
from inference_server.hardware.machine import Machine
from inference_server.models.store import ModelStore
from inference_server.observability.health import HealthBoard
from inference_server.pipeline.engine_building import COMPONENT, EngineBuilding
from inference_server.pipeline.judging import Judging
from inference_server.pipeline.supervise import Supervisor
from inference_server.settings import Backend, Settings
from inference_server.storage.data_folder import DataFolder
from inference_server.storage.token_file import ensure_secret

_LOGGER = logging.getLogger(__name__)

_SHUTDOWN_SECONDS = 2.0

type Engines = Callable[[Judging, HealthBoard, DetectorPlaces[Opened]], EngineBuilding | None]
"""Returns what builds the detector's engine, None where none is wanted."""


def _no_engines(_judging: Judging, _health: HealthBoard, _places: DetectorPlaces[Opened]) -> None:
    return None


class DetectorServiceMisplacedError(Exception):
    """The settings make a detector service that would ask another one."""


class DetectorService:
    """Serves the detector alone. It needs no database and no cameras."""

    def __init__(
        self,
        settings: Settings,
        open_model: Open[Opened],
        clock: Clock | None = None,
        *,
        engines: Engines = _no_engines,
    ) -> None:
        """Take the settings, what opens a model and what builds its engine; nothing is opened.

        Raises DetectorServiceMisplacedError.
        """
        if settings.detector.backend is Backend.REMOTE:
            raise DetectorServiceMisplacedError(
                "This is to be a detector service, but detector.backend is remote. "
                "Choose what this machine itself judges with, or start it without --role detector."
            )
        self._settings = settings
        self._health = HealthBoard(clock or SystemClock())
        self._machine = Machine(settings.hardware, self._health, clock or SystemClock())
        self._judging = Judging(self._health, Signal(), make_room=self._machine.make_room)
        self._places = DetectorPlaces(self._machine.plan, settings.detector.here, open_model)
        self._building = engines(self._judging, self._health, self._places)
        self._metrics = Metrics(
            waiting=lambda: self._exchange.waiting,
            loaded=lambda: self._exchange.loaded is not None,
            stuck=lambda: self._exchange.stuck,
        )
        self._exchange = Exchange(self._judging, settings.detector_service, self._metrics.inferred)
        self._throttle = Throttle(clock or SystemClock(), ApiLimits().refusals_per_minute)
        self.port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """The port that is listened on, as soon as it is."""

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set. Raises DataFolderError, CannotListenError or OSError at the start."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._listening(self._context()))
            await stack.enter_async_context(self._judging_pictures())
            await stop.wait()
            _LOGGER.info("Stopping")

    @property
    def stuck(self) -> int:
        """How many inferences hang."""
        return self._exchange.stuck

    def _context(self) -> ServiceContext:
        settings = self._settings.detector_service
        return ServiceContext(
            settings=settings,
            access=Access(self._token(), self._throttle),
            bodies=Bodies(settings),
            metrics=self._metrics,
            status=lambda: self._judging.status,
            exchange=self._exchange,
            engine_build=self._engine_build,
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
    async def _judging_pictures(self) -> AsyncIterator[None]:
        """Judge as long as the context lasts, from when the detector is loaded."""
        supervisor = Supervisor(self._health)
        tasks = [
            asyncio.create_task(supervisor.run("detector", self._load)),
            asyncio.create_task(supervisor.run("batches", self._exchange.run)),
        ]
        if self._building is not None:
            tasks.append(asyncio.create_task(supervisor.run(COMPONENT, self._building.run)))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _load(self) -> None:
        store = ModelStore(self._settings.models_folder, offline=self._settings.models.offline_folder)
        plan = await self._machine.plan()
        await self._judging.load(
            lambda: resolve_detector(store, self._settings.detector, plan.chosen.tier), self._places.open
        )

    def _engine_build(self) -> EngineBuildMessage | None:
        """Return how far the detector's engine is; None where none is wanted or can be built."""
        report = next((component for component in self._health.components if component.name == COMPONENT), None)
        if report is None or "engine" not in report.details:
            return None
        progress = report.details.get("progress")
        message = ". ".join(text.rstrip(".") for text in (report.last_error, report.remedy) if text)
        return EngineBuildMessage(
            state=report.state,
            progress=progress if isinstance(progress, float) else None,
            message=f"{message}." if message else None,
        )
