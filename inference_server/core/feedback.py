# SPDX-License-Identifier: AGPL-3.0-or-later
"""Feedback: what the owner says of how an event was judged."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from inference_server.core.assessment import RiskLevel
from inference_server.core.context import CameraPlace
from inference_server.core.detection import Category

MAX_NAME = 100
MAX_NOTE = 1000
KEPT = timedelta(days=730)
"""How long feedback is kept after it was given; it has nearly ceased to count by then."""


class FeedbackKind(StrEnum):
    """What somebody may say of an event."""

    CORRECT = "correct"
    FALSE_ALARM = "false_alarm"
    """There was nothing to it."""
    MISSED = "missed"
    """It was more serious than it was held to be."""
    WRONG_SEVERITY = "wrong_severity"
    """It has another level."""
    KNOWN_PERSON = "known_person"
    KNOWN_VEHICLE = "known_vehicle"

    @property
    def of_somebody_known(self) -> Category | None:
        """The kind of object that it says to be known."""
        return {FeedbackKind.KNOWN_PERSON: Category.PERSON, FeedbackKind.KNOWN_VEHICLE: Category.VEHICLE}.get(self)


@dataclass(frozen=True, slots=True)
class Opinion:
    """What somebody says of an event."""

    kind: FeedbackKind
    level: RiskLevel | None = None
    """Which level the event should have had: of `wrong_severity`, and of `missed` if it is not high."""
    name: str | None = None
    """Who or what was seen: of `known_person` and `known_vehicle`."""
    note: str = ""
    by: str | None = None
    """Who says so, as the client tells."""

    def __post_init__(self) -> None:
        """Raise ValueError for an opinion that lacks something, has too much of it, or cannot be shown."""
        if self.kind is FeedbackKind.WRONG_SEVERITY and self.level is None:
            raise ValueError("wrong_severity needs the level that is right")
        if self.level is not None and self.kind not in {FeedbackKind.WRONG_SEVERITY, FeedbackKind.MISSED}:
            raise ValueError(f"{self.kind} has no level")
        if self.kind is FeedbackKind.MISSED and self.level is RiskLevel.LOW:
            raise ValueError("what was missed is not low")
        if (self.name is not None) != (self.kind.of_somebody_known is not None):
            raise ValueError("known_person and known_vehicle, and only they, have a name")
        for what, text in (("name", self.name), ("by", self.by)):
            if text is not None and not (text.strip() and text.isprintable() and len(text) <= MAX_NAME):
                raise ValueError(f"{what} has 1 to {MAX_NAME} characters that can be shown")
        if len(self.note) > MAX_NOTE or not all(part.isprintable() for part in self.note.split("\n")):
            raise ValueError(f"a note has at most {MAX_NOTE} characters that can be shown, and line breaks")


@dataclass(frozen=True, slots=True)
class Feedback:
    """A stored opinion. It counts until it is withdrawn, or replaced by another one about its event."""

    id: int
    camera_id: str
    event_id: int | None
    """None when the event has been deleted since."""
    opinion: Opinion
    given_at: datetime
    withdrawn_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Signature:
    """What makes two events alike."""

    camera_id: str
    place: CameraPlace
    category: Category | None
    """Of the object that the event was judged by; None for an event without any."""
    night: bool
    features: frozenset[str]
    """The types of the zones that such objects were in, as `zone:TYPE`, and the names of ordinary factors."""


@dataclass(frozen=True, slots=True)
class Experience:
    """An opinion with what its event was like: all that is learnt from."""

    opinion: Opinion
    given_at: datetime
    signature: Signature
    score: int
    """By the rules, without what had been learnt before."""
    threatened: bool
    """Whether a threat was among its factors."""
