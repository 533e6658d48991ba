# SPDX-License-Identifier: AGPL-3.0-or-later
"""The rules: a pure function from evidence to named factors. The score is their clamped sum.

An event is judged by its most serious object, to which the others add a little. Trust takes the ordinary points of the
one who is trusted and nobody else's; a threat is lowered by nothing ordinary. `weights.toml` has the numbers and the
reason of each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inference_server.core.assessment import Assessment, AssessmentSource, Factor, total_score
from inference_server.core.clock import Clock
from inference_server.core.observation import AT_HOME_IN_ORDER, Trust
from inference_server.risk.event_rules import EVENT_RULES
from inference_server.risk.evidence import Evidence, Lesson, Subject
from inference_server.risk.finding import Finding
from inference_server.risk.subject_rules import CIRCUMSTANCES, KEPT_FACTORS, SUBJECT_RULES, THREAT_FACTORS
from inference_server.risk.weights import Weights
from inference_server.risk.wording import seen_where

_OWN_RIGHT = frozenset(kind.value for kind in AT_HOME_IN_ORDER) | {"indoors_nobody_home"}
_TRUST_FACTORS = {Trust.FULL: "trusted", Trust.PARTIAL: "partly_trusted"}

LEARNT = "learnt"
FACTOR_NAMES = (*SUBJECT_RULES, "overlap", *_TRUST_FACTORS.values(), *EVENT_RULES, LEARNT)
"""Every factor that an assessment by rules may have, in the order in which they are told."""


@dataclass(frozen=True, slots=True)
class _Judged:
    """One object with what was found about it."""

    findings: Mapping[str, Finding]
    threats: frozenset[str]
    """Its dangerous factors, without what somebody who is fully trusted may do at home."""

    @property
    def points(self) -> int:
        return sum(finding.points for finding in self.findings.values())

    @property
    def order(self) -> list[tuple[str, int, str]]:
        """What tells it from others with as many points, so that their order does not matter."""
        return sorted((name, finding.points, finding.evidence) for name, finding in self.findings.items())


def _judge(evidence: Evidence, weights: Weights) -> list[_Judged]:
    """Return what is found about each object. In a dangerous event nothing ordinary speaks for anybody but trust."""
    found = [(subject, _findings(subject, evidence, weights)) for subject in evidence.subjects]
    dangerous = any(_threats(subject, findings) for subject, findings in found)
    return [_judged(subject, findings, weights, dangerous=dangerous) for subject, findings in found]


def _judged(subject: Subject, found: Mapping[str, Finding], weights: Weights, *, dangerous: bool) -> _Judged:
    threats = _threats(subject, found)
    findings = {name: finding for name, finding in found.items() if finding.points > 0 or not dangerous}
    findings |= _overlap(findings, threats, weights)
    return _Judged(findings | _trust(subject, findings, threats, weights), threats)


def _findings(subject: Subject, evidence: Evidence, weights: Weights) -> dict[str, Finding]:
    found = ((name, rule(subject, evidence, weights)) for name, rule in SUBJECT_RULES.items())
    return {name: finding for name, finding in found if finding is not None}


def _threats(subject: Subject, findings: Mapping[str, Finding]) -> frozenset[str]:
    known = subject.known_as
    excused = _OWN_RIGHT if known and known.trust is Trust.FULL else frozenset()
    return THREAT_FACTORS & findings.keys() - excused


def _overlap(findings: Mapping[str, Finding], threats: frozenset[str], weights: Weights) -> dict[str, Finding]:
    """Return the factor by which circumstances weigh less beside a threat: by less than the threat itself adds."""
    danger = sum(findings[name].points for name in threats & findings.keys())
    suspicion = sum(findings[name].points for name in CIRCUMSTANCES & findings.keys())
    points = -(min(danger, suspicion) * -weights["overlap"].fixed() // 100)
    return {"overlap": Finding(points, "the hour and the stay tell of the same danger")} if points else {}


def _trust(
    subject: Subject, findings: Mapping[str, Finding], threats: frozenset[str], weights: Weights
) -> dict[str, Finding]:
    """Return the factor by which trust lowers an object's own ordinary points, if it is trusted."""
    known = subject.known_as
    name = _TRUST_FACTORS.get(known.trust) if known else None
    if known is None or name is None:
        return {}
    ordinary = sum(finding.points for factor, finding in findings.items() if factor not in threats | KEPT_FACTORS)
    points = round(max(ordinary, 0) * weights[name].fixed() / 100)
    return {name: Finding(points, f'recognised as "{known.name}" ({known.confidence:.2f})')}


def _of_subjects(judged: Sequence[_Judged], weights: Weights) -> dict[str, Finding]:
    """Return what was found about the most serious object, and what is dangerous about the others."""
    threats: dict[str, Finding] = {}
    for name, finding in ((name, one.findings[name]) for one in judged for name in one.threats & one.findings.keys()):
        if name not in threats or (finding.points, finding.evidence) > (threats[name].points, threats[name].evidence):
            threats[name] = finding
    together = [_beside(one, threats, weights) for one in judged]
    return dict(max(together, key=lambda one: (one.points, one.order)).findings)


def _beside(one: _Judged, threats: Mapping[str, Finding], weights: Weights) -> _Judged:
    """Return an object with the threats of all: its own circumstances tell of the same danger, whoever carries it."""
    findings = {**one.findings, **threats}
    return _Judged(findings | _overlap(findings, frozenset(threats), weights), one.threats)


def find_factors(evidence: Evidence, weights: Weights) -> tuple[Factor, ...]:
    """Return what the rules find, in the order of FACTOR_NAMES."""
    if not evidence.subjects:
        return ()
    judged = _judge(evidence, weights)
    findings = _of_subjects(judged, weights)
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
