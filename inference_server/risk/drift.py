# SPDX-License-Identifier: AGPL-3.0-or-later
"""Drift: whether the levels of a week's events are still what is usual, or too many are serious.

A share counts as too high only where that is nearly sure: where the lower end of its score interval (E. B. Wilson,
"Probable inference, the law of succession, and statistical inference", Journal of the American Statistical Association
22, 1927) lies above twice what is usual. Events of one day resemble each other, so a few days' events tell nothing.
A quiet week is no drift: nothing happened.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import sqrt

from inference_server.core.assessment import Factor, RiskLevel
from inference_server.core.mix import DayMix

JUDGING = "judging"
"""The component of the health."""
DAYS = 7
ENOUGH_EVENTS, ENOUGH_DAYS = 30, 3
CONFIDENCE = 2.576
"""Standard deviations: by chance a share is as high less than once in two hundred weeks."""
TOO_MANY, AGAIN_USUAL = 2.0, 1.5
"""Times what is usual, from which it drifts, and to which it must come down; in between nothing changes, unless it may
well be chance."""
MOST_LOOKED_AT = 500
"""Serious events whose factors are added up."""
_ONLY_THERE = frozenset({"person_seen", "vehicle_seen", "animal_seen"})


class DriftState(StrEnum):
    """What a week's levels say."""

    TOO_FEW = "too_few"
    """There are not enough events to tell."""
    USUAL = "usual"
    DRIFTING = "drifting"


@dataclass(frozen=True, slots=True)
class Excess:
    """Too many events of a level or worse."""

    level: RiskLevel
    share: float
    usual: float
    events: int


@dataclass(frozen=True, slots=True)
class Drift:
    """What the last days' levels say. `excess` is the worst, where they drift."""

    state: DriftState
    excess: Excess | None = None


def wilson_lower(number: int, of: int, deviations: float = CONFIDENCE) -> float:
    """Return the lower end of the score interval of a share, 0 to 1; 0 for no such event."""
    if number == 0:
        return 0.0
    share, square = number / of, deviations**2
    middle = share + square / (2 * of)
    spread = deviations * sqrt(share * (1 - share) / of + square / (4 * of**2))
    return max((middle - spread) / (1 + square / of), 0.0)


def judge(days: Sequence[DayMix], usual: Mapping[RiskLevel, float], *, drifted: bool) -> Drift:
    """Return what the levels of the last days say; `drifted` is whether they drifted when they were looked at last."""
    total = sum((day.total() for day in days), Counter[RiskLevel]())
    events = sum(total.values())
    if events < ENOUGH_EVENTS or sum(day.events > 0 for day in days) < ENOUGH_DAYS:
        return Drift(DriftState.TOO_FEW)
    found = [
        (lower / expected, excess)
        for excess, lower, expected in _shares(total, events, usual)
        if lower > TOO_MANY * expected or (drifted and lower > expected and excess.share > AGAIN_USUAL * expected)
    ]
    if not found:
        return Drift(DriftState.USUAL)
    return Drift(DriftState.DRIFTING, max(found, key=lambda item: (item[0], item[1].level.rank))[1])


def _shares(
    total: Mapping[RiskLevel, int], events: int, usual: Mapping[RiskLevel, float]
) -> list[tuple[Excess, float, float]]:
    """Return the share of each level above low and all worse ones, its lower bound, and what is usual."""
    shares = []
    for level in (RiskLevel.MEDIUM, RiskLevel.HIGH, RiskLevel.CRITICAL):
        worse = [other for other in RiskLevel if other.rank >= level.rank]
        number, expected = sum(total.get(other, 0) for other in worse), sum(usual[other] for other in worse)
        excess = Excess(level, number / events, expected, events)
        shares.append((excess, wilson_lower(number, events), expected))
    return shares


def camera_of_most(days: Iterable[DayMix], level: RiskLevel) -> str | None:
    """Return the id of the camera with most events of a level or worse."""
    counted: Counter[str] = Counter()
    for day in days:
        for camera_id, levels in day.levels.items():
            counted[camera_id] += sum(number for other, number in levels.items() if other.rank >= level.rank)
    return _most(counted)


def factor_of_most(events: Iterable[Iterable[Factor]]) -> str | None:
    """Return the factor that adds most points to events, that something was seen at all aside."""
    counted: Counter[str] = Counter()
    for factors in events:
        for factor in factors:
            if factor.name not in _ONLY_THERE:
                counted[factor.name] += max(factor.points, 0)
    return _most(counted)


def _most(counted: Mapping[str, int]) -> str | None:
    """Return the name that counts most, of equal ones the first by name; None where nothing counts."""
    name = min(counted, key=lambda name: (-counted[name], name), default=None)
    return name if name is not None and counted[name] > 0 else None


_WORDS = {
    RiskLevel.MEDIUM: "medium, high or critical",
    RiskLevel.HIGH: "high or critical",
    RiskLevel.CRITICAL: "critical",
}


def explained(excess: Excess, camera_name: str | None, factor: str | None) -> str:
    """Return in plain words what is too much, and where it comes from."""
    most = [f'by camera "{camera_name}"'] if camera_name else []
    most += [f"by the factor {factor}"] if factor else []
    return (
        f"{100 * excess.share:.0f} % of {excess.events} events of the last {DAYS} days were {_WORDS[excess.level]}; "
        f"{100 * excess.usual:.0f} % are usual{'; most ' + ', '.join(most) if most else ''}."
    )


REMEDY = (
    "Look at these events. Give feedback on those that were nothing, draw zones where people may be, set what each "
    "camera looks at, or give the factor another weight (risk.weights_file). The share is of seven days: it falls "
    "slowly."
)
