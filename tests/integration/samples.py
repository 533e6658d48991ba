# SPDX-License-Identifier: Apache-2.0
"""Objects of the protocol as a server sends them."""

from typing import Any

SERVER_ID = "9f2c4d5e6f708192a3b4c5d6e7f80912"
OTHER_SERVER_ID = "00000000000000000000000000000bad"
TOKEN = "the-secret-token"
MORNING = "2026-11-20T07:30:00+00:00"

type Json = dict[str, Any]


def hello(**changes: Any) -> Json:
    """The first frame of a server."""
    return {
        "type": "hello",
        "server_id": SERVER_ID,
        "version": "0.1.0",
        "schema_version": 1,
        "min_schema_version": 1,
    } | changes


def detector(**changes: Any) -> Json:
    """A detector that works."""
    return {
        "state": "ok",
        "model": "yolo26n",
        "name": "YOLO26 nano",
        "fallback": False,
        "provider": "CPUExecutionProvider",
        "wanted_provider": None,
        "message": None,
    } | changes


def server(**changes: Any) -> Json:
    """A server that works."""
    return {
        "server_id": SERVER_ID,
        "name": "Home Security Intelligence",
        "version": "0.1.0",
        "schema_version": 1,
        "min_schema_version": 1,
        "queue_depth": 0,
        "dead_letters": 0,
        "detector": detector(),
        "analyst": {"state": "off", "model": None, "message": None},
    } | changes


def camera(camera_id: str = "front_door", **changes: Any) -> Json:
    """A camera in front of which nothing happens."""
    return {
        "id": camera_id,
        "name": camera_id.replace("_", " ").capitalize(),
        "created_at": MORNING,
        "last_frame_at": MORNING,
        "last_frame_id": 17,
        "judged": True,
        "risk": {"score": 0, "level": "low"},
        "occupancy": {"person": False, "vehicle": False, "animal": False},
        "open_event_id": None,
        "last_event_id": None,
        "view_problems": [],
    } | changes


def view_problem(kind: str = "blocked") -> Json:
    """What is wrong with a camera's view."""
    return {"kind": kind, "since": MORNING}


def busy_camera(event: Json, **changes: Any) -> Json:
    """The camera of an event that is going on."""
    return (
        camera(
            event["camera_id"],
            risk=event["risk"],
            occupancy={"person": True, "vehicle": False, "animal": False},
            open_event_id=event["id"],
            last_event_id=event["id"],
        )
        | changes
    )


def unjudged_camera(camera_id: str = "front_door", **changes: Any) -> Json:
    """A camera that cannot be judged."""
    return camera(camera_id, judged=False, risk=None, occupancy=None) | changes


def event(event_id: int = 9, camera_id: str = "front_door", **changes: Any) -> Json:
    """A person at the door, judged by the rules."""
    return {
        "id": event_id,
        "camera_id": camera_id,
        "started_at": MORNING,
        "last_detection_at": MORNING,
        "ended_at": None,
        "end_reason": None,
        "frame_count": 1,
        "best_frame_id": 17,
        "objects": {"person": 1},
        "tracks": [
            {
                "label": "person",
                "confidence": 0.91,
                "first_seen_at": MORNING,
                "last_seen_at": MORNING,
                "frames": 1,
                "dwell_seconds": 0,
                "best_frame_id": 17,
                "speed": None,
                "path": [[0, 0.5, 0.9]],
                "zones": [],
                "crossings": [],
            }
        ],
        "risk": {"score": 35, "level": "medium"},
        "summary": "A person",
        "reasoning": "Somebody unknown.",
        "factors": [{"name": "person_seen", "points": 35, "evidence": "1 person, confidence 0.91"}],
        "source": "rules",
        "verified": False,
        "assessed_at": MORNING,
        "clips": [],
        "feedback": None,
        "incident_id": None,
    } | changes


def incident(incident_id: int = 4, **changes: Any) -> Json:
    """Somebody who came from the driveway to the door."""
    return {
        "id": incident_id,
        "started_at": MORNING,
        "last_at": MORNING,
        "ended_at": None,
        "risk": {"score": 35, "level": "medium"},
        "verified": False,
        "title": "A person: Driveway, Front door",
        "summary": "07:30 Driveway: a person; 07:31 Front door: a person.",
        "cameras": ["driveway", "front_door"],
        "event_ids": [8, 9],
    } | changes


def summary(**changes: Any) -> Json:
    """An hour in which nothing happened."""
    return {
        "id": 1,
        "kind": "hourly",
        "started_at": MORNING,
        "ended_at": MORNING,
        "headline": "All quiet.",
        "text": "All quiet.",
        "source": "rules",
        "events": {"low": 0, "medium": 0, "high": 0, "critical": 0},
        "cameras": [],
        "incident_ids": [],
        "unverified": 0,
        "unjudged_minutes": 0,
        "unjudged_pictures": 0,
        "created_at": MORNING,
    } | changes
