# SPDX-License-Identifier: AGPL-3.0-or-later
"""The rules about one object: what it is, where, when, how long and what it does."""

from collections.abc import Mapping
from datetime import timedelta

from inference_server.core.context import AlarmState, CameraPlace, Mode
from inference_server.core.detection import Category, Speed, ZoneType
from inference_server.core.observation import THREATS, Observed
from inference_server.risk.evidence import Evidence, Subject
from inference_server.risk.finding import Finding, OfSubject
from inference_server.risk.weights import Weights
from inference_server.risk.wording import describe

SURE_OF_OBSERVATION = 0.6
"""The confidence from which an observation weighs fully; below, half."""
STARTED_WITH = timedelta(seconds=5)
"""Who is seen this soon in an event may have been there before."""
_PERSON, _VEHICLE, _ANIMAL = Category.PERSON, Category.VEHICLE, Category.ANIMAL
_TELLING = (ZoneType.RESTRICTED, ZoneType.YARD, ZoneType.ENTRY, ZoneType.DRIVEWAY)
_UNHURRIED = frozenset({None, Speed.STILL, Speed.SLOW})


def _seen(category: Category, name: str) -> OfSubject:
    def judge(subject: Subject, _evidence: Evidence, weights: Weights) -> Finding | None:
        if subject.category is not category:
            return None
        return Finding(
            weights[name].fixed(), f"{describe((subject.track,))}, confidence {subject.track.confidence:.2f}"
        )

    return judge


def _at_night(category: Category, name: str) -> OfSubject:
    def judge(subject: Subject, evidence: Evidence, weights: Weights) -> Finding | None:
        if subject.category is not category or not evidence.night:
            return None
        return Finding(weights[name].fixed(), f"it is night ({evidence.now:%H:%M})")

    return judge


def _after_dark(subject: Subject, evidence: Evidence, weights: Weights) -> Finding | None:
    context = evidence.context
    if subject.category is not _PERSON or evidence.night or context is None or context.sun_is_up is not False:
        return None
    return Finding(weights["after_dark"].fixed(), f"the sun is down ({evidence.now:%H:%M})")


def _quiet_hours(subject: Subject, evidence: Evidence, weights: Weights) -> Finding | None:
    if subject.category is not _PERSON or evidence.context is None or not evidence.context.quiet_hours:
        return None
    stayed = 0.0 if evidence.is_on_public_ground(subject) else _stayed(subject, evidence)
    return Finding(weights["quiet_hours"].reached(stayed), f"in the quiet hours ({evidence.now:%H:%M})")


def _in_zone(kind: ZoneType, *categories: Category) -> OfSubject:
    """Judge by the most telling zone: who was in the yard came over the driveway."""
    name = f"in_{kind.value}"

    def judge(subject: Subject, _evidence: Evidence, weights: Weights) -> Finding | None:
        visits = subject.visits(kind) if subject.category in categories else ()
        if not visits or any(subject.visits(other) for other in _TELLING[: _TELLING.index(kind)]):
            return None
        names = ", ".join(sorted({f'"{visit.name}"' for visit in visits}))
        return Finding(weights[name].fixed(), f"in {names}")

    return judge


def _only_on_sidewalk(subject: Subject, _evidence: Evidence, weights: Weights) -> Finding | None:
    if subject.category is not _PERSON or not subject.is_only_in(ZoneType.SIDEWALK):
        return None
    return Finding(weights["only_on_sidewalk"].fixed(), "did not leave the sidewalk")


def _on_street(subject: Subject, evidence: Evidence, weights: Weights) -> Finding | None:
    if subject.category is not _PERSON or evidence.place is not CameraPlace.STREET or subject.track.zones:
        return None
    return Finding(weights["on_street"].fixed(), "the camera looks at a street")


def _line_crossed(subject: Subject, _evidence: Evidence, weights: Weights) -> Finding | None:
    lines = subject.came_in_over
    if not lines or subject.category is _ANIMAL:
        return None
    named = ", ".join(f'"{name}"' for name in lines)
    return Finding(weights["line_crossed"].fixed(), f"came in over the line of {named}")


def _indoors_nobody_home(subject: Subject, evidence: Evidence, weights: Weights) -> Finding | None:
    context = evidence.context
    if not _is_person_indoors(subject, evidence) or context is None or not context.nobody_home:
        return None
    return Finding(weights["indoors_nobody_home"].fixed(), "a person is inside, and nobody of the household is at home")


def _indoors_with_household(subject: Subject, evidence: Evidence, weights: Weights) -> Finding | None:
    context = evidence.context
    if not _is_person_indoors(subject, evidence) or context is None or not context.somebody_home:
        return None
    return Finding(weights["indoors_with_household"].fixed(), "somebody of the household is at home")


def _is_person_indoors(subject: Subject, evidence: Evidence) -> bool:
    return subject.category is _PERSON and evidence.place is CameraPlace.INDOORS


def _lingering(subject: Subject, evidence: Evidence, weights: Weights) -> Finding | None:
    if subject.category is not _PERSON or _is_person_indoors(subject, evidence):
        return None
    if evidence.is_on_public_ground(subject) and subject.track.speed not in _UNHURRIED:
        return None
    stayed = _stayed(subject, evidence)
    points = weights["lingering"].reached(stayed)
    return Finding(points, f"in view for {stayed:.0f} s") if points else None


def _stayed(subject: Subject, evidence: Evidence) -> float:
    """Return the seconds that a person has been in view, in the events before too."""
    track = subject.track
    began = min(one.track.first_seen_at for one in evidence.of(_PERSON))
    before = evidence.stayed_before if track.first_seen_at - began <= STARTED_WITH else timedelta(0)
    return (track.dwell + before).total_seconds()


def _loitering_in_zone(subject: Subject, _evidence: Evidence, weights: Weights) -> Finding | None:
    visits = [visit for visit in subject.track.zones if visit.loitering]
    longest = max(visits, key=lambda visit: (visit.seconds, visit.name), default=None)
    if subject.category is not _PERSON or longest is None:
        return None
    return Finding(weights["loitering_in_zone"].fixed(), f'{longest.seconds:.0f} s in "{longest.name}"')


def _vehicle_waits(subject: Subject, _evidence: Evidence, weights: Weights) -> Finding | None:
    stayed = subject.track.dwell.total_seconds()
    points = weights["vehicle_waits"].reached(stayed)
    if subject.category is not _VEHICLE or subject.track.speed not in {Speed.STILL, Speed.SLOW} or not points:
        return None
    return Finding(points, f"waits for {stayed:.0f} s")


def _nobody_home(subject: Subject, evidence: Evidence, weights: Weights) -> Finding | None:
    context = evidence.context
    if subject.category is not _PERSON or context is None or not context.nobody_home:
        return None
    points = weights["nobody_home"].reached(_stayed(subject, evidence))
    if not points or evidence.is_on_public_ground(subject):
        return None
    return Finding(points, _why_empty(context.people_home, context.mode))


def _why_empty(people_home: int | None, mode: Mode | None) -> str:
    if people_home == 0:
        return "nobody of the household is at home"
    return "the mode is away" if mode is Mode.AWAY else "the alarm is armed for an empty house"


def _empty_at_night(subject: Subject, evidence: Evidence, weights: Weights) -> Finding | None:
    context = evidence.context
    if subject.category is not _PERSON or not evidence.night or context is None or not context.nobody_home:
        return None
    if evidence.is_on_public_ground(subject):
        return None
    return Finding(weights["empty_at_night"].fixed(), "nobody of the household is at home, and it is night")


def _household_at_home(subject: Subject, evidence: Evidence, weights: Weights) -> Finding | None:
    context = evidence.context
    if subject.category is not _PERSON or evidence.night or context is None or not context.somebody_home:
        return None
    if evidence.place is CameraPlace.INDOORS or evidence.is_on_public_ground(subject):
        return None
    points = weights["household_at_home"].reached(_stayed(subject, evidence))
    return Finding(points, "somebody of the household is at home, and it is not night")


def _guests_expected(subject: Subject, evidence: Evidence, weights: Weights) -> Finding | None:
    context = evidence.context
    if subject.category is not _PERSON or context is None or context.mode is not Mode.DISARMED:
        return None
    return Finding(weights["guests_expected"].fixed(), "the mode is disarmed: guests are expected")


def _alarm_triggered(subject: Subject, evidence: Evidence, weights: Weights) -> Finding | None:
    context = evidence.context
    if subject.category is _ANIMAL or context is None or context.alarm is not AlarmState.TRIGGERED:
        return None
    return Finding(weights["alarm_triggered"].fixed(), "the alarm has been triggered")


def _watched(subject: Subject, _evidence: Evidence, weights: Weights) -> Finding | None:
    known = subject.known_as
    if known is None or known.trust.value != "monitor":
        return None
    return Finding(weights["watched"].fixed(), f'recognised as "{known.name}" ({known.confidence:.2f})')


def _observed(kind: Observed) -> OfSubject:
    def judge(subject: Subject, _evidence: Evidence, weights: Weights) -> Finding | None:
        observation = subject.best(kind)
        if observation is None:
            return None
        words = kind.value.replace("_", " ")
        points = weights[kind.value].fixed()
        if observation.confidence < SURE_OF_OBSERVATION:
            points = (points + 1) // 2
        return Finding(points, f"{words}, confidence {observation.confidence:.2f}")

    return judge


SUBJECT_RULES: Mapping[str, OfSubject] = {
    "person_seen": _seen(_PERSON, "person_seen"),
    "vehicle_seen": _seen(_VEHICLE, "vehicle_seen"),
    "animal_seen": _seen(_ANIMAL, "animal_seen"),
    "person_at_night": _at_night(_PERSON, "person_at_night"),
    "vehicle_at_night": _at_night(_VEHICLE, "vehicle_at_night"),
    "after_dark": _after_dark,
    "quiet_hours": _quiet_hours,
    "in_restricted": _in_zone(ZoneType.RESTRICTED, _PERSON, _VEHICLE),
    "in_entry": _in_zone(ZoneType.ENTRY, _PERSON),
    "in_yard": _in_zone(ZoneType.YARD, _PERSON),
    "in_driveway": _in_zone(ZoneType.DRIVEWAY, _PERSON),
    "only_on_sidewalk": _only_on_sidewalk,
    "on_street": _on_street,
    "line_crossed": _line_crossed,
    "indoors_nobody_home": _indoors_nobody_home,
    "indoors_with_household": _indoors_with_household,
    "lingering": _lingering,
    "loitering_in_zone": _loitering_in_zone,
    "vehicle_waits": _vehicle_waits,
    "nobody_home": _nobody_home,
    "empty_at_night": _empty_at_night,
    "household_at_home": _household_at_home,
    "guests_expected": _guests_expected,
    "alarm_triggered": _alarm_triggered,
    "watched": _watched,
    **{kind.value: _observed(kind) for kind in Observed},
}
"""By factor, in the order in which they are told."""

THREAT_FACTORS = frozenset(kind.value for kind in THREATS) | {"indoors_nobody_home"}
"""Factors that nothing ordinary lowers."""

CIRCUMSTANCES = frozenset(
    {
        "person_at_night",
        "vehicle_at_night",
        "after_dark",
        "quiet_hours",
        "lingering",
        "loitering_in_zone",
        "vehicle_waits",
        "nobody_home",
        "empty_at_night",
    }
)
"""Factors that make somebody suspicious who may be harmless: beside a threat they say little that is new."""

KEPT_FACTORS = frozenset({Observed.LYING.value})
"""Factors that trust does not lower: whom the owner trusts may be hurt too."""
