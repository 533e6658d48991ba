# SPDX-License-Identifier: AGPL-3.0-or-later
"""Heartbeat: tells the others that this process works, and shows which of them do not any more."""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from inference_server.core.clock import Clock
from inference_server.core.status import DetectorState
from inference_server.core.worker import Role, Worker
from inference_server.observability.health import HealthBoard, HealthState
from inference_server.storage import workers
from inference_server.storage.database import STORAGE_FAILURES, Database

BEAT_SECONDS = 5.0
SILENT_AFTER = timedelta(seconds=30)
FORGOTTEN_AFTER = timedelta(hours=1)
_LOGGER = logging.getLogger(__name__)


def worker_name(*, shared: bool) -> str:
    """Return a name for this process: one that no other process has, where there may be others."""
    return f"{socket.gethostname()}-{os.getpid()}"[:64] if shared else "server"


class Heartbeat:
    """Writes this worker's row every few seconds and reports the health component `workers`."""

    def __init__(
        self,
        database: Database,
        health: HealthBoard,
        clock: Clock,
        *,
        name: str,
        role: Role,
        detector: Callable[[], DetectorState],
    ) -> None:
        """Take who this worker is; `detector` tells how its detector is."""
        self._database = database
        self._health = health
        self._clock = clock
        self._name = name
        self._role = role
        self._detector = detector
        self._started_at = clock.now()

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            try:
                await self.beat()
            except STORAGE_FAILURES as error:
                _LOGGER.debug("No heartbeat: %s", error)
            await asyncio.sleep(BEAT_SECONDS)

    async def beat(self) -> None:
        """Write this worker's row and look at those of the others."""
        now = self._clock.now()
        async with self._database.writing() as connection:
            await workers.remove_older(connection, now - FORGOTTEN_AFTER)
            known = await workers.find(connection)
            await workers.report(connection, Worker(self._name, self._role, self._started_at, now, self._detector()))
        self._report(known, now)

    async def stop(self) -> None:
        """Leave the list: this worker stops on purpose."""
        async with self._database.writing() as connection:
            await workers.remove(connection, self._name)

    def _report(self, known: Sequence[Worker], now: datetime) -> None:
        others = [worker for worker in known if worker.name != self._name]
        silent = [worker for worker in others if now - worker.seen_at > SILENT_AFTER]
        twins = [worker for worker in known if self._is_twin(worker, now)]
        problem = remedy = None
        if twins:
            problem = f"Another process is called {self._name} as well."
            remedy = "Give each worker a name of its own with HSI_WORKER_NAME, or none."
        elif silent:
            problem = f"Not heard of since {silent[0].seen_at:%Y-%m-%d %H:%M:%S} UTC: {silent[0].name}."
            remedy = "Start that worker again, or do nothing: it is forgotten after an hour. The others do its work."
        self._health.report(
            "workers",
            HealthState.DEGRADED if problem else HealthState.OK,
            last_error=problem,
            still_works="What a lost worker had begun is done again by the others; nothing is lost."
            if problem
            else None,
            remedy=remedy,
            running=1 + len(others) - len(silent),
            **{worker.name: _describe(worker, now) for worker in others},
        )

    def _is_twin(self, worker: Worker, now: datetime) -> bool:
        """Whether somebody else wrote this worker's row, after this one had done so."""
        same = worker.name == self._name and worker.started_at != self._started_at
        return same and now - worker.seen_at < SILENT_AFTER and worker.seen_at > self._started_at


def _describe(worker: Worker, now: datetime) -> str:
    return f"{worker.role}, detector {worker.detector}, seen {(now - worker.seen_at).total_seconds():.0f} s ago"
