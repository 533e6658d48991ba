# SPDX-License-Identifier: AGPL-3.0-or-later
"""Batches: which of a camera's frames belong together. Pure, by the times at which the pictures were taken."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from inference_server.core.detection import Detection, LeftOut, Sighting
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

    @property
    def max_frames(self) -> int:
        """How many frames a batch holds."""
        return self._max_frames

    def is_past(self, captured_at: datetime, arrived_at: datetime, earliest: datetime | None) -> bool:
        """Return whether a picture that came late belongs to what had ended before `earliest`, where batches go on."""
        came_late = arrived_at - captured_at > self._window
        return came_late and earliest is not None and captured_at < earliest - self._window

    @property
    def longest(self) -> timedelta:
        """How long a batch is open at most."""
        return self._window

    def end(self, started_at: datetime, last_detection_at: datetime) -> End:
        """Return when and why a batch closes if nothing more is seen."""
        idle, window = last_detection_at + self._idle, started_at + self._window
        return End(idle, EndReason.IDLE) if idle <= window else End(window, EndReason.WINDOW)

    def split(
        self, event: Event | None, sightings: Sequence[Sighting], ended_before: datetime | None = None
    ) -> list[Segment]:
        """Divide a camera's new sightings, in order of their arrival, into batches.

        `event` is the camera's open event, `ended_before` the end of its last one when none is open. A segment without
        sightings only ends the open event. A sighting that comes late (its picture was tried again) counts at the
        start of the batch that goes on meanwhile; one that is older than that by more than the window is no part of
        it, as after a clock that was wrong. What has been standing since before a batch counts in it no more; a
        sighting of nothing else is in no segment.
        """
        segments: list[Segment] = []
        batch = _OpenBatch(event, event.started_at, event.last_detection_at, event.frame_count) if event else None
        earliest = event.started_at if event else ended_before
        for arrived in sightings:
            sighting = self._placed(arrived, earliest)
            if batch:
                end = self.end(batch.started_at, batch.last_detection_at)
                if not batch.started_at <= sighting.captured_at <= end.at:
                    segments.append(batch.segment(end))
                    batch = None
            sighting = without_standing(sighting, batch.started_at if batch else None)
            if not sighting.counted:
                continue
            batch = batch or _OpenBatch(None, sighting.captured_at, sighting.captured_at)
            batch.add(sighting)
            earliest = batch.started_at
            if batch.frame_count >= self._max_frames:
                earliest = batch.last_detection_at
                segments.append(batch.segment(End(earliest, EndReason.SIZE)))
                batch = None
        if batch and batch.sightings:
            segments.append(batch.segment(None))
        return segments

    def _placed(self, sighting: Sighting, earliest: datetime | None) -> Sighting:
        if earliest is None or sighting.captured_at < earliest - self._window:
            return sighting
        return not_before(sighting, earliest)


def without_standing(sighting: Sighting, started_at: datetime | None) -> Sighting:
    """Return a sighting in which what stood there before a batch started is left out; None stands for a new batch."""

    def judged(found: Detection) -> Detection:
        since = found.standing_since
        if found.left_out is not None or since is None or (started_at is not None and since >= started_at):
            return found
        return replace(found, left_out=LeftOut.STATIONARY)

    return replace(sighting, detections=tuple(judged(found) for found in sighting.detections))


def not_before(sighting: Sighting, earliest: datetime) -> Sighting:
    """Return a sighting that counts at `earliest` if its picture was taken before."""
    return replace(sighting, captured_at=max(sighting.captured_at, earliest))


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
