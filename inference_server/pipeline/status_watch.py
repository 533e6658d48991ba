# SPDX-License-Identifier: AGPL-3.0-or-later
"""Looks after what no other part reports by itself: the queue, the database, the disk and what was refused."""

import asyncio
from datetime import timedelta
from pathlib import Path

import psutil

from inference_server.core.clock import Clock
from inference_server.core.signal import Signal
from inference_server.core.status import QueueStatus
from inference_server.observability.health import HealthBoard, HealthState
from inference_server.pipeline.broker import Broker
from inference_server.storage import arrivals
from inference_server.storage.database import STORAGE_FAILURES, Database

INTERVAL_SECONDS = 5.0
NEARLY_FULL_PERCENT = 85.0


class StatusWatch:
    """Reports to the health board every few seconds."""

    def __init__(
        self,
        folder: Path,
        *,
        database: Database,
        broker: Broker,
        health: HealthBoard,
        changed: Signal,
        clock: Clock,
    ) -> None:
        """Take the data folder and the parts; `changed` is notified when the queue's status changed."""
        self._folder = folder
        self._database = database
        self._broker = broker
        self._health = health
        self._changed = changed
        self._clock = clock
        self._queue: QueueStatus | None = None

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            self._check_disk()
            try:
                await self._check_database()
            except STORAGE_FAILURES as error:
                self._health.report(
                    "database",
                    HealthState.DOWN,
                    last_error=str(error),
                    still_works="Pictures stay in the camera folders and are judged later.",
                    remedy="Check that the data folder is there, is writable and has free space.",
                )
            await asyncio.sleep(INTERVAL_SECONDS)

    async def _check_database(self) -> None:
        queue = await self._broker.status()
        async with self._database.reading() as connection:
            refused = await arrivals.refused_since(connection, self._clock.now(), timedelta(days=1))
        self._health.report("database", HealthState.OK, where=self._database.name)
        self._health.report("admission", HealthState.OK, refused_in_the_last_day=refused)
        self._health.report(
            "queue",
            HealthState.DEGRADED if queue.dead_letters else HealthState.OK,
            remedy="The log holds the reason of each dead letter." if queue.dead_letters else None,
            waiting=queue.depth,
            dead_letters=queue.dead_letters,
        )
        if queue != self._queue:
            self._queue = queue
            self._changed.notify()

    def _check_disk(self) -> None:
        usage = psutil.disk_usage(str(self._folder))
        full = usage.percent >= NEARLY_FULL_PERCENT
        self._health.report(
            "disk",
            HealthState.DEGRADED if full else HealthState.OK,
            remedy=f"Free space on the disk of {self._folder}." if full else None,
            used_percent=usage.percent,
            free_bytes=usage.free,
        )
