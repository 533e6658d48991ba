# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is told to clients: the state of a camera, and the sequence of things that happened."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from inference_server.core.assessment import RiskLevel
from inference_server.core.camera import Camera
from inference_server.core.detection import Category
from inference_server.core.event import Event
from inference_server.core.incident import Incident
from inference_server.core.summary import Summary
from inference_server.core.view import LastingProblem


@dataclass(frozen=True, slots=True)
class CameraState:
    """A camera as it stands. The score is None when the camera cannot be judged: unknown, not safe."""

    camera: Camera
    last_frame_id: int | None
    judged: bool
    score: int | None
    occupied_by: frozenset[Category]
    open_event_id: int | None
    last_event_id: int | None
    view_problems: tuple[LastingProblem, ...] = ()


def camera_state(
    camera: Camera,
    *,
    last_frame_id: int | None,
    last_event_id: int | None,
    open_event: Event | None,
    judged: bool,
    view_problems: tuple[LastingProblem, ...] = (),
) -> CameraState:
    """Return the state of a camera: its score is that of its open event, 0 without one, None when not judged."""
    return CameraState(
        camera=camera,
        last_frame_id=last_frame_id,
        judged=judged,
        score=(open_event.assessment.score if open_event else 0) if judged else None,
        occupied_by=frozenset(track.label.category for track in open_event.tracks) if open_event else frozenset(),
        open_event_id=open_event.id if open_event else None,
        last_event_id=last_event_id,
        view_problems=view_problems,
    )


class AnnouncementKind(StrEnum):
    """What an announcement tells."""

    CAMERA_ADDED = "camera_added"
    CAMERA_UPDATED = "camera_updated"
    CAMERA_REMOVED = "camera_removed"
    EVENT_DETECTED = "event_detected"
    EVENT_UPDATED = "event_updated"
    EVENT_ESCALATED = "event_escalated"
    EVENT_ASSESSED = "event_assessed"
    EVENT_ENDED = "event_ended"
    EVENT_REMOVED = "event_removed"
    EVENT_RESTORED = "event_restored"
    INCIDENT_STARTED = "incident_started"
    INCIDENT_UPDATED = "incident_updated"
    INCIDENT_ENDED = "incident_ended"
    INCIDENT_REMOVED = "incident_removed"
    SUMMARY = "summary"

    @property
    def is_about_incidents(self) -> bool:
        """Whether it tells of an incident."""
        return self.value.startswith("incident_")


@dataclass(frozen=True, slots=True)
class Announcement:
    """One thing that happened, with the state it left. Its place in the sequence is given when it is stored.

    Of a removed event only the id is told, and `event` is the one that is its camera's last now. What is about more
    than one camera has no `camera`, and an empty `camera_id` where it is about none.
    """

    kind: AnnouncementKind
    camera_id: str
    at: datetime
    camera: CameraState | None = None
    event: Event | None = None
    previous_level: RiskLevel | None = None
    removed_event_id: int | None = None
    incident: Incident | None = None
    removed_incident_id: int | None = None
    summary: Summary | None = None


@dataclass(frozen=True, slots=True)
class SequencedAnnouncement:
    """A stored announcement with its sequence number, which rises by one without gaps in what is kept."""

    sequence: int
    announcement: Announcement
