# SPDX-License-Identifier: AGPL-3.0-or-later
"""The rules: a pure function from evidence to named factors. The score is their clamped sum.

An event is judged by its most serious object, to which the others add a little. Trust takes the ordinary points of the
one who is trusted and nobody else's; a threat is lowered by nothing ordinary. `weights.toml` has the numbers and the
reason of each.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from inference_server.core.assessment import Assessment, AssessmentSource, Factor, total_score
from inference_server.core.clock import Clock
from inference_server.core.observation import AT_HOME_IN_ORDER, Trust
from inference_server.risk.event_rules import EVENT_RULES
from inference_server.risk.evidence import Evidence, Lesson, Subject
from inference_server.risk.finding import Finding
from inference_server.risk.subject_rules import SUBJECT_RULES, THREAT_FACTORS
from inference_server.risk.weights import Weights
from inference_server.risk.wording import seen_where

_OWN_RIGHT = frozenset(kind.value for kind in AT_HOME_IN_ORDER)
_TRUST_FACTORS = {Trust.FULL: "trusted", Trust.PARTIAL: "partly_trusted"}

LEARNT = "learnt"
FACTOR_NAMES = (*SUBJECT_RULES, *_TRUST_FACTORS.values(), *EVENT_RULES, LEARNT)
"""Every factor that an assessment by rules may have, in the order in which they are told."""


@dataclass(frozen=True, slots=True)
class _Judged:
    """One object with what was found about it."""

    subject: Subject
    findings: Mapping[str, Finding]

    @property
    def points(self) -> int:
        return sum(finding.points for finding in self.findings.values())

    @property
    def threats(self) -> frozenset[str]:
        """Its dangerous factors, without what somebody who is fully trusted may do at home."""
        return _threats(self.subject, self.findings)


def _judge(subject: Subject, evidence: Evidence, weights: Weights) -> _Judged:
    found = {name: rule(subject, evidence, weights) for name, rule in SUBJECT_RULES.items()}
    findings = {name: finding for name, finding in found.items() if finding is not None}
    threats = _threats(subject, findings)
    trust = _trust(subject, findings, threats, weights)
    if threats:
        findings = {name: finding for name, finding in findings.items() if finding.points > 0}
    return _Judged(subject, findings | trust)


def _threats(subject: Subject, findings: Mapping[str, Finding]) -> frozenset[str]:
    known = subject.known_as
    excused = _OWN_RIGHT if known and known.trust is Trust.FULL else frozenset()
    return THREAT_FACTORS & findings.keys() - excused


def _trust(
    subject: Subject, findings: Mapping[str, Finding], threats: frozenset[str], weights: Weights
) -> dict[str, Finding]:
    """Return the factor by which trust lowers an object's own ordinary points, if it is trusted."""
    known = subject.known_as
    name = _TRUST_FACTORS.get(known.trust) if known else None
    if known is None or name is None:
        return {}
    ordinary = sum(finding.points for factor, finding in findings.items() if factor not in threats)
    points = round(max(ordinary, 0) * weights[name].fixed() / 100)
    return {name: Finding(points, f'recognised as "{known.name}" ({known.confidence:.2f})')}


def find_factors(evidence: Evidence, weights: Weights) -> tuple[Factor, ...]:
    """Return what the rules find, in the order of FACTOR_NAMES."""
    judged = [_judge(subject, evidence, weights) for subject in evidence.subjects]
    lead = max(judged, key=lambda one: one.points, default=None)
    if lead is None:
        return ()
    findings = dict(lead.findings)
    for other in judged:
        findings |= {name: other.findings[name] for name in other.threats - findings.keys()}
    dangerous = any(one.threats for one in judged)
    for name, rule in EVENT_RULES.items():
        finding = rule(evidence, weights)
        if finding is not None and not (dangerous and finding.points < 0):
            findings[name] = finding
    if (learnt := lesson_finding(evidence.lesson, weights, dangerous=dangerous)) is not None:
        findings[LEARNT] = learnt
    return tuple(
        Factor(name, findings[name].points, findings[name].evidence) for name in FACTOR_NAMES if name in findings
    )


def lesson_finding(lesson: Lesson | None, weights: Weights, *, dangerous: bool) -> Finding | None:
    """Return what was learnt as far as it counts: within its weight, and never against a threat."""
    if lesson is None or (dangerous and lesson.points < 0):
        return None
    most = abs(weights[LEARNT].fixed())
    return Finding(max(-most, min(most, lesson.points)), lesson.evidence)


def assess(evidence: Evidence, weights: Weights, clock: Clock) -> Assessment:
    """Return the rules' assessment: always unverified, for the analyst to confirm or correct."""
    factors = find_factors(evidence, weights)
    seen = seen_where(evidence.tracks)
    when = "at night" if evidence.night else "by day"
    return Assessment(
        score=total_score(factors),
        summary=f"{seen[:1].upper()}{seen[1:]} {when}",
        reasoning=_reasoning(factors, evidence),
        factors=factors,
        source=AssessmentSource.RULES,
        verified=False,
        assessed_at=clock.now(),
    )


def _reasoning(factors: tuple[Factor, ...], evidence: Evidence) -> str:
    reasons = "; ".join(f"{factor.name} {factor.points:+d} ({factor.evidence})" for factor in factors)
    lost = evidence.context_lost_at
    unknown = f" Home Assistant has not told the state of the home since {lost:%H:%M}." if lost else ""
    return f"Rules: {reasons or 'nothing to weigh'}.{unknown}"
