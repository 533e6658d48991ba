# SPDX-License-Identifier: AGPL-3.0-or-later
"""How long a model's verdict stands while more pictures of an event come."""

from inference_server.core.assessment import Assessment, AssessmentSource
from inference_server.risk.rules import FACTOR_NAMES

MOVED = 10
"""Points by which the rules' score has to move before a verdict on the one before is out of date."""


def still_stands(verdict: Assessment, rules: Assessment) -> bool:
    """Return whether a model's verdict covers what the rules find now: the same factors, at about the same score."""
    analysis = verdict.analysis
    if verdict.source is not AssessmentSource.MODEL or analysis is None:
        return False
    return is_alike(rules, score=analysis.rules_score, factors=factor_names(verdict))


def is_alike(rules: Assessment, *, score: int, factors: frozenset[str]) -> bool:
    """Return whether the rules find these factors, and about this score."""
    return factor_names(rules) == factors and abs(rules.score - score) < MOVED


def factor_names(assessment: Assessment) -> frozenset[str]:
    """Return the names of the rules' factors in an assessment of either source."""
    return frozenset(factor.name for factor in assessment.factors) & _RULES


def is_final(verdict: Assessment, rules: Assessment) -> bool:
    """Return whether a model judged an event exactly as the rules see it now."""
    analysis = verdict.analysis
    if analysis is None or not still_stands(verdict, rules):
        return False
    return (analysis.rules_score, analysis.rules_summary) == (rules.score, rules.summary)


_RULES = frozenset(FACTOR_NAMES)
