# SPDX-License-Identifier: AGPL-3.0-or-later
"""The scenario format: a home, what happens before its cameras, and what an expert expects of the judgement."""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from inference_server.core.assessment import RiskLevel
from inference_server.core.context import AlarmState, CameraPlace, Mode
from inference_server.core.detection import Category, Label, ZoneType
from inference_server.core.observation import Observed, Trust
from inference_server.core.polygon import Point
from inference_server.core.view import ViewProblem
from inference_server.core.zone import Line, Zone, ZoneShape, rectangle
from inference_server.evaluation.hours import Hours, read_hours
from inference_server.risk.rules import FACTOR_NAMES
from inference_server.settings import known_time_zone

THREAT, ORDINARY = "threat", "ordinary"
MOST_PICTURES = 2000
"""Of one happening."""
_LONGEST_SECONDS = 7200.0
_FIRST_YEAR, _LAST_YEAR = 1980, 2200

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Height = Annotated[float, Field(gt=0.005, le=1, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=_LONGEST_SECONDS, allow_inf_nan=False)]
Weeks = Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Tag = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
Spot = tuple[Share, Share, Height]
"""Where a foot point is, and how high the object stands there: x, y and height in shares of the picture."""


def _shown(text: str) -> str:
    if not text.isprintable():
        raise ValueError("a text has characters that can be shown")
    return text


Text = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_shown)]


def _one_or_two(value: object) -> object:
    return (value, value) if isinstance(value, str) else value


def _known_factor(name: str) -> str:
    if name not in FACTOR_NAMES:
        raise ValueError(f'"{name[:60]}" is no factor; docs/risk.md lists them')
    return name


Factor = Annotated[str, AfterValidator(_known_factor)]


class Part(BaseModel):
    """A branch of a scenario. An unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ZonePart(Part):
    """A zone as its owner draws it: a rectangle (left, top, right, bottom) or points, in shares of the picture."""

    name: Text
    type: ZoneType
    rectangle: tuple[Share, Share, Share, Share] | None = None
    points: tuple[Point, ...] | None = None
    labels: tuple[Label, ...] = ()
    inertia: int = 1
    loitering_seconds: float = 0.0
    line: tuple[Point, Point] | None = None
    priority: int = 0

    @model_validator(mode="after")
    def _drawn(self) -> Self:
        if (self.rectangle is None) == (self.points is None):
            raise ValueError("a zone has a rectangle or points")
        self.shape()
        return self

    def shape(self) -> ZoneShape:
        """Return it as the product knows it. Raises ValueError."""
        return ZoneShape(
            name=self.name,
            type=self.type,
            points=rectangle(*self.rectangle) if self.rectangle else self.points or (),
            labels=self.labels,
            inertia=self.inertia,
            loitering_seconds=self.loitering_seconds,
            line=Line(*self.line) if self.line else None,
            priority=self.priority,
        )


class CameraPart(Part):
    """A camera: what it looks at, how often it takes a picture, its zones, and spots to which paths lead."""

    place: CameraPlace = CameraPlace.OTHER
    every: Annotated[float, Field(ge=0.1, le=60, allow_inf_nan=False)] = 2.0
    """Seconds between two pictures while something happens."""
    leads_to: tuple[Slug, ...] = ()
    """The cameras that somebody on the way in comes to next."""
    zones: Annotated[tuple[ZonePart, ...], Field(max_length=32)] = ()
    spots: dict[Slug, Spot] = {}

    def shapes(self, camera: str) -> tuple[Zone, ...]:
        """Return its zones as the product knows them."""
        return tuple(Zone(number, camera, zone.shape()) for number, zone in enumerate(self.zones, start=1))


class Home(Part):
    """A home with its cameras by their ids."""

    time_zone: Annotated[str, AfterValidator(known_time_zone)]
    cameras: Annotated[dict[Slug, CameraPart], Field(min_length=1, max_length=50)]

    @property
    def zone(self) -> ZoneInfo:
        """The time zone."""
        return ZoneInfo(self.time_zone)


class ContextPart(Part):
    """What Home Assistant told, so many minutes before the pictures. What is left out is unknown."""

    mode: Mode | None = None
    people_home: Annotated[int, Field(ge=0, le=1000)] | None = None
    alarm: AlarmState | None = None
    sun_is_up: bool | None = None
    quiet_hours: bool | None = None
    age_minutes: Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)] = 0.0


class Usual(Part):
    """What a camera usually sees in some hours of the week."""

    camera: Slug
    category: Category
    hours: Annotated[Hours, BeforeValidator(read_hours)]
    per_hour: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]
    """Distinct objects in each of these hours."""
    weeks: Weeks


class SeenPart(Part):
    """A sighting on a camera before the first picture."""

    camera: Slug
    category: Category
    seconds_before: Seconds


class TamperingPart(Part):
    """Somebody's hand on a camera before the first picture."""

    camera: Slug
    problem: ViewProblem = ViewProblem.TAMPERED
    minutes_before: Annotated[float, Field(ge=0, le=10_000, allow_inf_nan=False)]


class LessonPart(Part):
    """What the owner's feedback on similar events says."""

    points: Annotated[int, Field(ge=-100, le=100)]
    evidence: Text


class History(Part):
    """What is known from before."""

    usual: tuple[Usual, ...] = ()
    nights_visited: Annotated[int, Field(ge=0, le=14)] = 0
    seen: tuple[SeenPart, ...] = ()
    tampering: tuple[TamperingPart, ...] = ()
    lesson: LessonPart | None = None


class IdentityPart(Part):
    """Whom an object is recognised as."""

    name: Text
    trust: Trust
    confidence: Share = 0.9


class ObservedPart(Part):
    """One thing that an enricher saw."""

    kind: Observed
    confidence: Share = 0.85


def _observed(value: object) -> object:
    return {"kind": value} if isinstance(value, str) else value


class Waypoint(Part):
    """Where an object is after so many seconds: at a spot of the camera, or at coordinates."""

    seconds: Seconds
    spot: str | None = None
    at: Spot | None = None


_STEP = re.compile(r"\s*([0-9.]+)\s+([a-z0-9_-]+)\s*")


def _path(value: object) -> object:
    """Return the waypoints of "0 gate, 8 door" or of [[0, x, y, height], ...]."""
    if isinstance(value, str):
        return [_step(step) for step in value.split(",")]
    if isinstance(value, list):
        return [_coordinates(step) for step in value]
    return value


def _step(text: str) -> object:
    found = _STEP.fullmatch(text)
    if found is None:
        raise ValueError(f'"{text.strip()[:40]}" is no step of a path; write seconds and a spot: 0 gate, 8 door')
    return {"seconds": found[1], "spot": found[2]}


def _coordinates(step: object) -> object:
    if isinstance(step, list) and len(step) == 4:
        return {"seconds": step[0], "at": step[1:]}
    raise ValueError("a step of a path is [seconds, x, y, height]")


class ObjectPart(Part):
    """Somebody or something that moves before a camera."""

    label: Label = Label.PERSON
    confidence: Share = 0.85
    """The best that the detector gives it."""
    path: Annotated[tuple[Waypoint, ...], BeforeValidator(_path), Field(min_length=1, max_length=200)]
    identity: IdentityPart | None = None
    observed: tuple[Annotated[ObservedPart, BeforeValidator(_observed)], ...] = ()

    @model_validator(mode="after")
    def _forward(self) -> Self:
        times = [step.seconds for step in self.path]
        if times != sorted(set(times)):
            raise ValueError("the seconds of a path rise")
        return self

    @property
    def is_enriched(self) -> bool:
        """Whether more is told of it than a detector sees."""
        return self.identity is not None or bool(self.observed)


Levels = Annotated[tuple[RiskLevel, RiskLevel], BeforeValidator(_one_or_two)]


class Expect(Part):
    """What an expert who sees this evidence, and no more, accepts."""

    level: Levels
    """The lowest and the highest; a single one stands for both."""
    must: tuple[Factor, ...] = ()
    """Factors that the most serious event has."""
    must_not: tuple[Factor, ...] = ()
    """Factors that no event has."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.level[0].rank > self.level[1].rank:
            raise ValueError("level is the lowest and the highest that are accepted, in this order")
        return self


def _local(time: datetime) -> datetime:
    if time.tzinfo is not None:
        raise ValueError("a local time without a zone is wanted, such as 2026-11-12 23:04:00")
    if not _FIRST_YEAR <= time.year <= _LAST_YEAR:
        raise ValueError(f"a time lies between the years {_FIRST_YEAR} and {_LAST_YEAR}")
    return time


class Happening(Part):
    """What one camera sees, from a time on."""

    camera: Slug
    starts_at: Annotated[datetime, AfterValidator(_local)]
    """By the clocks of the home."""
    every: Annotated[float, Field(ge=0.1, le=60, allow_inf_nan=False)] | None = None
    """Seconds between two pictures; None means what the camera says."""
    objects: Annotated[tuple[ObjectPart, ...], Field(min_length=1, max_length=50)]
    expect: Expect | None = None
    """Of the most serious event that begins in it."""


def _one_kind(tags: tuple[str, ...]) -> tuple[str, ...]:
    if (THREAT in tags) == (ORDINARY in tags):
        raise ValueError(f"tags name one of {ORDINARY} and {THREAT}")
    return tags


class Scenario(Part):
    """A situation with the judgement that it deserves."""

    version: Literal[1] = 1
    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{2,79}$")]
    title: Text
    tags: Annotated[tuple[Tag, ...], AfterValidator(_one_kind)]
    home_name: str = "own"
    home: Home
    context: ContextPart | None = None
    history: History = History()
    happenings: Annotated[tuple[Happening, ...], Field(min_length=1, max_length=20)]
    expect: Expect

    @property
    def is_threat(self) -> bool:
        """Whether somebody means harm."""
        return THREAT in self.tags

    @property
    def is_enriched(self) -> bool:
        """Whether more is told of an object than a detector sees."""
        return any(one.is_enriched for happening in self.happenings for one in happening.objects)

    def faults(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Yield what does not fit together: where it stands, and what is wrong."""
        for name, camera in self.home.cameras.items():
            for other in camera.leads_to:
                if other not in self.home.cameras:
                    yield ("home", "cameras", name, "leads_to"), f'there is no camera "{other}"'
        for number, happening in enumerate(self.happenings):
            yield from self._faults_of(happening, ("happenings", number))
        for kind in ("usual", "seen", "tampering"):
            for number, part in enumerate(getattr(self.history, kind)):
                if part.camera not in self.home.cameras:
                    yield ("history", kind, number, "camera"), f'there is no camera "{part.camera}"'

    def _faults_of(
        self, happening: Happening, place: tuple[str | int, ...]
    ) -> Iterator[tuple[tuple[str | int, ...], str]]:
        camera = self.home.cameras.get(happening.camera)
        if camera is None:
            yield (*place, "camera"), f'there is no camera "{happening.camera}"'
            return
        longest = max(one.path[-1].seconds for one in happening.objects)
        if longest / (happening.every or camera.every) > MOST_PICTURES:
            yield (*place, "every"), f"these are more than {MOST_PICTURES} pictures"
        for number, one in enumerate(happening.objects):
            for step in one.path:
                if step.spot is not None and step.spot not in camera.spots:
                    spots = ", ".join(camera.spots) or "none"
                    yield (*place, "objects", number, "path"), f'there is no spot "{step.spot}" (there are: {spots})'
