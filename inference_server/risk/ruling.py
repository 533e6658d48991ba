# SPDX-License-Identifier: AGPL-3.0-or-later
"""The analyst's verdict becomes an assessment: within bounds, by evidence, and telling only what is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from inference_server.core.assessment import (
    Analysis,
    Assessment,
    AssessmentSource,
    Factor,
    LevelThresholds,
    risk_level,
)
from inference_server.risk.bounds import Bounded, bounded
from inference_server.risk.claims import Facts, Fault, check, without_ids
from inference_server.risk.evidence import Evidence
from inference_server.risk.prompts.item import Item
from inference_server.risk.verdict import OWN_FACTORS, Claim, Verdict

ANALYST = "analyst"
"""The factor that holds what the analyst added or took away, where it names none of its own."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the analyst was asked about: the evidence, what the rules made of it, and the lines that it was told."""

    evidence: Evidence
    rules: Assessment
    items: Sequence[Item]


@dataclass(frozen=True, slots=True)
class Ruling:
    """The assessment that follows, and what had to be put right in the verdict."""

    assessment: Assessment
    held_back: int
    """Points by which the score was held back."""
    contradictions: int
    invented: int
    """Sentences that told of what nobody detected."""

    @property
    def repaired(self) -> bool:
        """Whether anything had to be put right."""
        return bool(self.held_back or self.contradictions or self.invented)


def rule(asked: Asked, verdict: Verdict, analysis: Analysis, thresholds: LevelThresholds, at: datetime) -> Ruling:
    """Return the assessment that a verdict leads to."""
    rules = asked.rules
    within = bounded(verdict.score, rules, verdict.factors, asked.items)
    facts = Facts(asked.evidence, asked.items, within.score, risk_level(within.score, thresholds))
    summary, reasoning = check(verdict.summary, facts), check(verdict.reasoning, facts)
    faults = (*summary.faults, *reasoning.faults)
    said = f"Analyst: {reasoning.text} " if reasoning.text else ""
    assessment = Assessment(
        score=within.score,
        summary=without_ids(summary.text) or rules.summary,
        reasoning=f"{said}{rules.reasoning}",
        factors=(*rules.factors, *_moved(within, rules.score)),
        source=AssessmentSource.MODEL,
        verified=True,
        assessed_at=at,
        analysis=analysis,
    )
    return Ruling(
        assessment,
        held_back=abs(verdict.score - within.score),
        contradictions=faults.count(Fault.CONTRADICTION) + within.contradicted,
        invented=faults.count(Fault.INVENTED),
    )


def _moved(within: Bounded, before: int) -> tuple[Factor, ...]:
    """Return the factor by which the analyst moved the score; none where it did not."""
    points = within.score - before
    if points == 0:
        return ()
    own = [claim for claim in within.claims if _speaks_for(claim, points)]
    name = own[0].name if own else ANALYST
    told = own or within.claims
    cited = ", ".join(dict.fromkeys(f"{claim.name} ({claim.evidence})" for claim in told))
    return (Factor(name, points, f"by the analyst: {cited}" if cited else "by the analyst, without a reason"),)


def _speaks_for(claim: Claim, points: int) -> bool:
    own = OWN_FACTORS.get(claim.name)
    return own is not None and own.direction.value * points > 0
