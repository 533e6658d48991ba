# SPDX-License-Identifier: AGPL-3.0-or-later
"""How good verdicts are: confusion of levels, alerts, the mix of levels, and where they fail."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from inference_server.core.assessment import RiskLevel
from inference_server.evaluation.outcome import Outcome
from inference_server.evaluation.split import Split

TARGET_MIX: Mapping[RiskLevel, float] = {
    RiskLevel.LOW: 0.85,
    RiskLevel.MEDIUM: 0.10,
    RiskLevel.HIGH: 0.04,
    RiskLevel.CRITICAL: 0.01,
}
"""What a home's events should be over the weeks."""
RECALL_BAR = 0.95
PRECISION_BAR = 0.85


@dataclass(frozen=True, slots=True)
class Measures:
    """The measures of some outcomes.

    An alert is a verdict of high or critical. Recall is the share of those that must be alerts which are; precision the
    share of right ones among the alerts. Scenarios whose band holds both sides count in neither.
    """

    count: int
    confusion: Mapping[RiskLevel, Mapping[RiskLevel, int]]
    """By the accepted level that is nearest, then by the verdict's."""
    within: int
    """How many lie in their band."""
    must_alert: int
    caught: int
    false_alerts: int
    either: int
    """Alerts where an expert accepts both."""
    mix: Mapping[RiskLevel, int]
    mean_error: float
    """The mean absolute distance of the scores from the centres of their bands, in points."""
    ordinary_critical: tuple[str, ...]
    """Ordinary life that was called critical, by id."""
    violations: int
    """How many scenarios lack a factor that they must have, have one that they must not, or fail in a part."""

    @property
    def recall(self) -> float | None:
        """None where nothing had to be an alert."""
        return self.caught / self.must_alert if self.must_alert else None

    @property
    def precision(self) -> float | None:
        """None where nothing was an alert."""
        alerts = self.caught + self.false_alerts
        return self.caught / alerts if alerts else None

    def failures(self) -> tuple[str, ...]:
        """Return which of the bars are missed, and by how much."""
        failed = []
        if self.recall is not None and self.recall < RECALL_BAR:
            failed.append(f"the alert recall is {self.recall:.2f}; it should be {RECALL_BAR} or more")
        if self.precision is not None and self.precision < PRECISION_BAR:
            failed.append(f"the alert precision is {self.precision:.2f}; it should be {PRECISION_BAR} or more")
        if self.ordinary_critical:
            failed.append(f"ordinary life was called critical: {', '.join(self.ordinary_critical)}")
        return tuple(failed)


@dataclass(frozen=True, slots=True)
class Report:
    """All that an evaluation found."""

    judge: str
    outcomes: tuple[Outcome, ...]
    splits: Mapping[Split, Measures]
    """Those that were asked for."""
    total: Measures
    tags: Mapping[str, Measures]

    @property
    def worst(self) -> tuple[Outcome, ...]:
        """The outcomes that miss their band or violate an expectation, the farthest first."""
        failed = [one for one in self.outcomes if not one.is_within or one.violations]
        return tuple(sorted(failed, key=lambda one: (-one.band.distance(one.score), one.scenario.id)))

    def failures(self) -> tuple[str, ...]:
        """Return which bars are missed, in which part."""
        return tuple(f"{name}: {problem}" for name, found in self.splits.items() for problem in found.failures())


def measure(outcomes: Sequence[Outcome]) -> Measures:
    """Return the measures of some outcomes."""
    confusion = {expected: dict.fromkeys(RiskLevel, 0) for expected in RiskLevel}
    for one in outcomes:
        confusion[one.band.nearest(one.level)][one.level] += 1
    mix = Counter(one.level for one in outcomes)
    alerts = [one for one in outcomes if one.alerted]
    errors = [abs(one.score - one.band.centre) for one in outcomes]
    return Measures(
        count=len(outcomes),
        confusion=confusion,
        within=sum(one.is_within for one in outcomes),
        must_alert=sum(one.must_alert for one in outcomes),
        caught=sum(one.must_alert for one in alerts),
        false_alerts=sum(not one.may_alert for one in alerts),
        either=sum(one.may_alert and not one.must_alert for one in alerts),
        mix={level: mix[level] for level in RiskLevel},
        mean_error=sum(errors) / len(errors) if errors else 0.0,
        ordinary_critical=tuple(
            one.scenario.id for one in outcomes if one.level is RiskLevel.CRITICAL and not one.scenario.is_threat
        ),
        violations=sum(bool(one.violations) for one in outcomes),
    )


def report(judge: str, outcomes: Sequence[Outcome]) -> Report:
    """Return the report of some outcomes."""
    parts = {
        Split.TRAINING: [one for one in outcomes if not one.held_out],
        Split.HELD_OUT: [one for one in outcomes if one.held_out],
    }
    return Report(
        judge=judge,
        outcomes=tuple(outcomes),
        splits={name: measure(part) for name, part in parts.items() if part},
        total=measure(outcomes),
        tags={tag: measure([one for one in outcomes if tag in one.tags]) for tag in _tags(outcomes)},
    )


def _tags(outcomes: Iterable[Outcome]) -> list[str]:
    return sorted({tag for one in outcomes for tag in one.tags})
