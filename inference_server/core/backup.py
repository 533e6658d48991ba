# SPDX-License-Identifier: AGPL-3.0-or-later
"""Backups as the server keeps them."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo


class BackupKind(StrEnum):
    """Who asked for a backup: the schedule, which also removes old ones of its own, or a person."""

    DAILY = "daily"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class StoredBackup:
    """A backup that is done: its size in bytes and, if it was read to its end since it last changed, when, and what of.

    `rows` and `media_files` are None as long as nobody has read it; `media_files` is None too when they were left out.
    """

    name: str
    kind: BackupKind
    created_at: datetime
    size: int
    encrypted: bool
    verified_at: datetime | None = None
    rows: int | None = None
    media_files: int | None = None


@dataclass(frozen=True, slots=True)
class RunningBackup:
    """A backup that is being made."""

    kind: BackupKind
    started_at: datetime
    media: bool


class BackupBusyError(Exception):
    """Another backup is being made."""


class DiskNearlyFullError(Exception):
    """There is not enough free space to begin with; the message says how much there is."""


def latest_turn(now: datetime, hour: int, zone: ZoneInfo) -> datetime:
    """Return when a daily work was last due that is done at an hour of the home's time zone, in UTC."""
    today = datetime.combine(now.astimezone(zone).date(), time(hour), zone)
    turn = today if today <= now else datetime.combine(today.date() - timedelta(days=1), time(hour), zone)
    return turn.astimezone(UTC)
