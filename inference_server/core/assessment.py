# SPDX-License-Identifier: AGPL-3.0-or-later
"""Scores, levels and assessments."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import pairwise

MAX_SCORE = 100


class RiskLevel(StrEnum):
    """The four levels, mildest first."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for low to 3 for critical."""
        return _ORDER.index(self)


_ORDER = tuple(RiskLevel)


@dataclass(frozen=True, slots=True)
class LevelThresholds:
    """The lowest score of medium, high and critical. They must rise, within 1 to 100."""

    medium: int = 30
    high: int = 60
    critical: int = 85

    def __post_init__(self) -> None:
        """Raise ValueError for thresholds out of range or out of order."""
        bounds = (0, self.medium, self.high, self.critical, MAX_SCORE + 1)
        if any(low >= high for low, high in pairwise(bounds)):
            raise ValueError(
                "risk thresholds must rise and lie within 1 and 100: "
                f"medium {self.medium}, high {self.high}, critical {self.critical}"
            )


def risk_level(score: int, thresholds: LevelThresholds) -> RiskLevel:
    """Return the level of a score of 0 to 100: the only place where a score becomes a level."""
    if not 0 <= score <= MAX_SCORE:
        raise ValueError(f"score {score} is outside 0 to {MAX_SCORE}")
    if score >= thresholds.critical:
        return RiskLevel.CRITICAL
    if score >= thresholds.high:
        return RiskLevel.HIGH
    return RiskLevel.MEDIUM if score >= thresholds.medium else RiskLevel.LOW


def scores_of(level: RiskLevel, thresholds: LevelThresholds) -> range:
    """Return the scores that have a level."""
    scores = [score for score in range(MAX_SCORE + 1) if risk_level(score, thresholds) is level]
    return range(scores[0], scores[-1] + 1)


class AssessmentSource(StrEnum):
    """Who judged."""

    RULES = "rules"
    MODEL = "model"


@dataclass(frozen=True, slots=True)
class Factor:
    """One named, signed contribution to a score, with the evidence that it rests on."""

    name: str
    points: int
    evidence: str


@dataclass(frozen=True, slots=True)
class Analysis:
    """How a model came to an assessment, and from which assessment of the rules."""

    model: str
    prompt: str
    """The version of the prompt."""
    seconds: float
    tokens_in: int
    tokens_out: int
    confidence: float
    """How sure the model says that it is, 0 to 1."""
    rules_score: int
    rules_summary: str


@dataclass(frozen=True, slots=True)
class Assessment:
    """What an event means: a score of 0 to 100 and why. The level is computed from the score, never stored.

    `analysis` is there where a model judged.
    """

    score: int
    summary: str
    reasoning: str
    factors: tuple[Factor, ...]
    source: AssessmentSource
    verified: bool
    assessed_at: datetime
    analysis: Analysis | None = None


def total_score(factors: Sequence[Factor]) -> int:
    """Return the sum of the factors' points, clamped to 0 to 100."""
    return max(0, min(MAX_SCORE, sum(factor.points for factor in factors)))
