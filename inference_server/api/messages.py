# SPDX-License-Identifier: AGPL-3.0-or-later
"""The messages of the WebSocket, and the functions that make them from core values."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from inference_server import __version__
from inference_server.api import schema
from inference_server.api.model_objects import PullObject
from inference_server.api.schema import (
    MIN_SCHEMA_VERSION,
    SCHEMA_VERSION,
    CameraObject,
    EventObject,
    IncidentObject,
    ServerObject,
    SummaryObject,
    UtcTime,
    WireObject,
)
from inference_server.core.announcement import Announcement, AnnouncementKind, SequencedAnnouncement
from inference_server.core.assessment import LevelThresholds, RiskLevel
from inference_server.storage.tokens import Scope

Sequence = Annotated[int, Field(ge=0, lt=2**63)]


class ClientMessage(BaseModel):
    """What a client sends; fields that this server does not know are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class Auth(ClientMessage):
    """The client's token and the version of the wire format that it speaks."""

    type: Literal["auth"]
    token: str
    schema_version: int


class Subscribe(ClientMessage):
    """The last sequence number that the client saw; null when it saw none."""

    type: Literal["subscribe"]
    last_sequence: Sequence | None


class Hello(WireObject):
    """The server's identity: the first message."""

    type: Literal["hello"] = "hello"
    server_id: str
    version: str = __version__
    schema_version: int = SCHEMA_VERSION
    min_schema_version: int = MIN_SCHEMA_VERSION


class AuthOk(WireObject):
    """The client may subscribe."""

    type: Literal["auth_ok"] = "auth_ok"
    scopes: tuple[Scope, ...]


AuthFailure = Literal["unauthorized", "forbidden", "client_too_old", "client_too_new"]


class AuthFailed(WireObject):
    """The client may not subscribe, and why."""

    type: Literal["auth_failed"] = "auth_failed"
    code: AuthFailure
    detail: str
    remedy: str


class CameraData(WireObject):
    """Of `camera_added` and `camera_updated`."""

    camera: CameraObject


class CameraRemovedData(WireObject):
    """Of `camera_removed`."""

    camera_id: str


class EventData(WireObject):
    """Of every message about an event; the camera is null when it was removed before."""

    event: EventObject
    camera: CameraObject | None


class EventRiskData(EventData):
    """Of `event_escalated` and `event_assessed`."""

    previous_level: RiskLevel


class EventRemovedData(WireObject):
    """Of `event_removed`: the camera, null when it was removed before, and the event that is its last one now."""

    event_id: int
    camera: CameraObject | None
    last_event: EventObject | None


class IncidentData(WireObject):
    """Of every message about an incident that is there."""

    incident: IncidentObject


class IncidentRemovedData(WireObject):
    """Of `incident_removed`."""

    incident_id: int


class SummaryData(WireObject):
    """Of `summary`."""

    summary: SummaryObject


type MessageData = (
    CameraData
    | CameraRemovedData
    | EventRiskData
    | EventData
    | EventRemovedData
    | IncidentData
    | IncidentRemovedData
    | SummaryData
)


class Message(WireObject):
    """One thing that happened, with its place in the sequence."""

    type: Literal["message"] = "message"
    sequence: Sequence
    at: UtcTime
    kind: AnnouncementKind
    data: MessageData


class Snapshot(WireObject):
    """The state as of a sequence number: every camera, its open event and its last one, and every open incident."""

    type: Literal["snapshot"] = "snapshot"
    sequence: Sequence
    server: ServerObject
    cameras: tuple[CameraObject, ...]
    events: tuple[EventObject, ...]
    incidents: tuple[IncidentObject, ...]


class Replay(WireObject):
    """Every message that the client missed; `sequence` is that of the last one."""

    type: Literal["replay"] = "replay"
    sequence: Sequence
    server: ServerObject
    messages: tuple[Message, ...]


class ServerMessage(WireObject):
    """The server object, sent when it changed, outside the sequence."""

    type: Literal["server"] = "server"
    server: ServerObject


class ModelPullMessage(WireObject):
    """How far the installation of a model is, sent when that changed, outside the sequence, to the scope `admin`."""

    type: Literal["model_pull"] = "model_pull"
    pull: PullObject


class ErrorMessage(WireObject):
    """What was wrong with the client's message; the connection closes."""

    type: Literal["error"] = "error"
    code: Literal["invalid_request"] = "invalid_request"
    detail: str
    remedy: str


def message(item: SequencedAnnouncement, thresholds: LevelThresholds) -> Message:
    """Return an announcement as it is sent."""
    announcement = item.announcement
    return Message(
        sequence=item.sequence, at=announcement.at, kind=announcement.kind, data=_data(announcement, thresholds)
    )


def _data(announcement: Announcement, thresholds: LevelThresholds) -> MessageData:
    if announcement.incident is not None:
        return IncidentData(incident=schema.incident(announcement.incident, thresholds))
    if announcement.removed_incident_id is not None:
        return IncidentRemovedData(incident_id=announcement.removed_incident_id)
    if announcement.summary is not None:
        return SummaryData(summary=schema.summary(announcement.summary, thresholds))
    return _camera_data(announcement, thresholds)


def _camera_data(
    announcement: Announcement, thresholds: LevelThresholds
) -> CameraData | CameraRemovedData | EventData | EventRemovedData:
    if announcement.kind is AnnouncementKind.CAMERA_REMOVED:
        return CameraRemovedData(camera_id=announcement.camera_id)
    camera = schema.camera(announcement.camera, thresholds) if announcement.camera else None
    event = schema.event(announcement.event, thresholds) if announcement.event else None
    if announcement.removed_event_id is not None:
        return EventRemovedData(event_id=announcement.removed_event_id, camera=camera, last_event=event)
    if event:
        if announcement.previous_level:
            return EventRiskData(event=event, camera=camera, previous_level=announcement.previous_level)
        return EventData(event=event, camera=camera)
    if camera is None:
        raise ValueError(f"{announcement.kind} of {announcement.camera_id} tells neither an event nor a camera")
    return CameraData(camera=camera)
