# SPDX-License-Identifier: AGPL-3.0-or-later
"""The home as Home Assistant tells it: the owner's stance, who is there, the alarm, the sun."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

STALE_AFTER = timedelta(minutes=20)
"""Home Assistant tells every five minutes and at each change; what is older than this is not known any more."""


class Mode(StrEnum):
    """The owner's stance."""

    HOME = "home"
    AWAY = "away"
    NIGHT = "night"
    DISARMED = "disarmed"
    """Guests are expected."""


class AlarmState(StrEnum):
    """The state of the alarm panel, by Home Assistant's names."""

    DISARMED = "disarmed"
    ARMED_HOME = "armed_home"
    ARMED_AWAY = "armed_away"
    ARMED_NIGHT = "armed_night"
    ARMED_VACATION = "armed_vacation"
    ARMED_CUSTOM_BYPASS = "armed_custom_bypass"
    ARMING = "arming"
    PENDING = "pending"
    TRIGGERED = "triggered"


@dataclass(frozen=True, slots=True)
class HomeContext:
    """What was told last, and when. None stands for what nobody told: it is unknown, not false."""

    told_at: datetime
    mode: Mode | None = None
    people_home: int | None = None
    """How many of the household are there."""
    alarm: AlarmState | None = None
    sun_is_up: bool | None = None
    quiet_hours: bool | None = None

    def is_stale(self, now: datetime) -> bool:
        """Return whether this is too old to be relied on."""
        return now - self.told_at > STALE_AFTER

    @property
    def nobody_home(self) -> bool:
        """Whether the house is known to be empty."""
        if self.people_home is not None:
            return self.people_home == 0
        return self.mode is Mode.AWAY or self.alarm in {AlarmState.ARMED_AWAY, AlarmState.ARMED_VACATION}

    @property
    def somebody_home(self) -> bool:
        """Whether somebody of the household is known to be there."""
        if self.people_home is not None:
            return self.people_home > 0
        return self.mode in {Mode.HOME, Mode.NIGHT}


class CameraPlace(StrEnum):
    """What a camera looks at."""

    ENTRANCE = "entrance"
    DRIVEWAY = "driveway"
    YARD = "yard"
    STREET = "street"
    GARAGE = "garage"
    INDOORS = "indoors"
    OTHER = "other"


WAY_IN = (
    CameraPlace.STREET,
    CameraPlace.DRIVEWAY,
    CameraPlace.YARD,
    CameraPlace.ENTRANCE,
    CameraPlace.GARAGE,
    CameraPlace.INDOORS,
)
"""From the outside in, where nobody said which camera leads to which."""
