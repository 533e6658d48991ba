# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an incident's story says of one event, by template."""

from zoneinfo import ZoneInfo

from inference_server.core.assessment import AssessmentSource
from inference_server.core.detection import Category
from inference_server.core.event import Event
from inference_server.risk.wording import describe, seen_where

STAYS_FROM = 20.0
"""Seconds in view from which they are told."""
LONGEST_LINE = 300


def subject_of(event: Event) -> str:
    """Return what was seen: "a person and a car"."""
    return describe(event.tracks)


def line_of(event: Event, camera: str, zone: ZoneInfo) -> str:
    """Return what happened, beginning with the time: '21:16 Porch: a person at the entry "Front door", 50 s in view'.

    What the analyst wrote of the event takes the template's place.
    """
    when = f"{event.started_at.astimezone(zone):%H:%M} {camera}: "
    if event.assessment.source is AssessmentSource.MODEL:
        told = event.assessment.summary.rstrip(".; ")
        return when + (told[:LONGEST_LINE] or subject_of(event))
    people = [track.dwell.total_seconds() for track in event.tracks if track.label.category is Category.PERSON]
    longest = max(people, default=0.0)
    stay = f", {longest:.0f} s in view" if longest >= STAYS_FROM else ""
    return when + seen_where(event.tracks).rstrip(",")[:LONGEST_LINE] + stay
