# SPDX-License-Identifier: AGPL-3.0-or-later
"""The analyst service as a process: loads the language model, listens, and stops in order."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from aiohttp import web

from inference_server.analyst_service.application import ServiceContext, create_application
from inference_server.analyst_service.metrics import Metrics
from inference_server.api.connections import LimitedRunner
from inference_server.api.context import ApiLimits
from inference_server.api.server import cannot_listen
from inference_server.api.service_access import ServiceAccess
from inference_server.api.throttle import Throttle
from inference_server.core.clock import Clock, SystemClock
from inference_server.hardware.analyst import reserve_analyst
from inference_server.hardware.machine import Machine
from inference_server.hardware.processor import look
from inference_server.models.errors import ModelUnavailable
from inference_server.models.store import ModelStore
from inference_server.observability.health import HealthBoard
from inference_server.risk.analyst.language_model import LanguageModel, ModelError, ModelState
from inference_server.risk.analyst.opening import Choice, LocalModel, NoModel, choose_model, open_model
from inference_server.settings import AnalystBackend, Settings
from inference_server.storage.data_folder import DataFolder
from inference_server.storage.token_file import ensure_secret

_LOGGER = logging.getLogger(__name__)

TRY_AGAIN_SECONDS = 30.0
LOOK_SECONDS = 2.0
"""How often a loaded model is looked at: one that died is started before somebody asks."""
_SHUTDOWN_SECONDS = 2.0
_REMEDY = "Use the token in the file `analyst-token` of the service's data folder, or of HSI_ANALYST_SERVICE__TOKEN."

type Open = Callable[[LocalModel], LanguageModel]


class AnalystServiceMisplacedError(Exception):
    """The settings make an analyst service without a model of its own."""


class AnalystService:
    """Serves the language model alone. It needs no database and no cameras."""

    def __init__(self, settings: Settings, clock: Clock | None = None, opened: Open | None = None) -> None:
        """Take the settings; nothing is opened. Raises AnalystServiceMisplacedError.

        `opened` makes the model instead of llama.cpp.
        """
        if settings.analyst.backend in {AnalystBackend.OPENAI, AnalystBackend.OFF}:
            raise AnalystServiceMisplacedError(
                f"This is to be an analyst service, but analyst.backend is {settings.analyst.backend}. "
                "Choose what this machine itself answers with (llama_cpp), or start it without --role analyst."
            )
        self._settings = settings
        clock = clock or SystemClock()
        self._machine = Machine(settings.hardware, HealthBoard(clock), clock)
        self._throttle = Throttle(clock, ApiLimits().refusals_per_minute)
        self._open = opened or (lambda chosen: open_model(chosen, settings.analyst, look().cores))
        self._model: LanguageModel | None = None
        self._problem: str | None = None
        self.stuck = 0
        """How many threads hang when everything else has stopped: none, the model has a process of its own."""
        self.port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """The port that is listened on, as soon as it is."""

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set. Raises DataFolderError, CannotListenError or OSError at the start."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._listening(self._context()))
            await stack.enter_async_context(self._loading())
            await stop.wait()
            _LOGGER.info("Stopping")

    def _context(self) -> ServiceContext:
        settings = self._settings
        metrics = Metrics(
            waiting=lambda: self._model.status.waiting if self._model else 0,
            running=lambda: self._model.status.running if self._model else 0,
            loaded=lambda: self._model is not None and self._model.status.state is ModelState.READY,
        )
        return ServiceContext(
            access=ServiceAccess(self._token(), self._throttle, remedy=_REMEDY, realm="hsi-analyst"),
            metrics=metrics,
            model=lambda: self._model,
            problem=lambda: self._problem,
            seconds=settings.analyst.timeout_seconds,
            most_waiting=settings.analyst.most_waiting,
            max_bytes=settings.analyst_service.max_bytes,
        )

    def _token(self) -> str:
        if self._settings.analyst_service.token is not None:
            return self._settings.analyst_service.token.get_secret_value()
        folder = DataFolder(self._settings.data_dir)
        folder.prepare()
        return ensure_secret(folder.analyst_token)

    @asynccontextmanager
    async def _listening(self, context: ServiceContext) -> AsyncIterator[None]:
        host, port = self._settings.analyst_service.host, self._settings.analyst_service.port
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
                raise cannot_listen(error, host, port, "HSI_ANALYST_SERVICE") from error
            self.port.set_result(int(runner.addresses[0][1]))
            _LOGGER.info("The analyst service listens on %s:%d", host, self.port.result())
            yield
        finally:
            await runner.cleanup()

    @asynccontextmanager
    async def _loading(self) -> AsyncIterator[None]:
        """Have the model loaded as long as the context lasts."""
        loading = asyncio.create_task(self._keep_loaded())
        try:
            yield
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
            model, self._model = self._model, None
            if model is not None:
                await model.close()

    async def _keep_loaded(self) -> None:
        while True:
            try:
                await self._load()
            except (ModelError, ModelUnavailable) as error:
                self._tell(f"{str(error).rstrip('.')}. {error.remedy}")
                await asyncio.sleep(TRY_AGAIN_SECONDS)
            else:
                self._problem = None
                await asyncio.sleep(LOOK_SECONDS)

    def _tell(self, problem: str) -> None:
        if problem != self._problem:
            _LOGGER.error("No language model: %s", problem)
        self._problem = problem

    async def _load(self) -> None:
        """Return once the model is loaded. Raises ModelError, ModelUnavailable."""
        if self._model is None:
            plan = await self._machine.plan()
            chosen = await asyncio.to_thread(self._chosen, plan.chosen.tier.analyst)
            if not isinstance(chosen, LocalModel):
                raise ModelUnavailable(*_why_not(chosen))
            size = (await asyncio.to_thread(chosen.path.stat)).st_size
            await reserve_analyst(plan, chosen.model_id, size, gpu=bool(self._settings.analyst.gpu_layers))
            self._model = self._open(chosen)
        await self._model.load()

    def _chosen(self, suggested: str | None) -> Choice:
        settings = self._settings
        store = ModelStore(settings.models_folder, offline=settings.models.offline_folder)
        here = settings.analyst.model_copy(update={"url": None, "backend": AnalystBackend.LLAMA_CPP})
        return choose_model(here, store, suggested)


def _why_not(chosen: NoModel | str) -> tuple[str, str]:
    return (chosen.reason, chosen.remedy) if isinstance(chosen, NoModel) else (chosen, "")
