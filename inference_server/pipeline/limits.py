# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is old enough to be deleted now, by the settings, and when the daily cleanup is due. Pure."""

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from inference_server.core.assessment import LevelThresholds, RiskLevel, scores_of
from inference_server.settings import RetentionSettings
from inference_server.storage import retention
from inference_server.storage.retention import Condition


class Limits:
    """The moments before which each kind is old enough. With a youngest moment, everything before it is.

    What the settings keep for ever is never old enough, however full a disk is.
    """

    def __init__(
        self,
        settings: RetentionSettings,
        thresholds: LevelThresholds,
        now: datetime,
        *,
        youngest: datetime | None = None,
    ) -> None:
        """Take the settings and the moment; `youngest` takes the place of every number of days."""
        self._settings = settings
        self._thresholds = thresholds
        self._now = now
        self._youngest = youngest

    @property
    def frames(self) -> datetime | None:
        """For frames of no event; None where they are kept for ever, and so below."""
        return self._before(self._settings.frames_days)

    @property
    def clips(self) -> datetime | None:
        """For clips."""
        return self._before(self._settings.clips_days)

    @property
    def originals(self) -> datetime | None:
        """For files in the cameras' folders."""
        return self._before(self._settings.originals_days) if self._settings.originals == "prune" else None

    @property
    def arrivals(self) -> datetime | None:
        """For notes about files that are gone, which take no room worth pruning for."""
        days = self._settings.arrivals_days
        return self._now - timedelta(days=days) if days else None

    @property
    def trash(self) -> Condition | None:
        """Which events in the trash are to go."""
        if not self._settings.trash_days:
            return None
        if self._youngest is not None:
            return retention.expired_trash(None, self._youngest)
        return retention.expired_trash(self._now - timedelta(days=self._settings.trash_days))

    def events(self) -> Iterator[tuple[RiskLevel, Condition]]:
        """Yield which events are to go, the lowest level first."""
        for level, days in self._settings.levels.items():
            if (before := self._before(days)) is not None:
                yield level, retention.expired_events(scores_of(level, self._thresholds), before)

    def _before(self, days: int) -> datetime | None:
        if not days:
            return None
        return self._youngest or self._now - timedelta(days=days)


def cleanup_moments(now: datetime, hour: int, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return the last moment of a daily cleanup at or before now, and the next one, in UTC."""
    today = now.astimezone(zone).date()
    days = (today + timedelta(days=number) for number in range(-2, 3))
    moments = [datetime.combine(day, time(hour), zone).astimezone(UTC) for day in days]
    return max(moment for moment in moments if moment <= now), min(moment for moment in moments if moment > now)


def is_due(done_at: datetime | None, now: datetime, hour: int, zone: ZoneInfo) -> bool:
    """Return whether the daily cleanup has not been done since its last moment, also because the clock was wrong."""
    return done_at is None or not cleanup_moments(now, hour, zone)[0] <= done_at <= now
