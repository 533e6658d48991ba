# SPDX-License-Identifier: AGPL-3.0-or-later
"""Backups that the server makes itself, daily or when asked: one at a time, beside all other work."""

import asyncio
import logging
import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from inference_server.core.backup import (
    BackupBusyError,
    BackupKind,
    DiskNearlyFullError,
    RunningBackup,
    StoredBackup,
    latest_turn,
)
from inference_server.core.clock import Clock
from inference_server.core.signal import Signal
from inference_server.observability.health import HealthBoard, HealthState
from inference_server.settings import BackupSettings
from inference_server.storage.backup.create import Wanted, create
from inference_server.storage.backup.errors import BackupError
from inference_server.storage.backup.folder import BackupFolder
from inference_server.storage.data_folder import DataFolder
from inference_server.storage.database import STORAGE_FAILURES, Database

_LOGGER = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
"""How often it is asked whether a backup is due, whatever the clock does meanwhile."""
RETRY_AFTER = timedelta(hours=1)
_REMEDY = "Do what the error says, then POST /api/system/backups. A daily backup is tried again every hour."
KEEP_FREE = 0.15
"""The share of the disk that no backup takes: from there on the disk counts as nearly full."""


@dataclass(frozen=True, slots=True)
class _Failure:
    reason: str
    at: datetime


class Backups:
    """Makes backups into a folder of the data folder, and reports the health component `backup`."""

    def __init__(
        self,
        database: Database,
        data: DataFolder,
        settings: BackupSettings,
        *,
        zone: ZoneInfo,
        passphrase: str | None,
        health: HealthBoard,
        clock: Clock,
    ) -> None:
        """Take what is saved and how; with a passphrase every backup is encrypted."""
        self._database = database
        self._data = data
        self._settings = settings
        self._zone = zone
        self._passphrase = passphrase
        self._health = health
        self._clock = clock
        self._folder = BackupFolder(data.backups)
        self._asked = Signal()
        self._failure: _Failure | None = None
        self.running: RunningBackup | None = None
        """The backup that is being made, or about to be."""

    def list_all(self) -> tuple[StoredBackup, ...]:
        """Return the backups that are done, newest first. Raises OSError."""
        return self._folder.list_all()

    def path(self, name: str) -> Path | None:
        """Return the file of a backup, None when there is none of this name."""
        return self._folder.path(name)

    def remove(self, name: str) -> bool:
        """Remove a backup. Return whether it was there. Raises OSError."""
        return self._folder.remove(name)

    def ask(self, *, media: bool | None) -> RunningBackup:
        """Let a backup be made now; None means with media as the settings say.

        Raises BackupBusyError while another one is made, DiskNearlyFullError.
        """
        if self.running:
            raise BackupBusyError
        disk = shutil.disk_usage(self._data.root)
        if disk.free < disk.total * KEEP_FREE:
            raise DiskNearlyFullError(f"{disk.free / disk.total:.0%} of the disk of {self._data.root} are free.")
        media = self._settings.media if media is None else media
        self.running = RunningBackup(BackupKind.MANUAL, self._clock.now(), media)
        self._asked.notify()
        return self.running

    async def run(self) -> None:
        """Make what is asked for and what is due, until cancelled."""
        await asyncio.to_thread(self._folder.prepare)
        while True:
            seen = self._asked.count
            self._report()
            if self.running is None and self._is_due():
                self.running = RunningBackup(BackupKind.DAILY, self._clock.now(), self._settings.media)
            if self.running is None:
                await self._asked.wait(seen, LOOK_SECONDS)
                continue
            try:
                await self._make(self.running)
            finally:
                self.running = None

    def _is_due(self) -> bool:
        now = self._clock.now()
        if not self._settings.daily or (self._failure and timedelta() <= now - self._failure.at < RETRY_AFTER):
            return False
        turn = latest_turn(now, self._settings.hour, self._zone)
        return not any(item.kind is BackupKind.DAILY and item.created_at >= turn for item in self.list_all())

    async def _make(self, wanted: RunningBackup) -> None:
        file = self._folder.new(wanted.kind, wanted.started_at, encrypted=self._passphrase is not None)
        plan = Wanted(
            target=file,
            staging=self._data.root,
            media=self._data.media if wanted.media else None,
            passphrase=self._passphrase,
            keep_free=KEEP_FREE,
        )
        try:
            manifest = await create(self._database, plan, now=wanted.started_at)
            await asyncio.to_thread(self._folder.note, file, manifest, self._clock.now())
            await asyncio.to_thread(self._folder.keep_newest, self._settings.keep)
        except (BackupError, *STORAGE_FAILURES) as error:
            self._failure = _Failure(str(error), self._clock.now())
            _LOGGER.warning("The %s backup failed: %s", wanted.kind, error)
            return
        self._failure = None
        _LOGGER.info("Made the backup %s: %d rows, %d bytes", file.name, manifest.rows, file.stat().st_size)

    def _report(self) -> None:
        done = self.list_all()
        failed = self._failure
        self._health.report(
            "backup",
            HealthState.DEGRADED if failed else HealthState.OK,
            last_error=failed.reason if failed else None,
            still_works="Everything else; the backups that were made before are kept." if failed else None,
            remedy=_REMEDY if failed else None,
            daily=self._settings.daily,
            backups=len(done),
            newest=done[0].created_at.isoformat() if done else None,
        )
