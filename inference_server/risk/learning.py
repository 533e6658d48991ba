# SPDX-License-Identifier: AGPL-3.0-or-later
"""Learning from feedback: how many points the owner's opinions on similar events add to an event's score, or take.

Each opinion asks for as many points as there are between the middle of the level that its event should have had and the
score that the rules gave it. What an event is given is the mean of these, weighted by similarity and age, and shrunk
towards what is usual for such objects on this camera, which is itself shrunk towards nothing. One opinion moves little,
five move much. This is the credibility estimate of H. Buehlmann, "Experience rating and credibility", ASTIN Bulletin 4
(1967), in the hierarchy of W. S. Jewell, "The use of collateral data in credibility theory: a hierarchical model"
(1975).

All of it is a function of the feedback that counts now: what is withdrawn leaves no trace.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import fsum

from inference_server.core.assessment import Factor, LevelThresholds, RiskLevel, scores_of, total_score
from inference_server.core.context import CameraPlace
from inference_server.core.detection import Category, Track
from inference_server.core.feedback import Experience, FeedbackKind, Opinion, Signature
from inference_server.risk.evidence import Lesson, is_night
from inference_server.risk.rules import FACTOR_NAMES, LEARNT, lesson_finding
from inference_server.risk.subject_rules import THREAT_FACTORS
from inference_server.risk.weights import Weights

HALF_LIFE = timedelta(days=90)
SHRINKING = 4.0
"""So many opinions on the very same move an event half of the way that they ask for."""
CAMERA_SHRINKING = 16.0
"""So many opinions on objects of a kind move all events of that kind on their camera half of the way."""
SIMILAR_FROM = 0.3
_OTHER_TIME = 0.5
_OTHER_CAMERA = 0.25
_MOST_REMEMBERED = 4096

_SEEN = {"person_seen": Category.PERSON, "vehicle_seen": Category.VEHICLE, "animal_seen": Category.ANIMAL}
_AT_NIGHT = frozenset({"person_at_night", "vehicle_at_night"})
_FACTORS = frozenset(FACTOR_NAMES) - {LEARNT}
_ALIKE = frozenset(name for name in _FACTORS - THREAT_FACTORS - _AT_NIGHT if not name.startswith("in_"))
"""Factors that make events alike; night and zones do so by themselves."""


def ordinary(factors: Iterable[Factor]) -> tuple[Factor, ...]:
    """Return the factors that the rules found without what had been learnt."""
    return tuple(factor for factor in factors if factor.name in _FACTORS)


def is_threatened(factors: Iterable[Factor]) -> bool:
    """Return whether a threat is among an event's factors, even one that somebody who lives there may be."""
    return any(factor.name in THREAT_FACTORS for factor in factors)


def signature(
    camera_id: str, place: CameraPlace, tracks: Sequence[Track], factors: Sequence[Factor], *, night: bool
) -> Signature:
    """Return what makes an event like others."""
    names = {factor.name for factor in factors}
    leading = next((category for name, category in _SEEN.items() if name in names), None)
    seen = {track.label.category for track in tracks}
    category = leading or next((kind for kind in Category if kind in seen), None)
    zones = {visit.type for track in tracks if track.label.category is category for visit in track.zones}
    features = (names & _ALIKE) | {f"zone:{kind.value}" for kind in zones}
    return Signature(camera_id, place, category, night, frozenset(features))


def was_night(factors: Iterable[Factor], local: datetime, starts_hour: int, ends_hour: int) -> bool:
    """Return whether a stored event was judged to be at night: by its factors, else by its time in the home's zone."""
    return any(factor.name in _AT_NIGHT for factor in factors) or is_night(local, starts_hour, ends_hour)


def similarity(one: Signature, other: Signature) -> float:
    """Return how alike two events are, 0 to 1.

    It is the share of their features that both have (P. Jaccard, 1912); half of it if one was at night; a quarter of
    it on different cameras that look at the same kind of place; 0 for other cameras, for different kinds of objects,
    and for a share below SIMILAR_FROM.
    """
    if one.category is not other.category:
        return 0.0
    if one.camera_id != other.camera_id and (one.place is not other.place or one.place is CameraPlace.OTHER):
        return 0.0
    union = len(one.features | other.features)
    alike = len(one.features & other.features) / union if union else 1.0
    if alike < SIMILAR_FROM:
        return 0.0
    same_time = 1.0 if one.night is other.night else _OTHER_TIME
    return alike * same_time * (1.0 if one.camera_id == other.camera_id else _OTHER_CAMERA)


type Middles = Mapping[RiskLevel, float]


def middles(thresholds: LevelThresholds) -> Middles:
    """Return the middle of the scores of each level."""
    scores = {level: scores_of(level, thresholds) for level in RiskLevel}
    return {level: (found.start + found.stop - 1) / 2 for level, found in scores.items()}


def asked_points(experience: Experience, of: Middles) -> float | None:
    """Return how many points an opinion asks for, `of` being the middles of the levels; None where it teaches nothing.

    That is when its event had a threat and it asks for less: the threat made the score, and nothing ordinary lowers it.
    """
    asked = _asked(experience.opinion, experience.score, of)
    return None if experience.threatened and asked <= 0 else asked


def _asked(opinion: Opinion, score: int, of: Middles) -> float:
    match opinion.kind:
        case FeedbackKind.CORRECT:
            return 0.0
        case FeedbackKind.MISSED:
            return max(of[opinion.level or RiskLevel.HIGH] - score, 0.0)
        case FeedbackKind.WRONG_SEVERITY:
            return of[opinion.level or RiskLevel.LOW] - score
        case FeedbackKind.FALSE_ALARM | FeedbackKind.KNOWN_PERSON | FeedbackKind.KNOWN_VEHICLE:
            return min(of[RiskLevel.LOW] - score, 0.0)


@dataclass(slots=True)
class _Group:
    """The opinions on events of one signature; weights are those at the time of the newest opinion of all."""

    weights: list[float] = field(default_factory=list)
    asked: list[float] = field(default_factory=list)
    kinds: Counter[FeedbackKind] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class _Sum:
    """Opinions that count for something, together."""

    weight: float
    asked: float
    kinds: Counter[FeedbackKind]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What feedback does to all events of a camera with objects of a kind, whatever they are like."""

    category: Category | None
    points: float
    kinds: Mapping[FeedbackKind, int]


class School:
    """What all feedback together teaches. It is asked at the time of a judgement; older feedback counts less."""

    def __init__(self, experiences: Sequence[Experience], thresholds: LevelThresholds, weights: Weights) -> None:
        """Take the feedback that counts, in any order."""
        self._most = abs(weights[LEARNT].fixed())
        self._latest = max((experience.given_at for experience in experiences), default=None)
        self._groups: dict[Signature, _Group] = {}
        of = middles(thresholds)
        for experience in experiences:
            self._add(experience, of)
        self._similar: dict[Signature, _Sum] = {}
        self._cameras = {key: self._of_camera(*key) for key in {(s.camera_id, s.category) for s in self._groups}}

    def _add(self, experience: Experience, of: Middles) -> None:
        asked = asked_points(experience, of)
        if asked is None or self._latest is None:
            return
        weight = 0.5 ** ((self._latest - experience.given_at) / HALF_LIFE)
        group = self._groups.setdefault(experience.signature, _Group())
        group.weights.append(weight)
        group.asked.append(weight * asked)
        group.kinds[experience.opinion.kind] += 1

    def _of_camera(self, camera_id: str, category: Category | None) -> _Sum:
        return _sum(
            (1.0, group)
            for known, group in self._groups.items()
            if known.camera_id == camera_id and known.category is category
        )

    def lesson(self, of: Signature, now: datetime) -> Lesson | None:
        """Return what feedback says of such an event, at most what `learnt` weighs; None where that is nothing."""
        if of not in self._similar:
            if len(self._similar) >= _MOST_REMEMBERED:
                self._similar.clear()
            alike = ((similarity(of, known), group) for known, group in self._groups.items())
            self._similar[of] = _sum((share, group) for share, group in alike if share > 0)
        similar, share = self._similar[of], self._share(now)
        usual = self._usual(of.camera_id, of.category, now)
        mean = (share * similar.asked + SHRINKING * usual) / (share * similar.weight + SHRINKING)
        points = round(max(-self._most, min(self._most, mean)))
        if points == 0:
            return None
        if similar.kinds:
            return Lesson(points, f"feedback on similar events: {_counted(similar.kinds)}")
        return Lesson(points, f"feedback on this camera: {_counted(self._cameras[of.camera_id, of.category].kinds)}")

    def calibration(self, camera_id: str, now: datetime) -> tuple[Calibration, ...]:
        """Return what feedback does to a camera's events, by the kind of their objects."""
        return tuple(
            Calibration(
                kind,
                round(max(-self._most, min(self._most, self._usual(camera_id, kind, now))), 1),
                dict(self._cameras[camera_id, kind].kinds),
            )
            for kind in (*Category, None)
            if (camera_id, kind) in self._cameras
        )

    def _usual(self, camera_id: str, category: Category | None, now: datetime) -> float:
        known = self._cameras.get((camera_id, category))
        if known is None:
            return 0.0
        share = self._share(now)
        return share * known.asked / (share * known.weight + CAMERA_SHRINKING)

    def _share(self, now: datetime) -> float:
        """Return how much the newest feedback still counts; all else counts by what it did then."""
        age = max(now - self._latest, timedelta(0)) if self._latest else timedelta(0)
        return float(0.5 ** (age / HALF_LIFE))


def _sum(shares: Iterable[tuple[float, _Group]]) -> _Sum:
    """Return groups together, each as far as it counts: the same whatever their order."""
    weights: list[float] = []
    asked: list[float] = []
    kinds: Counter[FeedbackKind] = Counter()
    for share, group in shares:
        weights += (share * weight for weight in group.weights)
        asked += (share * points for points in group.asked)
        kinds += group.kinds
    return _Sum(fsum(weights), fsum(asked), kinds)


def _counted(kinds: Mapping[FeedbackKind, int]) -> str:
    return ", ".join(f"{kinds[kind]} {kind.value.replace('_', ' ')}" for kind in FeedbackKind if kinds.get(kind))


@dataclass(frozen=True, slots=True)
class PastVerdict:
    """A stored event as the rules judged it."""

    event_id: int
    started_at: datetime
    signature: Signature
    factors: tuple[Factor, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """The score of a stored event, were it judged by the rules now, with other feedback before than after."""

    verdict: PastVerdict
    before: int
    after: int


def effect(past: Iterable[PastVerdict], before: School, after: School, weights: Weights, now: datetime) -> list[Change]:
    """Return what feedback changes for stored events, the greatest changes first; the unchanged are left out."""
    changes = [
        Change(verdict, _score(verdict, before, weights, now), _score(verdict, after, weights, now)) for verdict in past
    ]
    changed = (change for change in changes if change.before != change.after)
    return sorted(changed, key=lambda change: (-abs(change.after - change.before), -change.verdict.event_id))


def _score(verdict: PastVerdict, school: School, weights: Weights, now: datetime) -> int:
    factors = ordinary(verdict.factors)
    lesson = school.lesson(verdict.signature, now)
    learnt = lesson_finding(lesson, weights, dangerous=is_threatened(factors))
    added = (Factor(LEARNT, learnt.points, learnt.evidence),) if learnt else ()
    return total_score((*factors, *added))
