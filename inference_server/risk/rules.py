# SPDX-License-Identifier: AGPL-3.0-or-later
"""The rules: a pure function from evidence to named factors. The score is their clamped sum.

Anchors (the weights below are set to meet them): passer-by 5-15, a person by day at the lower end of an unknown
visitor (20-35), lingering 35-65, people at night above the same people by day. Zones move people within these anchors:
who stays on the sidewalk is a passer-by, who stands at the entry is a visitor, who lingers there comes to 65.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from inference_server.core.assessment import Assessment, AssessmentSource, Factor, total_score
from inference_server.core.clock import Clock
from inference_server.core.detection import Category, Direction, Track, ZoneType
from inference_server.risk.evidence import Evidence, describe, is_only_in, whereabouts

PERSON = 20
EACH_FURTHER_PERSON, FURTHER_PEOPLE_AT_MOST = 5, 15
VEHICLE = 8
EACH_FURTHER_VEHICLE, FURTHER_VEHICLES_AT_MOST = 2, 6
ANIMAL = 3
PERSON_AT_NIGHT = 15
VEHICLE_AT_NIGHT = 7
LINGERING = 15
LINGERING_LONG = 30
UNSURE = -5
ZONE_POINTS = {ZoneType.RESTRICTED: 20, ZoneType.ENTRY: 5, ZoneType.YARD: 5, ZoneType.DRIVEWAY: 3}
ONLY_ON_SIDEWALK = -10
LOITERING_IN_ZONE = 10
LINE_CROSSED = 5

LINGERS_AFTER = timedelta(seconds=30)
LINGERS_LONG_AFTER = timedelta(seconds=60)
SURE_FROM = 0.5


@dataclass(frozen=True, slots=True)
class _Rule:
    """A named rule; it returns its points and evidence, or None when it does not apply."""

    name: str
    judge: Callable[[Evidence], tuple[int, str] | None]


def _present(category: Category, points: int) -> Callable[[Evidence], tuple[int, str] | None]:
    def judge(evidence: Evidence) -> tuple[int, str] | None:
        tracks = evidence.of(category)
        return (points, f"{describe(tracks)}, confidence up to {_best(tracks):.2f}") if tracks else None

    return judge


def _further(category: Category, each: int, at_most: int) -> Callable[[Evidence], tuple[int, str] | None]:
    def judge(evidence: Evidence) -> tuple[int, str] | None:
        further = len(evidence.of(category)) - 1
        return (min(further * each, at_most), f"{further} more than one") if further > 0 else None

    return judge


def _at_night(category: Category, points: int) -> Callable[[Evidence], tuple[int, str] | None]:
    def judge(evidence: Evidence) -> tuple[int, str] | None:
        seen = evidence.night and evidence.of(category)
        return (points, f"it is night ({evidence.now:%H:%M})") if seen else None

    return judge


def _lingering(evidence: Evidence) -> tuple[int, str] | None:
    stayed = evidence.longest_stay
    if stayed < LINGERS_AFTER:
        return None
    return LINGERING_LONG if stayed >= LINGERS_LONG_AFTER else LINGERING, f"in view for {stayed.total_seconds():.0f} s"


def _in_zone(kind: ZoneType) -> Callable[[Evidence], tuple[int, str] | None]:
    def judge(evidence: Evidence) -> tuple[int, str] | None:
        visits = evidence.visits(kind, Category.PERSON)
        if kind is ZoneType.RESTRICTED:
            visits = (*visits, *evidence.visits(kind, Category.VEHICLE))
        names = ", ".join(sorted({f'"{visit.name}"' for visit in visits}))
        return (ZONE_POINTS[kind], f"in {names}") if visits else None

    return judge


def _only_on_sidewalk(evidence: Evidence) -> tuple[int, str] | None:
    people = evidence.of(Category.PERSON)
    if not people or not all(is_only_in(track, ZoneType.SIDEWALK) for track in people):
        return None
    return ONLY_ON_SIDEWALK, "nobody left the sidewalk"


def _loitering_in_zone(evidence: Evidence) -> tuple[int, str] | None:
    visits = [visit for track in evidence.of(Category.PERSON) for visit in track.zones if visit.loitering]
    longest = max(visits, key=lambda visit: (visit.seconds, visit.name), default=None)
    return (LOITERING_IN_ZONE, f'{longest.seconds:.0f} s in "{longest.name}"') if longest else None


def _line_crossed(evidence: Evidence) -> tuple[int, str] | None:
    tracks = (*evidence.of(Category.PERSON), *evidence.of(Category.VEHICLE))
    inward = {f'"{c.name}"' for track in tracks for c in track.crossings if c.direction is Direction.IN}
    return (LINE_CROSSED, f"came in over the line of {', '.join(sorted(inward))}") if inward else None


def _unsure(evidence: Evidence) -> tuple[int, str] | None:
    best = _best(evidence.tracks)
    return (UNSURE, f"no confidence above {best:.2f}") if 0 < best < SURE_FROM else None


def _best(tracks: tuple[Track, ...]) -> float:
    return max((track.confidence for track in tracks), default=0.0)


_RULES = (
    _Rule("person_seen", _present(Category.PERSON, PERSON)),
    _Rule("several_people", _further(Category.PERSON, EACH_FURTHER_PERSON, FURTHER_PEOPLE_AT_MOST)),
    _Rule("vehicle_seen", _present(Category.VEHICLE, VEHICLE)),
    _Rule("several_vehicles", _further(Category.VEHICLE, EACH_FURTHER_VEHICLE, FURTHER_VEHICLES_AT_MOST)),
    _Rule("animal_seen", _present(Category.ANIMAL, ANIMAL)),
    _Rule("person_at_night", _at_night(Category.PERSON, PERSON_AT_NIGHT)),
    _Rule("vehicle_at_night", _at_night(Category.VEHICLE, VEHICLE_AT_NIGHT)),
    _Rule("lingering", _lingering),
    *(_Rule(f"in_{kind.value}", _in_zone(kind)) for kind in ZONE_POINTS),
    _Rule("only_on_sidewalk", _only_on_sidewalk),
    _Rule("loitering_in_zone", _loitering_in_zone),
    _Rule("line_crossed", _line_crossed),
    _Rule("unsure", _unsure),
)

FACTOR_NAMES = tuple(rule.name for rule in _RULES)


def _seen(tracks: tuple[Track, ...]) -> str:
    """Return what was seen and where: 'a person at the entry "Front door"'."""
    where = whereabouts(tracks)
    there = tuple(track for track in tracks if where and whereabouts((track,)) == where)
    if not where or len(there) == len(tracks):
        return f"{describe(tracks)} {where}".rstrip()
    return f"{describe(tracks)}, {describe(there)} {where},"


def assess(evidence: Evidence, clock: Clock) -> Assessment:
    """Return the rules' assessment: always unverified, for the analyst to confirm or correct."""
    judged = [(rule.name, rule.judge(evidence)) for rule in _RULES]
    factors = tuple(Factor(name, *verdict) for name, verdict in judged if verdict is not None)
    seen = _seen(evidence.tracks)
    when = "at night" if evidence.night else "by day"
    reasons = "; ".join(f"{factor.name} {factor.points:+d} ({factor.evidence})" for factor in factors)
    return Assessment(
        score=total_score(factors),
        summary=f"{seen[:1].upper()}{seen[1:]} {when}",
        reasoning=f"Rules: {reasons}." if reasons else "Rules: nothing to weigh.",
        factors=factors,
        source=AssessmentSource.RULES,
        verified=False,
        assessed_at=clock.now(),
    )
