# SPDX-License-Identifier: AGPL-3.0-or-later
"""A camera's own clock: how far it is off, learnt from when its pictures arrive. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

NEAR = timedelta(seconds=10)
"""Two times this close are the same: an upload's time, and clocks that nobody needs to set."""
PACE = timedelta(seconds=5)
"""Pictures whose lags differ by less were sent as they were taken."""
SLOW_UPLOAD = timedelta(minutes=2)
"""No live picture takes longer to arrive."""
LONGEST_BUFFER = timedelta(days=30)
"""How long a camera may have kept a picture for later."""
SURE_OF_NEW = timedelta(seconds=10)
SURE_OF_KNOWN = timedelta(seconds=60)
"""How long pictures must keep the same lag until a clock is believed to be wrong: a buffer empties faster."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A picture whose lag contradicts what is known of the clock."""

    arrived_at: datetime
    lag: timedelta


@dataclass(frozen=True, slots=True)
class CameraClock:
    """What is known of a clock. `offset` is to be added to the time that it shows; None means that nothing is known.

    A lag is the time from what the clock showed to the picture's arrival: the clock's offset, and the upload. The
    smallest one tells the offset; a larger one means a late upload, unless pictures keep it.
    """

    offset: timedelta | None = None
    doubt: Doubt | None = None

    def heard(self, shown: datetime, arrived_at: datetime) -> "CameraClock":
        """Return what is known after a live picture that was taken at `shown` by this clock."""
        lag = arrived_at - shown
        if self._tells(lag):
            return CameraClock(lag)
        if self.offset is not None and abs(lag - self.offset) <= NEAR:
            return CameraClock(min(lag, self.offset))
        if self.doubt is None or abs(lag - self.doubt.lag) > PACE:
            return CameraClock(self.offset, Doubt(arrived_at, lag))
        if arrived_at - self.doubt.arrived_at < (SURE_OF_NEW if self.offset is None else SURE_OF_KNOWN):
            return self
        return CameraClock(min(lag, self.doubt.lag))

    def read(self, shown: datetime, arrived_at: datetime) -> datetime | None:
        """Return when a picture was taken that shows this time; None when that cannot be told from the clock."""
        taken_at = shown + self.correction
        lag = arrived_at - taken_at
        longest = SLOW_UPLOAD if self.offset is None else LONGEST_BUFFER
        return min(taken_at, arrived_at) if -NEAR <= lag <= longest else None

    @property
    def correction(self) -> timedelta:
        """What is added to the time that the clock shows: nothing while it is about right."""
        return timedelta(0) if self.offset is None or abs(self.offset) <= NEAR else self.offset

    def _tells(self, lag: timedelta) -> bool:
        """Return whether a lag proves by itself how the clock is set: nothing arrives before it was taken."""
        if lag < -NEAR:
            return False
        if self.offset is None or self.offset < -NEAR:
            return lag <= SLOW_UPLOAD
        return lag < self.offset
