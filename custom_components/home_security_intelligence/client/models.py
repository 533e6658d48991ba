# SPDX-License-Identifier: Apache-2.0
"""The objects of the protocol."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Self

from .errors import ServerTooNew, ServerTooOld
from .fields import Fields

SCHEMA_VERSION = 1
MIN_SCHEMA_VERSION = 1


class Level(StrEnum):
    """Risk levels, from harmless to critical."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Source(StrEnum):
    """Who made an assessment."""

    RULES = "rules"
    MODEL = "model"


class DetectorState(StrEnum):
    """What the detector is doing."""

    STARTING = "starting"
    OK = "ok"
    DOWN = "down"


class AlarmState(StrEnum):
    """The states of an alarm panel that the server knows."""

    DISARMED = "disarmed"
    ARMED_HOME = "armed_home"
    ARMED_AWAY = "armed_away"
    ARMED_NIGHT = "armed_night"
    ARMED_VACATION = "armed_vacation"
    ARMED_CUSTOM_BYPASS = "armed_custom_bypass"
    ARMING = "arming"
    PENDING = "pending"
    TRIGGERED = "triggered"


@dataclass(frozen=True, slots=True)
class HomeContext:
    """The state of the home; None is unknown."""

    people_home: int | None = None
    alarm: AlarmState | None = None
    sun_is_up: bool | None = None

    def dump(self) -> dict[str, int | str | None]:
        """Return the wire format."""
        return {"people_home": self.people_home, "alarm": self.alarm, "sun_is_up": self.sun_is_up}


@dataclass(frozen=True, slots=True)
class Risk:
    """A score and its level; the level is None when a newer server uses one we do not know."""

    score: int
    level: Level | None

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read the wire format."""
        return cls(score=fields.integer("score"), level=fields.choice("level", Level))


@dataclass(frozen=True, slots=True)
class Occupancy:
    """What is in front of a camera."""

    person: bool
    vehicle: bool
    animal: bool

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read the wire format."""
        return cls(person=fields.flag("person"), vehicle=fields.flag("vehicle"), animal=fields.flag("animal"))


class ViewProblemKind(StrEnum):
    """What may be wrong with the view of a camera."""

    BLOCKED = "blocked"
    MOVED = "moved"
    TOO_DARK = "too_dark"
    BLURRED = "blurred"
    FROZEN = "frozen"
    TAMPERED = "tampered"


@dataclass(frozen=True, slots=True)
class ViewProblem:
    """What is wrong with the view of a camera; the kind is None when a newer server knows one more."""

    kind: ViewProblemKind | None
    since: datetime

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read the wire format."""
        return cls(kind=fields.choice("kind", ViewProblemKind), since=fields.time("since"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """A source of pictures; risk and occupancy are None while it cannot be judged."""

    id: str
    name: str
    last_frame_at: datetime | None
    last_frame_id: int | None
    judged: bool
    risk: Risk | None
    occupancy: Occupancy | None
    open_event_id: int | None
    last_event_id: int | None
    view_problems: tuple[ViewProblem, ...]

    def unjudged(self) -> Self:
        """The same camera while it cannot be judged."""
        return replace(self, judged=False, risk=None, occupancy=None)

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read the wire format."""
        risk = fields.nested_or_none("risk")
        occupancy = fields.nested_or_none("occupancy")
        return cls(
            id=fields.text("id"),
            name=fields.text("name"),
            last_frame_at=fields.time_or_none("last_frame_at"),
            last_frame_id=fields.integer_or_none("last_frame_id"),
            judged=fields.flag("judged"),
            risk=Risk.parse(risk) if risk else None,
            occupancy=Occupancy.parse(occupancy) if occupancy else None,
            open_event_id=fields.integer_or_none("open_event_id"),
            last_event_id=fields.integer_or_none("last_event_id"),
            view_problems=fields.newer_objects("view_problems", ViewProblem.parse),
        )


@dataclass(frozen=True, slots=True)
class Factor:
    """One named, signed contribution to a score."""

    name: str
    points: int
    evidence: str

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read the wire format."""
        return cls(name=fields.text("name"), points=fields.integer("points"), evidence=fields.text("evidence"))


@dataclass(frozen=True, slots=True)
class EventClip:
    """A video that shows an event, and the second at which the event begins in it."""

    clip_id: int
    start_seconds: float

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read the wire format."""
        return cls(clip_id=fields.integer("clip_id"), start_seconds=fields.number("start_seconds"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happens or happened in front of a camera, with its assessment."""

    id: int
    camera_id: str
    started_at: datetime
    last_detection_at: datetime
    ended_at: datetime | None
    best_frame_id: int | None
    objects: dict[str, int]
    risk: Risk
    summary: str
    factors: tuple[Factor, ...]
    source: Source | None
    verified: bool
    clips: tuple[EventClip, ...]

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read the wire format."""
        return cls(
            id=fields.integer("id"),
            camera_id=fields.text("camera_id"),
            started_at=fields.time("started_at"),
            last_detection_at=fields.time("last_detection_at"),
            ended_at=fields.time_or_none("ended_at"),
            best_frame_id=fields.integer_or_none("best_frame_id"),
            objects=fields.counts("objects"),
            risk=Risk.parse(fields.nested("risk")),
            summary=fields.text("summary"),
            factors=fields.objects("factors", Factor.parse),
            source=fields.choice("source", Source),
            verified=fields.flag("verified"),
            clips=fields.newer_objects("clips", EventClip.parse),
        )

    @property
    def is_open(self) -> bool:
        """Whether it is still going on."""
        return self.ended_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """The detector of a server; message explains a fallback, another provider than the wanted one, or a failure."""

    state: DetectorState | None
    model: str | None
    name: str | None
    fallback: bool
    provider: str | None
    wanted_provider: str | None
    message: str | None

    @property
    def judges(self) -> bool:
        """Whether pictures are judged now."""
        return self.state not in {DetectorState.STARTING, DetectorState.DOWN}

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read the wire format."""
        return cls(
            state=fields.choice("state", DetectorState),
            model=fields.text_or_none("model"),
            name=fields.text_or_none("name"),
            fallback=fields.flag("fallback"),
            provider=fields.text_or_none("provider"),
            wanted_provider=fields.text_or_none("wanted_provider"),
            message=fields.text_or_none("message"),
        )


@dataclass(frozen=True, slots=True)
class Identity:
    """Which server this is and which protocols it speaks."""

    server_id: str
    version: str
    schema_version: int
    min_schema_version: int

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read the wire format and refuse a server we do not understand."""
        identity = cls(
            server_id=fields.text("server_id"),
            version=fields.text("version"),
            schema_version=fields.integer("schema_version"),
            min_schema_version=fields.integer("min_schema_version"),
        )
        if identity.schema_version < MIN_SCHEMA_VERSION:
            raise ServerTooOld(f"version {identity.version}")
        if identity.min_schema_version > SCHEMA_VERSION:
            raise ServerTooNew(f"version {identity.version}")
        return identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server and its condition."""

    identity: Identity
    name: str
    queue_depth: int
    dead_letters: int
    detector: Detector

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read the wire format."""
        return cls(
            identity=Identity.parse(fields),
            name=fields.text("name"),
            queue_depth=fields.integer("queue_depth"),
            dead_letters=fields.integer("dead_letters"),
            detector=Detector.parse(fields.nested("detector")),
        )
