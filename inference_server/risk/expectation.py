# SPDX-License-Identifier: AGPL-3.0-or-later
"""How likely so many objects are at an hour at which a camera has been watched for some weeks.

Model: the objects of an hour are a Poisson count whose rate is not known. After `counted` objects in `weeks` such
hours its distribution is Gamma(counted + 1/2, weeks) (Jeffreys' prior), so that the count of the next hour is negative
binomial (Gelman et al., Bayesian Data Analysis, 3rd edition, section 2.6). With few weeks it is wide: little is rare.
"""

from math import exp, lgamma, log

from inference_server.core.detection import Category
from inference_server.risk.evidence import Expectation

LEAST_WEEKS = 2.0
"""With less nothing is expected: there is not enough data yet."""
_PRIOR = 0.5
_MOST_TERMS = 10_000


def expectation(category: Category, *, counted: float, weeks: float, seen: int) -> Expectation | None:
    """Return what an hour of the week lets expect after `counted` objects in `weeks` of them; None for too few."""
    if weeks < LEAST_WEEKS:
        return None
    return Expectation(category, counted / weeks, seen, chance_of(seen, counted, weeks), weeks)


def chance_of(seen: int, counted: float, weeks: float) -> float:
    """Return the chance, 0 to 1, of at least so many objects in an hour. Weeks are above 0."""
    shape = counted + _PRIOR
    least, more = log(weeks / (weeks + 1)), -log(weeks + 1)
    fewer = (
        exp(lgamma(n + shape) - lgamma(shape) - lgamma(n + 1) + shape * least + n * more)
        for n in range(min(seen, _MOST_TERMS))
    )
    return max(0.0, 1.0 - sum(fewer))
