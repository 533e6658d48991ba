# SPDX-License-Identifier: AGPL-3.0-or-later
"""Zones and what moves through them: which a detection is in, where a track has been, which lines it crossed.

A detection is in the zone with the highest priority that contains its foot point, counts its label and does not find it
too small. A track has been in a zone when it was there in `inertia` frames one after the other, and has crossed its
line when it was beyond that in as many. The line counts wherever it lies, for tracks that the zone counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from inference_server.core.detection import LeftOut, LineCrossing, Sighting, Track, ZoneType, ZoneVisit
from inference_server.core.zone import Zone, crossings, ranked, zone_of
from inference_server.detection.tracking import Trace, trace_objects


def without_ignored(sighting: Sighting, zones: Sequence[Zone]) -> Sighting:
    """Return a sighting whose detections in zones that are ignored are left out."""
    order = ranked(zones)
    if not any(zone.shape.type is ZoneType.IGNORE for zone in order):
        return sighting
    detections = []
    for found in sighting.detections:
        zone = zone_of(found, sighting.width, sighting.height, order)
        ignored = zone is not None and zone.shape.type is ZoneType.IGNORE
        detections.append(replace(found, left_out=LeftOut.IGNORED) if ignored else found)
    return replace(sighting, detections=tuple(detections))


def tracks_in(sightings: Sequence[Sighting], zones: Sequence[Zone]) -> tuple[Track, ...]:
    """Return the tracks of what counts in an event's sightings, with the zones that they have been in."""
    order = ranked(zones)
    return tuple(
        replace(trace.track(), zones=_visits(trace, order), crossings=_crossings(trace, order))
        for trace in trace_objects(sightings)
    )


@dataclass(slots=True)
class _Stay:
    """A track's frames in one zone."""

    zone: Zone
    run: list[datetime] = field(default_factory=list)
    """The frames one after the other in which it is there now."""
    frames: int = 0
    seconds: float = 0.0
    entered_at: datetime | None = None

    def leave(self) -> None:
        """Count the run that is over, if it was long enough."""
        if len(self.run) >= self.zone.shape.inertia:
            self.entered_at = self.entered_at or self.run[0]
            self.frames += len(self.run)
            self.seconds += (self.run[-1] - self.run[0]).total_seconds()
        self.run = []

    def visit(self) -> ZoneVisit | None:
        if self.entered_at is None:
            return None
        shape = self.zone.shape
        loitering = 0 < shape.loitering_seconds <= self.seconds
        seconds = round(self.seconds, 3)
        return ZoneVisit(self.zone.id, shape.name, shape.type, self.entered_at, seconds, self.frames, loitering)


def _visits(trace: Trace, order: Sequence[Zone]) -> tuple[ZoneVisit, ...]:
    """Return the zones that a track has been in, in order of its coming there."""
    stays = {zone.id: _Stay(zone) for zone in order}
    inside: int | None = None
    for seen in trace.seen:
        sighting = seen.sighting
        zone = zone_of(seen.detection, sighting.width, sighting.height, order)
        if inside is not None and (zone is None or zone.id != inside):
            stays[inside].leave()
        inside = zone.id if zone else None
        if zone is not None:
            stays[zone.id].run.append(sighting.captured_at)
    if inside is not None:
        stays[inside].leave()
    visits = [visit for stay in stays.values() if (visit := stay.visit()) is not None]
    return tuple(sorted(visits, key=lambda visit: (visit.entered_at, visit.zone_id)))


def _crossings(trace: Trace, order: Sequence[Zone]) -> tuple[LineCrossing, ...]:
    found = []
    path, start = trace.path(), trace.seen[0].sighting.captured_at
    for zone in order:
        if zone.shape.line is not None and zone.shape.takes(trace.label) and _large_enough(trace, zone):
            for point, direction in crossings(path, zone.shape.line, zone.shape.inertia):
                at = start + timedelta(seconds=point.seconds)
                found.append(LineCrossing(zone.id, zone.shape.name, direction, at))
    return tuple(sorted(found, key=lambda crossing: (crossing.at, crossing.zone_id)))


def _large_enough(trace: Trace, zone: Zone) -> bool:
    shares = (seen.detection.box.area / (seen.sighting.width * seen.sighting.height) for seen in trace.seen)
    return max(shares) >= zone.shape.min_size
