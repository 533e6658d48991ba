# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the rules judge by."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from inference_server.core.context import CameraPlace, HomeContext
from inference_server.core.detection import Category, Direction, Track, ZoneType, ZoneVisit
from inference_server.core.observation import Identity, Observation, Observed
from inference_server.core.view import ViewProblem

SURE_OF_IDENTITY = 0.75
"""The confidence from which a match counts."""
_MOST_OF_ITS_FRAMES = 0.8


@dataclass(frozen=True, slots=True)
class Subject:
    """One object of an event and all that is known of it."""

    track: Track
    observed: tuple[Observation, ...] = ()
    identity: Identity | None = None

    @property
    def category(self) -> Category:
        """What kind of object it is."""
        return self.track.label.category

    @property
    def known_as(self) -> Identity | None:
        """Whom it surely is, if that is known."""
        return self.identity if self.identity and self.identity.confidence >= SURE_OF_IDENTITY else None

    def best(self, kind: Observed) -> Observation | None:
        """Return the surest observation of a kind."""
        return max((o for o in self.observed if o.kind is kind), key=lambda o: o.confidence, default=None)

    def visits(self, kind: ZoneType) -> tuple[ZoneVisit, ...]:
        """Return its visits to zones of a type."""
        return tuple(visit for visit in self.track.zones if visit.type is kind)

    @property
    def came_in_over(self) -> tuple[str, ...]:
        """The zones whose lines it crossed inward, by name."""
        return tuple(sorted({c.name for c in self.track.crossings if c.direction is Direction.IN}))

    def is_only_in(self, kind: ZoneType) -> bool:
        """Return whether it was in zones of a type nearly all of the time and in no other zone."""
        there = sum(visit.frames for visit in self.track.zones)
        types = {visit.type for visit in self.track.zones}
        return there >= _MOST_OF_ITS_FRAMES * self.track.frames and types == {kind}


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a camera usually sees of a kind of object at this hour of the week, and what it sees now."""

    category: Category
    expected: float
    """Distinct objects in this hour."""
    seen: int
    """Distinct objects in this hour so far, those of the event included."""
    chance: float
    """Of at least so many, 0 to 1."""
    weeks: float
    """How many weeks of this hour the expectation rests on."""


@dataclass(frozen=True, slots=True)
class SeenElsewhere:
    """A sighting on another camera shortly before. `further_out`: that camera lies before this one on the way in."""

    camera: str
    category: Category
    ago: timedelta
    further_out: bool


@dataclass(frozen=True, slots=True)
class Tampering:
    """Somebody's hand on a camera shortly before."""

    camera: str
    problem: ViewProblem
    ago: timedelta


@dataclass(frozen=True, slots=True)
class Lesson:
    """What the owner's feedback on similar events says: points to add, and why."""

    points: int
    evidence: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """An event as the rules see it. `now` is in the home's time zone.

    `context` is None where nobody tells, or told too long ago: then `context_lost_at` says since when it is not known.
    """

    subjects: tuple[Subject, ...]
    now: datetime
    night: bool
    place: CameraPlace = CameraPlace.OTHER
    context: HomeContext | None = None
    context_lost_at: datetime | None = None
    stayed_before: timedelta = timedelta(0)
    """How long people were in view in the events that directly precede this one."""
    expectations: tuple[Expectation, ...] = ()
    elsewhere: tuple[SeenElsewhere, ...] = ()
    nights_visited: int = 0
    """Of the last fourteen, tonight included, in which the same unknown one came."""
    tampering: tuple[Tampering, ...] = ()
    lesson: Lesson | None = None

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The tracks of all objects."""
        return tuple(subject.track for subject in self.subjects)

    def of(self, category: Category) -> tuple[Subject, ...]:
        """Return the objects of one kind."""
        return tuple(subject for subject in self.subjects if subject.category is category)

    def is_on_public_ground(self, subject: Subject) -> bool:
        """Return whether an object did not leave the street or the sidewalk."""
        if self.place is CameraPlace.STREET and not subject.track.zones:
            return True
        return subject.is_only_in(ZoneType.SIDEWALK)

    @property
    def sure(self) -> float:
        """The highest confidence of any detection."""
        return max((subject.track.confidence for subject in self.subjects), default=0.0)


def of_tracks(tracks: tuple[Track, ...]) -> tuple[Subject, ...]:
    """Return tracks as objects of which no more is known."""
    return tuple(Subject(track) for track in tracks)


def is_night(local: datetime, starts_hour: int, ends_hour: int) -> bool:
    """Return whether a local time lies in the night, which may span midnight."""
    if starts_hour == ends_hour:
        return False
    if starts_hour < ends_hour:
        return starts_hour <= local.hour < ends_hour
    return local.hour >= starts_hour or local.hour < ends_hour
