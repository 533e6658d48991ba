# SPDX-License-Identifier: AGPL-3.0-or-later
"""One process: starts and stops its parts in order, and ends when it is asked to."""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial

from inference_server import __version__
from inference_server.analyst_service.service import AnalystService
from inference_server.api.advertising import advertised
from inference_server.api.announce import Advertisement
from inference_server.api.file_limit import raise_file_limit
from inference_server.api.schema import SCHEMA_VERSION
from inference_server.api.server import ApiServer
from inference_server.core.clock import Clock, SystemClock
from inference_server.core.memory import keep_freed_memory
from inference_server.core.worker import Role
from inference_server.detector_service.service import DetectorService
from inference_server.observability.logs import LoopErrors
from inference_server.observability.steps import Steps
from inference_server.parts import Parts, engine_building, local_detector
from inference_server.pipeline.broker import Broker
from inference_server.pipeline.prompting import seed_prompts
from inference_server.pipeline.supervise import Supervisor
from inference_server.settings import Settings
from inference_server.storage import identity
from inference_server.storage.data_folder import DataFolder
from inference_server.storage.database import STORAGE_FAILURES, Database, DatabaseDownError
from inference_server.storage.token_file import ensure_token

_LOGGER = logging.getLogger(__name__)

STOP_SECONDS = 8.0
"""Whoever stops containers kills them after ten seconds."""
DATABASE_RETRY_SECONDS = 2.0


class Server:
    """One process: the one that does everything, or a further worker."""

    def __init__(self, settings: Settings, clock: Clock | None = None, role: Role = Role.ALL) -> None:
        """Take what decides what the process does; nothing is opened or started. Raises DatabaseUnusableError."""
        self._settings = settings
        self._role = role
        self._clock = clock or SystemClock()
        self._folder = DataFolder(settings.data_dir)
        self._database = Database(settings.database)
        self._stopping = False
        self.stuck = 0
        """How many calls of the detector still hung when everything else had stopped."""

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set; a database that does not answer yet is waited for.

        Raises DataFolderError, DatabaseUnusableError, RedisMissingError or OSError at the start.
        """
        while not stop.is_set():
            try:
                await self._serve(stop)
            except DatabaseDownError as error:
                _LOGGER.warning("%s does not answer yet (%s); trying again", self._database.name, error)
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), DATABASE_RETRY_SECONDS)
            else:
                return

    async def _serve(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set. Raises DatabaseDownError only while starting."""
        steps = Steps(_LOGGER)
        async with AsyncExitStack() as stack:
            self._folder.prepare()
            if self._role is Role.ALL:
                stack.enter_context(self._folder.lock())
            stack.push_async_callback(self._database.close)
            await self._database.open()
            async with self._database.writing() as connection:
                server_id = await identity.server_id(connection, self._clock)
                await seed_prompts(connection, self._clock)
            token = await self._token()
            steps.done("database")
            parts = self._parts(server_id)
            await stack.enter_async_context(_claims(parts))
            steps.done("messages")
            await parts.camera_reader.read()
            api = ApiServer(
                parts.api_context(lambda: not self._stopping and not parts.detector_is_starting),
                self._settings.api.host,
                self._settings.api.port,
            )
            await api.start()
            stack.push_async_callback(api.stop)
            steps.done("interface")
            await stack.enter_async_context(self._working(parts))
            if token is not None:
                shown = self._advertisement(server_id, api.port)
                await stack.enter_async_context(advertised(shown, token=token, mdns=self._settings.mdns))
            steps.done("parts")
            _LOGGER.info(
                "Server %s listens on %s:%d; started in %s", server_id, self._settings.api.host, api.port, steps
            )
            await stop.wait()
            _LOGGER.info("Stopping; whatever waits is kept")
            self._stopping = True

    def _parts(self, server_id: str) -> Parts:
        return Parts(self._settings, self._database, self._folder, self._clock, role=self._role, server_id=server_id)

    async def _token(self) -> str | None:
        """Return the integration's token, which the server that does everything looks after."""
        if self._role is not Role.ALL:
            return None
        return await ensure_token(self._database, self._folder.token, self._clock)

    @asynccontextmanager
    async def _working(self, parts: Parts) -> AsyncIterator[None]:
        supervisor = Supervisor(parts.health)
        tasks = [
            asyncio.create_task(supervisor.run(component, run), name=component) for component, run in parts.running()
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await parts.close_remote()
            parts.threads.stop()
            self.stuck = parts.threads.stuck

    def _advertisement(self, server_id: str, port: int) -> Advertisement:
        return Advertisement(
            server_id=server_id,
            name=self._settings.name,
            version=__version__,
            schema_version=SCHEMA_VERSION,
            host=self._settings.api.host,
            port=port,
        )


@asynccontextmanager
async def _claims(parts: Parts) -> AsyncIterator[None]:
    """Take back what a stopped server was working on, and give what is not done at the end to the others at once."""
    try:
        await _take_back(parts.broker)
        yield
    finally:
        with suppress(*STORAGE_FAILURES):
            await parts.heartbeat.stop()
            await parts.broker.recover()
        await parts.broker.close()


async def _take_back(broker: Broker) -> None:
    try:
        recovered = await broker.recover()
    except STORAGE_FAILURES as error:
        _LOGGER.warning("What a stopped server was working on comes back when its lease is over: %s", error)
    else:
        if recovered:
            _LOGGER.info("Took back %d messages that a stopped server was working on", recovered)


async def serve(settings: Settings, role: Role = Role.ALL) -> None:
    """Serve until the process is asked to stop (SIGTERM, SIGINT)."""
    raise_file_limit()
    keep_freed_memory()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(LoopErrors())

    def ask_to_stop() -> None:
        if not stop.is_set():
            stop.set()
            _end_in_time()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask_to_stop)
    server = _of_role(settings, role)
    await server.run(stop)
    if server.stuck:
        _end("%d calls of the detector hang", server.stuck)


def _detector_service(settings: Settings) -> DetectorService:
    return DetectorService(settings, local_detector(settings), engines=partial(engine_building, settings))


def _of_role(settings: Settings, role: Role) -> Server | DetectorService | AnalystService:
    if role is Role.DETECTOR:
        return _detector_service(settings)
    return AnalystService(settings) if role is Role.ANALYST else Server(settings, role=role)


def _end_in_time() -> None:
    """End the process the hard way when stopping takes too long: something hangs, and nothing is lost by that."""
    timer = threading.Timer(STOP_SECONDS, _end, ("After %.0f s something hangs", STOP_SECONDS))
    timer.daemon = True
    timer.start()


def _end(reason: str, *values: object) -> None:
    _LOGGER.error(f"{reason}; the process ends without it", *values)  # noqa: G004 - the template of a constant
    logging.shutdown()
    os._exit(0)
