# SPDX-License-Identifier: AGPL-3.0-or-later
"""The sections of the analyst's prompt: from an event's evidence to lines that can be cited. Pure functions.

What is not known is either said to be unknown, where a model would else assume something, or not mentioned at all.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta

from inference_server.core.context import AlarmState, CameraPlace, HomeContext, Mode
from inference_server.core.detection import Category, Direction, Track, ZoneType
from inference_server.core.observation import Identity, Observed, Trust
from inference_server.core.view import ViewProblem
from inference_server.risk.evidence import Expectation, Subject
from inference_server.risk.prompts.case import Case
from inference_server.risk.prompts.item import Item, listed, numbered
from inference_server.risk.prompts.movement import in_words
from inference_server.risk.prompts.quoting import LONGEST_NOTE, quoted

MOST_OBJECTS = 12
MOST_VISITS = 12
MOST_LINES = 8
"""Of every other kind."""

_HARDLY_EVER, _USUAL = 0.001, 0.5
"""Chances of so many in an hour."""
_MINUTES_FROM = 180
"""Seconds that are told in minutes."""

type OfCase = Callable[[Case], tuple[Item, ...]]

_NOUNS = {Category.PERSON: "people", Category.VEHICLE: "vehicles", Category.ANIMAL: "animals"}
_PLACES = {
    CameraPlace.ENTRANCE: "an entrance",
    CameraPlace.DRIVEWAY: "a driveway",
    CameraPlace.YARD: "a yard",
    CameraPlace.STREET: "a street: public ground",
    CameraPlace.GARAGE: "a garage",
    CameraPlace.INDOORS: "the inside of the home",
}
_ZONES = {
    ZoneType.ENTRY: "the entry",
    ZoneType.DRIVEWAY: "the driveway",
    ZoneType.SIDEWALK: "the sidewalk",
    ZoneType.YARD: "the yard",
    ZoneType.RESTRICTED: "the restricted zone",
    ZoneType.IGNORE: "the ignored zone",
}
_MODES = {
    Mode.HOME: "home",
    Mode.AWAY: "away: the owner expects nobody",
    Mode.NIGHT: "night: the household sleeps",
    Mode.DISARMED: "disarmed: guests are expected",
}
_OBSERVED = {
    Observed.FIREARM: "carries a firearm",
    Observed.KNIFE: "carries a knife",
    Observed.CLUB: "carries a bat or a crowbar",
    Observed.FORCED_ENTRY: "forces a door or window",
    Observed.TRYING_DOOR: "tries a door",
    Observed.TRYING_VEHICLE: "tries a vehicle",
    Observed.CLIMBING: "climbs over a fence, a wall or into a window",
    Observed.FIGHTING: "fights",
    Observed.VANDALISM: "damages something",
    Observed.TAKING_PARCEL: "takes a parcel",
    Observed.HIDING: "hides",
    Observed.PEERING: "looks into windows or vehicles",
    Observed.FACE_COVERED: "covers the face",
    Observed.RUNNING: "runs",
    Observed.LYING: "lies on the ground",
    Observed.UNIFORM: "wears a work uniform",
    Observed.CARRIES_PARCEL: "carries a parcel",
    Observed.LEAVES_PARCEL: "leaves a parcel",
    Observed.CHILD: "is a child",
}
_TRUST = {
    Trust.FULL: "belongs to the household or is trusted fully",
    Trust.PARTIAL: "is known and trusted in part",
    Trust.MONITOR: "is known, and the owner wants to be told",
}
_VIEW = {
    ViewProblem.BLOCKED: "is blocked",
    ViewProblem.MOVED: "looks elsewhere than usual",
    ViewProblem.TOO_DARK: "is too dark to see",
    ViewProblem.BLURRED: "is blurred",
    ViewProblem.FROZEN: "shows the same picture again and again",
    ViewProblem.TAMPERED: "was tampered with",
}


def time(case: Case) -> tuple[Item, ...]:
    """Return when it is, and by what light."""
    evidence = case.evidence
    when = "night" if evidence.night else "day or evening"
    texts = [f"It is {evidence.now:%A, %H:%M} at the home: {when}."]
    sun = evidence.context.sun_is_up if evidence.context else None
    if sun is not None:
        texts.append("The sun is up." if sun else "The sun is down.")
    return numbered("W", texts)


def home(case: Case) -> tuple[Item, ...]:
    """Return the owner's stance, who is there and the alarm; what is not known is said to be unknown."""
    context = case.evidence.context
    if context is None:
        lost = case.evidence.context_lost_at
        since = f" since {lost:%H:%M}" if lost else ""
        return numbered("H", [f"Unknown{since}: the owner's mode, who is at home, the alarm."])
    known = [*_known_of_home(context)]
    unknown = [
        name
        for name, value in (
            ("the owner's mode", context.mode),
            ("who is at home", context.people_home),
            ("the alarm", context.alarm),
        )
        if value is None
    ]
    return numbered("H", [*known, *([f"Unknown: {', '.join(unknown)}."] if unknown else [])])


def _known_of_home(context: HomeContext) -> Iterator[str]:
    if context.mode is not None:
        yield f"The mode is {_MODES[context.mode]}."
    if context.people_home is not None:
        count = context.people_home
        yield "Nobody of the household is at home." if count == 0 else f"Of the household {count} are at home."
    if context.alarm is AlarmState.TRIGGERED:
        yield "The alarm has been triggered."
    elif context.alarm is not None:
        yield f"The alarm is {context.alarm.value.replace('_', ' ')}."
    if context.quiet_hours:
        yield "These are the household's quiet hours."


def camera(case: Case) -> tuple[Item, ...]:
    """Return which camera it is, what it looks at, and how long the event has lasted."""
    looks = _PLACES.get(case.evidence.place)
    name = f"The camera is {quoted(case.camera)}"
    lasted = _seconds(case.evidence.now - case.started_at)
    state = "goes on" if case.is_open else "is over"
    return numbered(
        "C",
        [
            f"{name}; it looks at {looks}." if looks else f"{name}.",
            f"The event lasted {lasted} so far and {state}; pictures: {case.pictures}.",
        ],
    )


def objects(case: Case) -> tuple[Item, ...]:
    """Return each object with how long it stayed and how it moved, and the zones that it was in."""
    subjects = case.evidence.subjects
    seen = listed([_object(case, subject.track) for subject in subjects], MOST_OBJECTS, "objects")
    visits = [text for number, subject in enumerate(subjects[:MOST_OBJECTS], 1) for text in _visits(number, subject)]
    return (*numbered("T", seen), *numbered("Z", listed(visits, MOST_VISITS, "visits to zones")))


def _object(case: Case, track: Track) -> str:
    zone = case.evidence.now.tzinfo
    first = track.first_seen_at.astimezone(zone)
    parts = [f"{track.label.value}, confidence {track.confidence:.2f}"]
    if track.frames > 1:
        parts.append(f"in view for {_seconds(track.dwell)} from {first:%H:%M:%S}, in {track.frames} pictures")
    else:
        parts.append(f"seen once at {first:%H:%M:%S}")
    if track.speed is not None:
        parts.append(f"speed: {track.speed.value}")
    if moved := in_words(track.path):
        parts.append(moved)
    return f"{'; '.join(parts)}."


def _visits(number: int, subject: Subject) -> Iterator[str]:
    for visit in subject.track.zones:
        long = ", which counts as loitering" if visit.loitering else ""
        where = f"{_ZONES[visit.type]} {quoted(visit.name)}"
        yield f"T{number} was in {where} for {visit.seconds:.0f} s, in {visit.frames} pictures{long}."
    for crossing in subject.track.crossings:
        way = "in" if crossing.direction is Direction.IN else "out"
        yield f"T{number} crossed the line of {quoted(crossing.name)} on the way {way}."


def observations(case: Case) -> tuple[Item, ...]:
    """Return what objects were seen to do, wear and carry, the surest first."""
    found = [
        (-observation.confidence, number, observation.kind)
        for number, subject in enumerate(case.evidence.subjects[:MOST_OBJECTS], 1)
        for observation in subject.observed
    ]
    texts = [f"T{number} {_OBSERVED[kind]}, confidence {-sure:.2f}." for sure, number, kind in sorted(found)]
    return numbered("O", listed(texts, MOST_LINES, "observations"))


def identity(case: Case) -> tuple[Item, ...]:
    """Return whom objects are known to be."""
    texts = [
        _known(number, subject, subject.identity)
        for number, subject in enumerate(case.evidence.subjects[:MOST_OBJECTS], 1)
        if subject.identity is not None
    ]
    return numbered("I", listed(texts, MOST_LINES, "recognised"))


def _known(number: int, subject: Subject, known: Identity) -> str:
    if subject.known_as is None:
        return f"T{number} resembles {quoted(known.name)} ({known.confidence:.2f}): too little to count."
    return f"T{number} is {quoted(known.name)} ({known.confidence:.2f}), who {_TRUST[known.trust]}."


def earlier(case: Case) -> tuple[Item, ...]:
    """Return what is known of the same people from before."""
    evidence = case.evidence
    texts = []
    if evidence.stayed_before > timedelta(0):
        texts.append(f"People were in view for {_seconds(evidence.stayed_before)} in the events directly before.")
    if evidence.nights_visited > 1:
        texts.append(f"The same unknown person came in {evidence.nights_visited} of the last 14 nights.")
    return numbered("S", texts)


def elsewhere(case: Case) -> tuple[Item, ...]:
    """Return what other cameras saw shortly before, the latest first."""
    nearest = sorted(case.evidence.elsewhere, key=lambda seen: (seen.ago, seen.camera))
    texts = [
        f"A {seen.category.value} on {quoted(seen.camera)} {_seconds(seen.ago)} before"
        f"{', further out: on the way in.' if seen.further_out else '.'}"
        for seen in nearest
    ]
    return numbered("X", listed(texts, MOST_LINES, "sightings"))


def baseline(case: Case) -> tuple[Item, ...]:
    """Return what is usual at this hour and what was seen."""
    return numbered("B", [compared(expectation) for expectation in case.evidence.expectations])


def compared(told: Expectation) -> str:
    """Return what was seen beside what is usual, in a sentence."""
    if told.chance <= _HARDLY_EVER:
        rare = "; so many hardly ever come"
    else:
        rare = f"; so many come in one of {1 / told.chance:.0f} such hours" if told.chance < _USUAL else ""
    noun = _NOUNS[told.category]
    return f"{noun}: {told.seen} in this hour, {told.expected:.1f} expected (known for {told.weeks:.0f} weeks){rare}."


def view(case: Case) -> tuple[Item, ...]:
    """Return what is wrong with cameras."""
    own = [
        f"This camera {_VIEW[problem.kind]} since {problem.since.astimezone(case.evidence.now.tzinfo):%H:%M}."
        for problem in case.view_problems
    ]
    touched = [
        f"The camera {quoted(item.camera)} {_VIEW[item.problem]} {_seconds(item.ago)} before."
        for item in sorted(case.evidence.tampering, key=lambda item: (item.ago, item.camera))
    ]
    return numbered("V", listed([*own, *touched], MOST_LINES, "problems"))


def feedback(case: Case) -> tuple[Item, ...]:
    """Return what the owner's feedback on similar events says."""
    lesson = case.evidence.lesson
    if lesson is None or lesson.points == 0:
        return ()
    return numbered("L", [f"Similar events were scored {lesson.points:+d}: {quoted(lesson.evidence, LONGEST_NOTE)}."])


def rules(case: Case) -> tuple[Item, ...]:
    """Return the rules' factors, each with its points and its evidence."""
    return tuple(
        Item(
            f"F{number}",
            f"{_word(factor.name)} {factor.points:+d}: {quoted(factor.evidence, LONGEST_NOTE)}",
            factor.name,
        )
        for number, factor in enumerate(case.assessment.factors, 1)
    ) or numbered("F", ["The rules found nothing to weigh."])


def _word(name: str) -> str:
    return name if name.replace("_", "").isalnum() and name.isascii() and len(name) <= LONGEST_NOTE else quoted(name)


def _seconds(span: timedelta) -> str:
    seconds = max(span.total_seconds(), 0)
    return f"{seconds:.0f} s" if seconds < _MINUTES_FROM else f"{seconds / 60:.0f} min"


ANALYST_SECTIONS: Mapping[str, OfCase] = {
    "time": time,
    "home": home,
    "camera": camera,
    "objects": objects,
    "observations": observations,
    "identity": identity,
    "earlier": earlier,
    "elsewhere": elsewhere,
    "baseline": baseline,
    "view": view,
    "feedback": feedback,
    "rules": rules,
}
"""By id."""
