# SPDX-License-Identifier: Apache-2.0
"""What the server says over the WebSocket once it knows us."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from .errors import ProtocolError
from .fields import Fields
from .models import Camera, Event, Incident, Level, Server


class EventKind(StrEnum):
    """What happened to an event."""

    DETECTED = "event_detected"
    UPDATED = "event_updated"
    ESCALATED = "event_escalated"
    ASSESSED = "event_assessed"
    ENDED = "event_ended"
    RESTORED = "event_restored"


class IncidentKind(StrEnum):
    """What happened to an incident."""

    STARTED = "incident_started"
    UPDATED = "incident_updated"
    ENDED = "incident_ended"


RISK_CHANGES: Final = frozenset({EventKind.ESCALATED, EventKind.ASSESSED})
"""What comes with the level before."""


@dataclass(frozen=True, slots=True)
class CameraChanged:
    """A camera is new or has changed."""

    camera: Camera


@dataclass(frozen=True, slots=True)
class CameraRemoved:
    """A camera is gone."""

    camera_id: str


@dataclass(frozen=True, slots=True)
class EventChanged:
    """Something happened to an event, and with it to its camera."""

    kind: EventKind
    event: Event
    camera: Camera
    previous_level: Level | None = None


@dataclass(frozen=True, slots=True)
class EventRemoved:
    """An event is gone; `last_event` is its camera's last one now."""

    event_id: int
    camera: Camera
    last_event: Event | None


@dataclass(frozen=True, slots=True)
class IncidentChanged:
    """Something happened to an incident."""

    kind: IncidentKind
    incident: Incident


@dataclass(frozen=True, slots=True)
class IncidentRemoved:
    """An incident is part of another one now, or its events are gone."""

    incident_id: int


type Change = CameraChanged | CameraRemoved | EventChanged | EventRemoved | IncidentChanged | IncidentRemoved


@dataclass(frozen=True, slots=True)
class Message:
    """One step of the sequence; the change is None when it concerns nothing that we know."""

    sequence: int
    change: Change | None


@dataclass(frozen=True, slots=True)
class ServerChanged:
    """The condition of the server changed; outside the sequence."""

    server: Server


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything as it is now; the open incidents are None when an older server knows nothing of any."""

    sequence: int
    server: Server
    cameras: tuple[Camera, ...]
    events: tuple[Event, ...]
    incidents: tuple[Incident, ...] | None


@dataclass(frozen=True, slots=True)
class Replay:
    """Everything that was missed."""

    sequence: int
    server: Server
    messages: tuple[Message, ...]


def parse_resumption(fields: Fields) -> Snapshot | Replay:
    """Read the answer to a subscription."""
    match fields.text("type"):
        case "snapshot":
            return Snapshot(
                sequence=fields.integer("sequence"),
                server=Server.parse(fields.nested("server")),
                cameras=fields.objects("cameras", Camera.parse),
                events=fields.objects("events", Event.parse),
                incidents=fields.newer_objects_or_none("incidents", Incident.parse),
            )
        case "replay":
            return Replay(
                sequence=fields.integer("sequence"),
                server=Server.parse(fields.nested("server")),
                messages=fields.objects("messages", parse_message),
            )
        case other:
            raise ProtocolError(f"a subscription was answered with {other}")


def parse_update(fields: Fields) -> Message | ServerChanged | None:
    """Read what follows the subscription; None for a type that a newer server invented."""
    match fields.text("type"):
        case "message":
            return parse_message(fields)
        case "server":
            return ServerChanged(Server.parse(fields.nested("server")))
        case "error":
            raise ProtocolError(fields.text("detail"))
        case _:
            return None


def parse_message(fields: Fields) -> Message:
    """Read one step of the sequence."""
    return Message(fields.integer("sequence"), _parse_change(fields.text("kind"), fields.nested("data")))


def _parse_change(kind: str, data: Fields) -> Change | None:
    match kind:
        case "camera_added" | "camera_updated":
            return CameraChanged(Camera.parse(data.nested("camera")))
        case "camera_removed":
            return CameraRemoved(data.text("camera_id"))
        case "event_removed":
            return _parse_event_removed(data)
        case _ if kind in EventKind:
            return _parse_event_change(EventKind(kind), data)
        case _:
            return _parse_incident_change(kind, data)


def _parse_incident_change(kind: str, data: Fields) -> IncidentChanged | IncidentRemoved | None:
    """Read what happened to an incident; None for a kind that a newer server invented."""
    if kind == "incident_removed":
        return IncidentRemoved(data.integer("incident_id"))
    if kind in IncidentKind:
        return IncidentChanged(IncidentKind(kind), Incident.parse(data.nested("incident")))
    return None


def _parse_event_removed(data: Fields) -> EventRemoved | None:
    camera = data.nested_or_none("camera")
    if camera is None:  # it was removed before
        return None
    last_event = data.nested_or_none("last_event")
    return EventRemoved(
        event_id=data.integer("event_id"),
        camera=Camera.parse(camera),
        last_event=Event.parse(last_event) if last_event else None,
    )


def _parse_event_change(kind: EventKind, data: Fields) -> EventChanged | None:
    camera = data.nested_or_none("camera")
    if camera is None:  # it was removed before
        return None
    return EventChanged(
        kind=kind,
        event=Event.parse(data.nested("event")),
        camera=Camera.parse(camera),
        previous_level=data.choice("previous_level", Level) if kind in RISK_CHANGES else None,
    )
