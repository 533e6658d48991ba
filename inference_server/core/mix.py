# SPDX-License-Identifier: AGPL-3.0-or-later
"""The mix of levels: how many events had each."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from inference_server.core.assessment import RiskLevel


@dataclass(frozen=True, slots=True)
class DayMix:
    """The levels of the events of 24 hours, by camera, and how many of them an analyst has verified."""

    levels: Mapping[str, Mapping[RiskLevel, int]]
    verified: int

    @property
    def events(self) -> int:
        """How many there were."""
        return sum(sum(levels.values()) for levels in self.levels.values())

    def total(self) -> Counter[RiskLevel]:
        """Return how many events have each level."""
        total: Counter[RiskLevel] = Counter()
        for levels in self.levels.values():
            total.update(levels)
        return total
