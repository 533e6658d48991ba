# SPDX-License-Identifier: AGPL-3.0-or-later
"""Events: one happening on one camera, open while it runs."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from inference_server.core.assessment import Assessment
from inference_server.core.clip import EventClip
from inference_server.core.detection import Track
from inference_server.core.feedback import Feedback


class EndReason(StrEnum):
    """Why a batch closed and its event ended."""

    IDLE = "idle"
    WINDOW = "window"
    SIZE = "size"


@dataclass(frozen=True, slots=True)
class Event:
    """A running (ended_at is None) or closed happening, with its current assessment."""

    id: int
    camera_id: str
    started_at: datetime
    last_detection_at: datetime
    ended_at: datetime | None
    end_reason: EndReason | None
    frame_count: int
    best_frame_id: int
    best_confidence: float
    tracks: tuple[Track, ...]
    assessment: Assessment
    clips: tuple[EventClip, ...] = ()
    """Those that show it and can be played."""
    feedback: Feedback | None = None
    """What the owner says of it, unless that was withdrawn."""

    @property
    def is_open(self) -> bool:
        """Whether the event is still running."""
        return self.ended_at is None
