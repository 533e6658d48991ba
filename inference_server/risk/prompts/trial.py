# SPDX-License-Identifier: AGPL-3.0-or-later
"""Trying prompts: what an analyst answers to two versions, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from inference_server.core.assessment import LevelThresholds, RiskLevel, risk_level


class AnalystUnavailable(Exception):
    """There is no answer: no analyst, or it does not answer now. `remedy` says what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        """Take why, and what to do."""
        super().__init__(message)
        self.remedy = remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What an analyst answers about an event."""

    score: int
    """Within the bounds that hold for every verdict."""
    model_score: int
    """What the model itself said."""
    summary: str
    reasoning: str
    seconds: float


@dataclass(frozen=True, slots=True)
class LevelChange:
    """An event that two prompts give different levels."""

    event_id: int
    first: RiskLevel
    second: RiskLevel


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a second prompt makes of events beside a first one."""

    events: int
    """Those that were answered with both."""
    mean_difference: float
    """Of the scores; above 0 where the second one scores higher."""
    mean_absolute_difference: float
    level_changes: tuple[LevelChange, ...]


def compare(
    pairs: Sequence[tuple[int, Opinion | None, Opinion | None]], thresholds: LevelThresholds
) -> Comparison | None:
    """Return how the answers to two prompts differ, by event id; None where no event has both."""
    scores = [(event_id, first.score, second.score) for event_id, first, second in pairs if first and second]
    if not scores:
        return None
    levels = [(event_id, risk_level(a, thresholds), risk_level(b, thresholds)) for event_id, a, b in scores]
    return Comparison(
        events=len(scores),
        mean_difference=fmean(b - a for _, a, b in scores),
        mean_absolute_difference=fmean(abs(b - a) for _, a, b in scores),
        level_changes=tuple(LevelChange(event_id, a, b) for event_id, a, b in levels if a is not b),
    )
