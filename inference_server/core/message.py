# SPDX-License-Identifier: AGPL-3.0-or-later
"""Messages between the stages: work that waits, was claimed, or failed for good."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum


class StageName(StrEnum):
    """The stages, in the order in which a picture passes them."""

    DETECT = "detect"
    """Subject: a frame. Finds its objects."""
    GATHER = "gather"
    """Subject: a frame. Makes it part of its camera's event and judges that."""
    CLOSE = "close"
    """Subject: an event. Ends it when its time is up."""
    ANALYSE = "analyse"
    """Subject: an event. Asks the analyst what it means."""

    @property
    def is_about_frames(self) -> bool:
        """Whether its subjects are frames; else they are events."""
        return self in {StageName.DETECT, StageName.GATHER}


class Priority(IntEnum):
    """Whose work comes first."""

    LIVE = 0
    HISTORY = 1
    """Old pictures that were imported: they wait until no live ones do."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a stage is to do: its subject is the id of a frame or an event. One stage does one subject once."""

    stage: StageName
    subject_id: int
    camera_id: str
    available_at: datetime
    priority: int = Priority.LIVE


@dataclass(frozen=True, slots=True)
class Message:
    """Work that was claimed. `attempts` counts this delivery too."""

    id: int
    work: Work
    attempts: int
    enqueued_at: datetime


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a message failed for good. `service` names the model service that was to blame, if one was."""

    reason: str
    service: str | None = None
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that failed for good, kept with its reason. `replays` counts how often it was tried again since.

    One that was discarded is never tried again, but kept: every admitted picture is accounted for.
    """

    id: int
    work: Work
    failure: Failure
    attempts: int
    enqueued_at: datetime
    died_at: datetime
    replays: int
    discarded_at: datetime | None
