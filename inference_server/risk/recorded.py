# SPDX-License-Identifier: AGPL-3.0-or-later
"""Evidence as it is kept beside an event: whoever judges it again, be it a day later, judges what the rules judged."""

import json

from pydantic import TypeAdapter, ValidationError

from inference_server.core.detection import Track
from inference_server.risk.evidence import Evidence

_EVIDENCE = TypeAdapter(Evidence)
_TRACKS = TypeAdapter(tuple[Track, ...])


def record(evidence: Evidence) -> str:
    """Return evidence as JSON, without the tracks: these are the event's own."""
    return _EVIDENCE.dump_json(evidence, exclude={"subjects": {"__all__": {"track"}}}).decode()


def recall(recorded: str | None, tracks: tuple[Track, ...]) -> Evidence | None:
    """Return recorded evidence with its tracks; None where nothing fitting was recorded, or by a newer version."""
    try:
        data = json.loads(recorded or "null")
        for subject, track in zip(data["subjects"], _TRACKS.dump_python(tracks, mode="json"), strict=True):
            subject["track"] = track
        return _EVIDENCE.validate_python(data)
    except (ValidationError, ValueError, TypeError, KeyError):
        return None
