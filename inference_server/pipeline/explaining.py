# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which events are to be explained by the analyst, and how urgently."""

from collections.abc import Callable
from datetime import datetime

from inference_server.core.assessment import MAX_SCORE, AssessmentSource
from inference_server.core.detection import Category
from inference_server.core.event import Event
from inference_server.core.message import StageName, Work

ASKED_FOR = -1
"""The priority of what the owner asks for: before everything else."""


class Explaining:
    """Decides what the analyst is asked."""

    def __init__(self, wanted: Callable[[], bool], from_score: int) -> None:
        """Take whether there is an analyst, and the score of the rules from which on events are explained."""
        self._wanted = wanted
        self._from_score = from_score

    def work(self, event: Event, now: datetime) -> list[Work]:
        """Return the message that an event makes as it is now: one, or none.

        A verdict that stands is not asked for again before the event has ended.
        """
        verdict = event.assessment
        score = verdict.analysis.rules_score if verdict.analysis else verdict.score
        stands = event.is_open and verdict.source is AssessmentSource.MODEL
        if stands or not self._wanted() or score < self._from_score or not _is_worth_it(event):
            return []
        return [Work(StageName.ANALYSE, event.id, event.camera_id, now, MAX_SCORE - score)]


NOT_EXPLAINED = Explaining(lambda: False, 0)
"""Nobody explains anything."""


def _is_worth_it(event: Event) -> bool:
    """Return whether an event shows more than animals."""
    return any(track.label.category is not Category.ANIMAL for track in event.tracks)


def asked_for(event: Event, now: datetime) -> Work:
    """Return the message by which the owner asks about an event."""
    return Work(StageName.ANALYSE, event.id, event.camera_id, now, ASKED_FOR)
