# SPDX-License-Identifier: AGPL-3.0-or-later
"""Evidence, the rules' view of it and the lines that the analyst is told, for tests of verdicts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from inference_server.core.assessment import Analysis, Assessment, LevelThresholds
from inference_server.core.context import HomeContext
from inference_server.core.detection import Label, Track, ZoneType, ZoneVisit
from inference_server.core.observation import Identity, Observation, Observed, Trust
from inference_server.core.prompt import PromptKind
from inference_server.risk.evidence import Evidence, Subject
from inference_server.risk.prompts.case import Case
from inference_server.risk.prompts.rendering import render
from inference_server.risk.prompts.shipped import newest_shipped
from inference_server.risk.prompts.text import read_prompt
from inference_server.risk.rules import assess
from inference_server.risk.ruling import Asked, Ruling, rule
from inference_server.risk.verdict import Claim, Verdict
from inference_server.risk.weights import shipped_weights
from tests.support.home import MovableClock

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
MIDNIGHT = datetime(2026, 11, 23, 23, 30, tzinfo=UTC)
PROMPT = read_prompt(PromptKind.ANALYST, newest_shipped(PromptKind.ANALYST).text)
WEIGHTS = shipped_weights()


def somebody(
    *observed: Observed,
    label: Label = Label.PERSON,
    zone: tuple[str, ZoneType] | None = None,
    known: tuple[str, Trust] | None = None,
    at: datetime = NOON,
) -> Subject:
    """Return an object that was in view for ten seconds."""
    visits = (ZoneVisit(1, zone[0], zone[1], at, 10, 3, False),) if zone else ()
    track = Track(label, 0.9, at, at + timedelta(seconds=10), 3, zones=visits)
    identity = Identity(*known) if known else None
    return Subject(track, tuple(Observation(kind, 0.9) for kind in observed), identity)


def evidence(*subjects: Subject, at: datetime = NOON, people_home: int | None = None) -> Evidence:
    """Return evidence of these objects; it is night from 22 o'clock on."""
    context = None if people_home is None else HomeContext(at, people_home=people_home)
    return Evidence(subjects, at, at.hour >= 22, context=context)


def asked_about(found: Evidence, camera: str = "Front door") -> Asked:
    """Return what the analyst is asked about it."""
    rules = assess(found, WEIGHTS, MovableClock(found.now))
    case = Case(camera=camera, evidence=found, assessment=rules, started_at=found.now)
    return Asked(found, rules, render(case, PROMPT, 100_000).items)


@dataclass(frozen=True)
class Says:
    """What a model answers."""

    score: int
    summary: str = ""
    reasoning: str = ""
    factors: Sequence[tuple[str, str]] = ()


def ruled(asked: Asked, said: Says) -> Ruling:
    """Return what becomes of an answer."""
    claims = tuple(Claim(name=name, evidence=cited) for name, cited in said.factors)
    verdict = Verdict(
        reasoning=said.reasoning, factors=claims, score=said.score, confidence=0.5, summary=said.summary[:200]
    )
    analysis = Analysis("m", "p", 1.0, 1, 1, 0.5, asked.rules.score, asked.rules.summary)
    return rule(asked, verdict, analysis, LevelThresholds(), asked.evidence.now)


def judged(found: Evidence, said: Says) -> Assessment:
    """Return the assessment that an answer leads to."""
    return ruled(asked_about(found), said).assessment
