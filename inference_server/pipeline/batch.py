# SPDX-License-Identifier: AGPL-3.0-or-later
"""Batches: which of a camera's frames belong together. Pure, by the times at which the pictures were taken."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from inference_server.core.detection import Sighting
from inference_server.core.event import EndReason, Event
from inference_server.settings import BatchSettings


@dataclass(frozen=True, slots=True)
class End:
    """When and why a batch closes."""

    at: datetime
    reason: EndReason


@dataclass(frozen=True, slots=True)
class Segment:
    """New sightings of one batch: of the open event that it continues, or of a new one."""

    continues: Event | None
    sightings: tuple[Sighting, ...]
    end: End | None
    """None while the batch stays open."""


class BatchRules:
    """When a batch closes: some time after its last detection, after a longest window, or when it is full."""

    def __init__(self, settings: BatchSettings) -> None:
        """Take the times and the size."""
        self._idle = timedelta(seconds=settings.idle_seconds)
        self._window = timedelta(seconds=settings.window_seconds)
        self._max_frames = settings.max_frames

    def end(self, started_at: datetime, last_detection_at: datetime) -> End:
        """Return when and why a batch closes if nothing more is seen."""
        idle, window = last_detection_at + self._idle, started_at + self._window
        return End(idle, EndReason.IDLE) if idle <= window else End(window, EndReason.WINDOW)

    def split(self, event: Event | None, sightings: Sequence[Sighting]) -> list[Segment]:
        """Divide a camera's new sightings, in order of their arrival, into batches.

        `event` is the camera's open event. A segment without sightings only ends that.
        """
        segments: list[Segment] = []
        batch = _OpenBatch(event, event.started_at, event.last_detection_at, event.frame_count) if event else None
        for sighting in sightings:
            if batch and sighting.captured_at > (end := self.end(batch.started_at, batch.last_detection_at)).at:
                segments.append(batch.segment(end))
                batch = None
            batch = batch or _OpenBatch(None, sighting.captured_at, sighting.captured_at)
            batch.add(sighting)
            if batch.frame_count >= self._max_frames:
                segments.append(batch.segment(End(batch.last_detection_at, EndReason.SIZE)))
                batch = None
        if batch and batch.sightings:
            segments.append(batch.segment(None))
        return segments


@dataclass(slots=True)
class _OpenBatch:
    """The batch that the next sighting may join."""

    event: Event | None
    started_at: datetime
    last_detection_at: datetime
    frame_count: int = 0
    sightings: list[Sighting] = field(default_factory=list)

    def add(self, sighting: Sighting) -> None:
        self.last_detection_at = max(self.last_detection_at, sighting.captured_at)
        self.frame_count += 1
        self.sightings.append(sighting)

    def segment(self, end: End | None) -> Segment:
        return Segment(self.event, tuple(self.sightings), end)
