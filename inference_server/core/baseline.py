# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a camera usually sees: how often objects of a kind come, by the hour of the week."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from inference_server.core.detection import Category

HOUR = timedelta(hours=1)
HOURS_OF_DAY = 24
SLOTS = 7 * HOURS_OF_DAY


def hour_of(at: datetime) -> datetime:
    """Return when the hour of a time began: of UTC, which has each hour once, in summer and winter."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def slot_of(local: datetime) -> int:
    """Return the hour of the week, 0 for Monday from 0 to 1 o'clock, of a time in the home's time zone."""
    return local.weekday() * HOURS_OF_DAY + local.hour


@dataclass(frozen=True, slots=True)
class Habit:
    """What was counted of a kind of object in one hour of the week, older weeks counting for less."""

    camera_id: str
    category: Category
    slot: int
    objects: float
    """How many distinct ones were counted, discounted."""
    hours: float
    """In how many such hours, discounted."""
    updated_at: datetime
    """The end of the last one."""
