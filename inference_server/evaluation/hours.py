# SPDX-License-Identifier: AGPL-3.0-or-later
"""Hours of the week, written as "Mon-Fri 07-09"."""

import re
from dataclasses import dataclass
from datetime import datetime

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS = re.compile(r"(?:([a-z]{3})(?:-([a-z]{3}))? )?(\d{1,2})-(\d{1,2})")
_LAST = 24


@dataclass(frozen=True, slots=True)
class Hours:
    """Days (0 is Monday) and hours of the day; either may go on over the end of the week or of the day."""

    first_day: int
    last_day: int
    start: int
    end: int

    def covers(self, local: datetime) -> bool:
        """Return whether a local time lies within."""
        day, hour = local.weekday(), local.hour
        if self.first_day <= self.last_day:
            on_day = self.first_day <= day <= self.last_day
        else:
            on_day = day >= self.first_day or day <= self.last_day
        if self.start < self.end:
            return on_day and self.start <= hour < self.end
        return on_day and (hour >= self.start or hour < self.end)


def read_hours(text: object) -> Hours:
    """Return the hours that a text means: "Mon-Fri 07-09", "Sat 22-02", "08-18". Raises ValueError."""
    if isinstance(text, Hours):
        return text
    found = _HOURS.fullmatch(text.lower()) if isinstance(text, str) else None
    if found is None or not {found[1] or DAYS[0], found[2] or DAYS[0]} <= set(DAYS):
        raise ValueError('hours are written like "Mon-Fri 07-09" or "08-18"')
    start, end = int(found[3]), int(found[4])
    if start >= _LAST or end > _LAST or start == end:
        raise ValueError("hours lie between 00 and 24 and differ")
    first = DAYS.index(found[1]) if found[1] else 0
    last = DAYS.index(found[2]) if found[2] else (first if found[1] else 6)
    return Hours(first, last, start, end)
