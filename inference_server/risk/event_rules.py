# SPDX-License-Identifier: AGPL-3.0-or-later
"""The rules about an event as a whole: how many there are, what is usual here, and what happened before."""

from collections.abc import Mapping

from inference_server.core.detection import Category
from inference_server.core.observation import Trust
from inference_server.risk.evidence import Evidence, Expectation
from inference_server.risk.finding import Finding, OfEvent
from inference_server.risk.weights import Weights

SURE_FROM = 0.5
_USUAL_FROM = 0.5
"""The chance of so many from which they are usual."""


def _further(category: Category, name: str, words: str) -> OfEvent:
    def judge(evidence: Evidence, weights: Weights) -> Finding | None:
        here = [subject for subject in evidence.of(category) if not evidence.is_on_public_ground(subject)]
        unknown = [s for s in here if s.known_as is None or s.known_as.trust is not Trust.FULL]
        further = len(unknown) - 1
        return Finding(weights[name].counted(further), f"{further} more {words}") if further > 0 else None

    return judge


def _unusual(evidence: Evidence, weights: Weights) -> Finding | None:
    rarest = min((e for e in evidence.expectations if _is_about(evidence, e)), key=lambda e: e.chance, default=None)
    if rarest is None:
        return None
    points = weights["unusual"].reached(1 / max(rarest.chance, 1e-6))
    return Finding(points, _compared(rarest)) if points else None


def _usual(evidence: Evidence, weights: Weights) -> Finding | None:
    told = [e for e in evidence.expectations if _is_about(evidence, e)]
    rarest = min(told, key=lambda e: e.chance, default=None)
    if rarest is None or rarest.chance < _USUAL_FROM:
        return None
    return Finding(weights["usual"].fixed(), _compared(rarest))


def _is_about(evidence: Evidence, expectation: Expectation) -> bool:
    """Return whether an expectation is about people or vehicles that the event shows."""
    return expectation.category is not Category.ANIMAL and bool(evidence.of(expectation.category))


_NOUNS = {Category.PERSON: "people", Category.VEHICLE: "vehicles", Category.ANIMAL: "animals"}


def _compared(told: Expectation) -> str:
    noun = _NOUNS[told.category]
    return f"{told.seen} {noun} in this hour, {told.expected:.1f} expected ({told.weeks:.0f} weeks)"


def _came_closer(evidence: Evidence, weights: Weights) -> Finding | None:
    before = [s for s in evidence.elsewhere if s.further_out and evidence.of(s.category)]
    latest = min(before, key=lambda s: (s.ago, s.camera), default=None)
    if latest is None:
        return None
    return Finding(weights["came_closer"].fixed(), f'on "{latest.camera}" {latest.ago.total_seconds():.0f} s before')


def _repeat_visits(evidence: Evidence, weights: Weights) -> Finding | None:
    points = weights["repeat_visits"].reached(evidence.nights_visited)
    if not points or not evidence.of(Category.PERSON):
        return None
    return Finding(points, f"the same unknown person in {evidence.nights_visited} of the last 14 nights")


def _camera_tampered(evidence: Evidence, weights: Weights) -> Finding | None:
    latest = min(evidence.tampering, key=lambda t: (t.ago, t.camera), default=None)
    if latest is None or not (evidence.of(Category.PERSON) or evidence.of(Category.VEHICLE)):
        return None
    seconds = latest.ago.total_seconds()
    words = latest.problem.value.replace("_", " ")
    return Finding(weights["camera_tampered"].fixed(), f'"{latest.camera}" was {words} {seconds:.0f} s before')


def _unsure(evidence: Evidence, weights: Weights) -> Finding | None:
    if not 0 < evidence.sure < SURE_FROM:
        return None
    return Finding(weights["unsure"].fixed(), f"no confidence above {evidence.sure:.2f}")


EVENT_RULES: Mapping[str, OfEvent] = {
    "several_people": _further(Category.PERSON, "several_people", "people"),
    "several_vehicles": _further(Category.VEHICLE, "several_vehicles", "vehicles"),
    "unusual": _unusual,
    "usual": _usual,
    "came_closer": _came_closer,
    "repeat_visits": _repeat_visits,
    "camera_tampered": _camera_tampered,
    "unsure": _unsure,
}
"""By factor, in the order in which they are told."""
