# SPDX-License-Identifier: AGPL-3.0-or-later
"""The baseline: how many distinct objects of a kind a camera sees in an hour of the week, and how sure that is.

The number in one hour is taken as Poisson with an unknown rate, whose distribution is a Gamma: counted objects are its
shape, observed hours its rate. Each week both are discounted, so that the rate may drift: the power steady model of
J. Q. Smith, "A generalization of the Bayesian steady forecasting model", Journal of the Royal Statistical Society B 41
(1979). What is expected next is then negative binomial, and wide while little was seen.

Every hour of the week leans on the same hour of the other days as on PRIOR_HOURS hours of its own (empirical Bayes), so
that a young baseline is not wild. A number that the model finds nearly impossible counts only up to its 99.9th
percentile (it is Winsorised, as in P. J. Huber, "Robust Statistics", 1981): one party does not make a habit, weeks of
them do.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from inference_server.core.baseline import HOURS_OF_DAY, SLOTS, Habit
from inference_server.core.detection import Category
from inference_server.risk.evidence import Expectation

HALF_LIFE = timedelta(weeks=4)
PRIOR_HOURS = 1.0
ENOUGH_HOURS = 2.0
"""Own or leant-on hours below which nothing is said."""
_CLIP_AT, _NEVER_BELOW = 0.999, 3
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Rate:
    """A Gamma distribution of objects per hour."""

    shape: float
    hours: float

    @property
    def expected(self) -> float:
        """The mean number of objects in an hour."""
        return self.shape / self.hours

    def chance(self, number: int) -> float:
        """Return the chance of at least so many in an hour: the upper tail of the negative binomial."""
        below = sum(self._chance_of(k) for k in range(min(number, _MOST)))
        return min(max(1.0 - below, 0.0), 1.0)

    def quantile(self, share: float) -> int:
        """Return the least number that is not exceeded with so large a chance."""
        below = 0.0
        for k in range(_MOST):
            below += self._chance_of(k)
            if below >= share:
                return k
        return _MOST

    def _chance_of(self, number: int) -> float:
        """Return the chance of exactly so many, by logarithms: factors alone would vanish."""
        ways = math.lgamma(number + self.shape) - math.lgamma(number + 1) - math.lgamma(self.shape)
        share = self.hours / (self.hours + 1)
        return math.exp(ways + self.shape * math.log(share) + number * math.log1p(-share))


def aged(habit: Habit, at: datetime) -> Habit:
    """Return a habit as it counts at a later time."""
    weeks = max(math.floor((at - habit.updated_at) / timedelta(weeks=1) + 0.5), 0)
    share = 0.5 ** (timedelta(weeks=weeks) / HALF_LIFE)
    return replace(habit, objects=habit.objects * share, hours=habit.hours * share)


def rate_of(habits: Mapping[int, Habit], slot: int, at: datetime) -> Rate | None:
    """Return what habits of one kind tell of an hour of the week; None where that is too little."""
    own = habits.get(slot)
    own = aged(own, at) if own else None
    count, hours = (own.objects, own.hours) if own else (0.0, 0.0)
    others = [aged(habits[s], at) for s in _same_hour(slot) if s != slot and s in habits]
    lent_hours = sum(other.hours for other in others)
    if hours + lent_hours < ENOUGH_HOURS:
        return None
    lent = sum(other.objects for other in others) / lent_hours if lent_hours else count / hours
    return Rate(max(count + PRIOR_HOURS * lent, 1e-3), hours + PRIOR_HOURS)


def _same_hour(slot: int) -> range:
    return range(slot % HOURS_OF_DAY, SLOTS, HOURS_OF_DAY)


def learn(habits: Mapping[int, Habit], seen: Habit) -> Habit:
    """Return the habit of an hour of the week with one more such hour.

    `seen` has what was counted in it: `hours` is the part of it that was watched, `updated_at` its end.
    """
    before = habits.get(seen.slot)
    known = rate_of(habits, seen.slot, seen.updated_at)
    most = max(known.quantile(_CLIP_AT), _NEVER_BELOW) if known else math.inf
    old = aged(before, seen.updated_at) if before else replace(seen, objects=0.0, hours=0.0)
    return replace(seen, objects=old.objects + min(seen.objects, most), hours=old.hours + seen.hours)


def expectation(
    habits: Mapping[int, Habit], slot: int, at: datetime, category: Category, seen: int
) -> Expectation | None:
    """Return how usual it is to see so many in this hour; None where too little is known."""
    rate = rate_of(habits, slot, at)
    if rate is None:
        return None
    return Expectation(category, rate.expected, seen, rate.chance(seen), rate.hours - PRIOR_HOURS)


def by_category(habits: Iterable[Habit]) -> Mapping[Category, Mapping[int, Habit]]:
    """Return a camera's habits by kind of object and hour of the week."""
    sorted_out: dict[Category, dict[int, Habit]] = {category: {} for category in Category}
    for habit in habits:
        sorted_out[habit.category][habit.slot] = habit
    return sorted_out


def counts(first_sights: Sequence[tuple[Category, datetime]], begin: datetime, end: datetime) -> Mapping[Category, int]:
    """Return how many objects of each kind came into view in a time."""
    return {
        category: sum(1 for kind, at in first_sights if kind is category and begin <= at < end) for category in Category
    }
