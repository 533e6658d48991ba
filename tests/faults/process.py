# SPDX-License-Identifier: AGPL-3.0-or-later
"""Real `hsi serve` processes, forked from one that has imported everything: a restart costs no imports."""

import asyncio
import functools
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from inference_server import app, cli, parts
from inference_server.core.worker import Role
from inference_server.detection.backends.opening import Opened
from inference_server.ingest.folder import admitting, watch
from inference_server.models.store import ModelStore, ResolvedModel
from inference_server.pipeline import (
    detect,
    disk_watch,
    redis_broker,
    remote_watch,
    replay,
    retry,
    sql_broker,
    stage,
    status_watch,
    supervise,
)
from inference_server.pipeline.breaker import CircuitBreaker
from tests.faults.detector import NumberedDetector
from tests.faults.points import Fault, Trap

_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload([__name__])


@dataclass(frozen=True, slots=True)
class Run:
    """What is special in one run of a process."""

    fault: Fault | None = None
    """Where it ends."""
    detector_seconds: float = 0.0
    detector_mode: Path | None = None
    """A file that says what is wrong with the detector."""
    lease_seconds: float | None = None
    clock: Path | None = None
    """A file that says by how many seconds the clock is wrong."""
    user: int | None = None
    """As whom it runs."""


@dataclass(frozen=True, slots=True)
class WrongClock:
    """Implements Clock: as far from the right time as a file says."""

    file: Path

    def now(self) -> datetime:
        """Return the time that the clock shows."""
        return datetime.now(UTC) + timedelta(seconds=float(self.file.read_text()))


class Server:
    """One `hsi serve` with its settings; it can be started again and again."""

    def __init__(self, settings: Mapping[str, str], log: Path, role: Role = Role.ALL) -> None:
        """Take the environment that makes the settings."""
        self.role = role
        self.log = log
        self.settings = dict(settings)
        self._process: ForkServerProcess | None = None

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process is not None
        assert self._process.pid is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.is_alive()

    def start(self, run: Run | None = None) -> None:
        """Start it; it may end by itself."""
        self._process = _FORKED.Process(target=_serve, args=(self.settings, self.role, self.log, run or Run()))
        self._process.start()

    async def ended(self) -> int:
        """Wait for its end and return the exit code, minus the signal's number after a signal."""
        process = self._process
        assert process is not None
        loop, gone = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(process.sentinel, gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(process.sentinel)
        process.join()
        assert process.exitcode is not None
        return process.exitcode

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    async def kill(self) -> None:
        """Pull its plug, if it runs."""
        if self.running:
            await self.stop(signal.SIGKILL)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end and return the exit code."""
        self.send(number)
        return await self.ended()


def _serve(settings: Mapping[str, str], role: Role, log: Path, run: Run) -> None:
    """Be `hsi serve`."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.environ.update(settings)
    if run.user is not None:
        os.setuid(run.user)
    _put_in_place(NumberedDetector(run.detector_seconds, run.detector_mode))
    if run.clock is not None:
        vars(app)["SystemClock"] = functools.partial(WrongClock, run.clock)
    if run.lease_seconds is not None:
        _lease(timedelta(seconds=run.lease_seconds))
    if run.fault is not None:
        Trap(run.fault)
    sys.exit(cli.main(["serve", "--role", role.value]))


def _put_in_place(detector: NumberedDetector) -> None:
    """Give the server a detector without weights, and waits that a test has the time for."""

    async def resolve(_store: ModelStore, _settings: object) -> ResolvedModel:
        return ResolvedModel(Path("numbered.onnx"), "numbered", "Numbered")

    vars(parts)["open_detector"] = lambda *_arguments, **_named: Opened(detector)
    ModelStore.resolve = resolve  # type: ignore[assignment,method-assign]
    vars(CircuitBreaker)["__init__"].__kwdefaults__["recovery_seconds"] = 1.0
    if detector.mode is not None:
        detect.PATIENCE_SECONDS, detect.PATIENCE_PER_PICTURE_SECONDS = 1.0, 0.0
    stage.TRIED_DELAY = timedelta(seconds=1)
    vars(stage)["MAX_DELIVERIES"] = 1000  # here it is never a picture that ends a process
    replay.PAUSE_SECONDS = 0.2
    remote_watch.INTERVAL_SECONDS = remote_watch.RETRY_SECONDS = 0.3
    retry.FIRST_DELAY_SECONDS = 0.05
    app.DATABASE_RETRY_SECONDS = stage.STORAGE_RETRY_SECONDS = 0.3
    admitting.RETRY_SECONDS = watch.RETRY_SECONDS = 0.3
    status_watch.INTERVAL_SECONDS = disk_watch.INTERVAL_SECONDS = redis_broker.CHECK_SECONDS = 0.5
    sql_broker.LONGEST_WAIT_SECONDS = 3.0
    supervise.FIRST_DELAY_SECONDS = 0.2


def _lease(lease: timedelta) -> None:
    """Make the lease of claimed messages one that a test can wait for."""
    make = parts.Parts._build_broker

    def make_with_lease(built: parts.Parts) -> Any:
        broker: Any = make(built)
        broker._lease = lease
        return broker

    parts.Parts._build_broker = make_with_lease  # type: ignore[assignment,method-assign]
