# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a prompt is about: one event, or what happened in an hour or a day."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from inference_server.core.assessment import Assessment
from inference_server.core.view import LastingProblem
from inference_server.risk.evidence import Evidence, Expectation


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An event that the analyst is asked about."""

    camera: str
    """The camera's name."""
    evidence: Evidence
    assessment: Assessment
    """The rules' own."""
    started_at: datetime
    is_open: bool = False
    pictures: int = 1
    view_problems: tuple[LastingProblem, ...] = ()
    """Of the event's own camera."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An event or an incident, as far as a summary speaks of it."""

    started_at: datetime
    ended_at: datetime | None
    cameras: tuple[str, ...]
    """By name."""
    score: int
    summary: str
    verified: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """An hour or a day that is summarised. Times are in the home's time zone."""

    since: datetime
    until: datetime
    events: tuple[Told, ...] = ()
    incidents: tuple[Told, ...] = ()
    unusual: tuple[Expectation, ...] = ()
    """Of what more was seen than is usual."""
    not_judged: Mapping[str, timedelta] | None = None
    """How long each camera, by name, could not be judged; None where nobody knows."""

    @property
    def by_camera(self) -> Counter[str]:
        """How many events there were on each camera."""
        return Counter(camera for event in self.events for camera in event.cameras)
