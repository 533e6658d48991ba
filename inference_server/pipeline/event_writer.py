# SPDX-License-Identifier: AGPL-3.0-or-later
"""Writing events: what new sightings make of one, judged anew."""

import asyncio
from collections.abc import Sequence
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.clock import Clock
from inference_server.core.detection import Sighting
from inference_server.core.event import Event
from inference_server.detection.zones import tracks_in
from inference_server.pipeline.batch import BatchRules, Segment, not_before
from inference_server.pipeline.situation import Happening, Situations
from inference_server.risk.recorded import record
from inference_server.risk.rules import assess
from inference_server.risk.standing import still_stands
from inference_server.risk.weights import load_weights
from inference_server.settings import RiskSettings
from inference_server.storage import events, frames, zones
from inference_server.storage.events import EventChange


class EventWriter:
    """Stores what a segment of sightings makes of an event."""

    def __init__(self, clock: Clock, *, rules: BatchRules, risk: RiskSettings, zone: ZoneInfo) -> None:
        """Take what events are judged by; the zone decides what night is."""
        self._clock = clock
        self._rules = rules
        self._situations = Situations(risk, zone)
        self._weights = load_weights(risk.weights_file)

    async def write(self, connection: AsyncConnection, camera_id: str, segment: Segment) -> Event:
        """Start an event with the segment's sightings, or add these to the one that it continues; return it open."""
        change = await self._change(connection, camera_id, segment.continues, segment.sightings)
        if segment.continues is None:
            event = await events.start(connection, camera_id, segment.sightings[0].captured_at, change)
        else:
            event = await events.change(connection, segment.continues, change)
        await self._own(connection, segment.sightings, event)
        return (await events.with_clips(connection, [event]))[0]

    async def write_past(self, connection: AsyncConnection, camera_id: str, segment: Segment) -> Event:
        """Do the same with an event of the past, which has ended before anybody heard of it; return it ended."""
        before, sightings = segment.continues, segment.sightings
        change = await self._change(connection, camera_id, before, sightings)
        started_at = before.started_at if before else sightings[0].captured_at
        end = segment.end or self._rules.end(started_at, change.last_detection_at)
        if before is None:
            event = await events.start(connection, camera_id, started_at, change, (end.at, end.reason))
        else:
            changed = await events.change(connection, before, change)
            event = await events.end(connection, changed, end.at, end.reason)
        await self._own(connection, sightings, event)
        return (await events.with_clips(connection, [event]))[0]

    @staticmethod
    async def _own(connection: AsyncConnection, sightings: Sequence[Sighting], event: Event) -> None:
        await frames.give_to_event(connection, [sighting.frame_id for sighting in sightings], event.id)
        await frames.leave_out(connection, [sighting for sighting in sightings if _has_standing(sighting)])

    async def _change(
        self, connection: AsyncConnection, camera_id: str, event: Event | None, new: Sequence[Sighting]
    ) -> EventChange:
        known: list[Sighting] = []
        if event is not None:
            stored = await frames.sightings_of_event(connection, event.id)
            known = [not_before(sighting, event.started_at) for sighting in stored]
        best = max(new, key=_confidence)
        if event is not None and event.best_confidence >= _confidence(best):
            best_frame_id, best_confidence = event.best_frame_id, event.best_confidence
        else:
            best_frame_id, best_confidence = best.frame_id, _confidence(best)
        started_at = event.started_at if event else new[0].captured_at
        last_detection_at = max(event.last_detection_at if event else started_at, *(s.captured_at for s in new))
        of_camera = await zones.of_camera(connection, camera_id)
        tracks = await asyncio.to_thread(tracks_in, (*known, *new), of_camera)
        happening = Happening(camera_id, event.id if event else None, started_at, last_detection_at, tracks)
        evidence = await self._situations.evidence(connection, happening, self._clock.now())
        rules = assess(evidence, self._weights, self._clock)
        return EventChange(
            last_detection_at=last_detection_at,
            frame_count=(event.frame_count if event else 0) + len(new),
            best_frame_id=best_frame_id,
            best_confidence=best_confidence,
            tracks=tracks,
            assessment=event.assessment if event and still_stands(event.assessment, rules) else rules,
            evidence=record(evidence),
        )


def _confidence(sighting: Sighting) -> float:
    return max(detection.confidence for detection in sighting.counted)


def _has_standing(sighting: Sighting) -> bool:
    return any(found.left_out or found.standing_since for found in sighting.detections)
