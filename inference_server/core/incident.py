# SPDX-License-Identifier: AGPL-3.0-or-later
"""Incidents: events, perhaps of several cameras, that tell one story."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

MOST_LINES = 12
"""Of a story; a longer one is told by its beginning and its end."""
MOST_NAMES = 5


@dataclass(frozen=True, slots=True)
class Incident:
    """A running (ended_at is None) or closed story. The level is computed from the score, never stored."""

    id: int
    started_at: datetime
    last_at: datetime
    """When something was seen in it last."""
    ended_at: datetime | None
    score: int
    """The highest of its events."""
    verified: bool
    """Whether the analyst has confirmed or corrected every one of its events."""
    title: str
    summary: str
    cameras: tuple[str, ...]
    """Their ids, in the order in which they saw something first."""
    event_ids: tuple[int, ...]
    """In the order in which the events began."""

    @property
    def is_open(self) -> bool:
        """Whether the story may go on."""
        return self.ended_at is None


@dataclass(frozen=True, slots=True)
class Chapter:
    """An event as its incident tells it."""

    event_id: int
    camera_id: str
    camera: str
    """The camera's name."""
    score: int
    subject: str
    """What was seen: "a person"."""
    line: str
    """What happened, in a few words that begin with the time."""


def title_of(chapters: Sequence[Chapter]) -> str:
    """Return what it is about and where: what the most serious event showed, and the cameras in their order."""
    most = max(chapters, key=lambda chapter: chapter.score)
    names = list(dict.fromkeys(chapter.camera for chapter in chapters))
    more = len(names) - MOST_NAMES
    shown = ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
    return f"{most.subject[:1].upper()}{most.subject[1:]}: {shown}"


def story_of(chapters: Sequence[Chapter]) -> str:
    """Return the events' lines as one text, with a bound: of a long story the middle is only counted."""
    lines = [chapter.line for chapter in chapters]
    if len(lines) > MOST_LINES:
        half = MOST_LINES // 2
        lines = [*lines[:half], f"{len(lines) - 2 * half} more events", *lines[-half:]]
    return f"{'; '.join(lines)}."
