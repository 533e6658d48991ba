# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who judges: the rules, or whatever else says what an event means."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from inference_server.core.assessment import Assessment
from inference_server.risk.evidence import Evidence
from inference_server.risk.rules import assess
from inference_server.risk.weights import Weights


class Judge(Protocol):
    """Says what an event means. A judge that takes long waits, and does not block."""

    @property
    def name(self) -> str:
        """What the report calls it."""
        ...

    async def judge(self, evidence: Evidence) -> Assessment:
        """Return the assessment of an event."""
        ...


@dataclass(frozen=True, slots=True)
class _At:
    """A clock that stands at the time of an event."""

    moment: datetime

    def now(self) -> datetime:
        return self.moment.astimezone(UTC)


class RulesJudge:
    """The rules alone."""

    name = "rules"

    def __init__(self, weights: Weights) -> None:
        """Take what the factors weigh."""
        self._weights = weights

    async def judge(self, evidence: Evidence) -> Assessment:
        """Return the rules' assessment."""
        return assess(evidence, self._weights, _At(evidence.now))
