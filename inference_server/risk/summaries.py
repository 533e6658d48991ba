# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is said of an hour or a day: by template, or by whoever else can write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from inference_server.core.assessment import RiskLevel
from inference_server.core.detection import Category
from inference_server.core.incident import Incident
from inference_server.core.summary import CameraCount, Period

UNUSUAL_BELOW = 0.01
"""The chance of so many in an hour, below which they are unusual."""
MOST_INCIDENTS, MOST_UNUSUAL, MOST_CAMERAS = 5, 3, 10
LONGEST_STORY = 500
_NOUNS = {Category.PERSON: ("person", "people"), Category.VEHICLE: ("vehicle", "vehicles")}


@dataclass(frozen=True, slots=True)
class Unusual:
    """More objects than a camera usually sees in an hour."""

    camera: str
    category: Category
    begin: datetime
    seen: int
    expected: float
    chance: float


@dataclass(frozen=True, slots=True)
class SummaryFacts:
    """What a summary is written from."""

    period: Period
    zone: ZoneInfo
    levels: Mapping[RiskLevel, int]
    """How many events had each level."""
    cameras: Sequence[CameraCount]
    incidents: Sequence[Incident]
    """Those worth a line, the most serious first."""
    unusual: Sequence[Unusual]
    """The rarest first."""
    unverified: int
    unjudged_minutes: int
    unjudged_pictures: int

    @property
    def events(self) -> int:
        """How many events began in the time."""
        return sum(self.levels.values())

    @property
    def minutes(self) -> int:
        """How long the time is."""
        return round((self.period.ended_at - self.period.started_at) / timedelta(minutes=1))


@dataclass(frozen=True, slots=True)
class Told:
    """A summary's words: one line, and all of it."""

    headline: str
    text: str


class Summarizer(Protocol):
    """Writes summaries."""

    async def summarize(self, facts: SummaryFacts) -> Told | None:
        """Return what is to be said; None leaves it to the template, as does any exception."""
        ...


def tell(facts: SummaryFacts) -> Told:
    """Return a summary by template. A quiet time is one line; what was not judged is never called quiet."""
    headline = _headline(facts)
    parts = [headline, *_details(facts)] if facts.events else [headline]
    return Told(headline, " ".join(part for part in [*parts, *_caveats(facts)] if part))


def _headline(facts: SummaryFacts) -> str:
    if facts.unjudged_minutes >= facts.minutes:
        seen = f"{_number(facts.events, 'event', 'events')}, but" if facts.events else "Unknown:"
        return f"{seen} no picture could be judged."
    above = {level: number for level, number in facts.levels.items() if number and level is not RiskLevel.LOW}
    if above:
        listed = ", ".join(f"{above[level]} {level.value}" for level in reversed(RiskLevel) if level in above)
        most = f" The most serious: {facts.incidents[0].title}." if facts.incidents else ""
        return f"{_number(sum(above.values()), 'event', 'events')} above low: {listed}.{most}"
    if facts.unjudged_minutes or facts.unjudged_pictures:
        return f"Nothing above low in what could be judged ({_number(facts.events, 'event', 'events')})."
    if facts.events:
        return f"All quiet: {_number(facts.events, 'event', 'events')}, none above low."
    return "All quiet."


def _details(facts: SummaryFacts) -> list[str]:
    shown = facts.cameras[:MOST_CAMERAS]
    more = len(facts.cameras) - len(shown)
    counted = ", ".join(f"{camera.name} {camera.events}" for camera in shown)
    by_camera = f"By camera: {counted}{f' and {more} more' if more > 0 else ''}."
    stories = [f"{incident.title}: {_shortened(incident.summary)}" for incident in facts.incidents[:MOST_INCIDENTS]]
    return [by_camera, *stories, *(_unusual(one, facts.zone) for one in facts.unusual[:MOST_UNUSUAL])]


def _unusual(one: Unusual, zone: ZoneInfo) -> str:
    hour = f"{one.begin.astimezone(zone):%H:%M}"
    noun = _number(one.seen, *_NOUNS[one.category])
    return f"Unusual: {noun} on {one.camera} in the hour from {hour}, {one.expected:.1f} expected."


def _caveats(facts: SummaryFacts) -> list[str]:
    found = []
    if facts.unverified:
        found.append(f"{facts.unverified} of {facts.events} were judged by rules alone.")
    if 0 < facts.unjudged_minutes < facts.minutes:
        found.append(f"For {facts.unjudged_minutes} of {facts.minutes} minutes no picture could be judged.")
    if facts.unjudged_pictures:
        number = _number(facts.unjudged_pictures, "picture", "pictures")
        verb = "is" if facts.unjudged_pictures == 1 else "are"
        found.append(f"{number} could not be judged and {verb} among the dead letters.")
    return found


def _shortened(story: str) -> str:
    return story if len(story) <= LONGEST_STORY else f"{story[: LONGEST_STORY - 1].rstrip()}…"


def _number(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
