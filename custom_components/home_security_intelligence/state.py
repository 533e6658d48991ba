# SPDX-License-Identifier: Apache-2.0
"""What the integration knows about a server, and how messages change it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Self

from .client.messages import (
    CameraChanged,
    CameraRemoved,
    Change,
    EventChanged,
    EventKind,
    EventRemoved,
    IncidentChanged,
    IncidentRemoved,
    Snapshot,
)
from .client.models import Camera, Event, Incident, Server


@dataclass(frozen=True, slots=True, kw_only=True)
class HsiState:
    """The server, its cameras, the open and last events of these, and the open incidents.

    The incidents are None when the server is too old to know any.
    """

    server: Server
    cameras: Mapping[str, Camera]
    events: Mapping[int, Event]
    incidents: Mapping[int, Incident] | None = None

    @classmethod
    def from_snapshot(cls, snapshot: Snapshot) -> Self:
        """Start from a snapshot."""
        incidents = None if snapshot.incidents is None else {one.id: one for one in snapshot.incidents}
        return replace(cls.of(snapshot.server, snapshot.cameras, snapshot.events), incidents=incidents)

    @classmethod
    def of(cls, server: Server, cameras: Iterable[Camera], events: Iterable[Event]) -> Self:
        """Keep of the events the ones that a camera refers to; of two objects with the same id the later one wins."""
        by_id = {camera.id: camera for camera in cameras}
        wanted = {id_ for camera in by_id.values() for id_ in (camera.open_event_id, camera.last_event_id)}
        return cls(server=server, cameras=by_id, events={event.id: event for event in events if event.id in wanted})

    def with_change(self, change: Change | None) -> Self:
        """Apply one change."""
        match change:
            case CameraChanged(camera):
                return self._with((*self.cameras.values(), camera))
            case CameraRemoved(camera_id):
                return self._with(camera for camera in self.cameras.values() if camera.id != camera_id)
            case EventChanged(event=event, camera=camera):
                return self._with((*self.cameras.values(), camera), event)
            case EventRemoved(camera=camera, last_event=last_event):
                return self._with((*self.cameras.values(), camera), *([last_event] if last_event else []))
            case IncidentChanged() | IncidentRemoved():
                return replace(self, incidents=self._incidents_after(change))
            case None:
                return self

    def _with(self, cameras: Iterable[Camera], *more: Event) -> Self:
        changed = self.of(self.server, cameras, (*self.events.values(), *more))
        return replace(changed, incidents=self.incidents)

    def _incidents_after(self, change: IncidentChanged | IncidentRemoved) -> dict[int, Incident]:
        incidents = dict(self.incidents or {})
        match change:
            case IncidentChanged(incident=incident) if incident.is_open:
                incidents[incident.id] = incident
            case IncidentChanged(incident=incident):
                incidents.pop(incident.id, None)
            case IncidentRemoved(incident_id):
                incidents.pop(incident_id, None)
        return incidents

    @property
    def open_incidents(self) -> int | None:
        """How many incidents are going on; None when the server does not tell."""
        return None if self.incidents is None else len(self.incidents)

    def camera(self, camera_id: str) -> Camera:
        """A camera as it may be shown: what was judged before the detector went may no longer be true."""
        camera = self.cameras[camera_id]
        return camera if self.server.detector.judges else camera.unjudged()

    def last_event(self, camera_id: str) -> Event | None:
        """The newest event of a camera, open or not."""
        last_event_id = self.cameras[camera_id].last_event_id
        return None if last_event_id is None else self.events.get(last_event_id)

    @property
    def highest_risk(self) -> int | None:
        """The highest risk of all cameras; zero is claimed only when every one of them can be judged."""
        known = [camera.risk.score for camera in map(self.camera, self.cameras) if camera.risk]
        highest = max(known, default=0)
        everything_judged = bool(known) and len(known) == len(self.cameras)
        return highest if highest or everything_judged else None


def changes_between(old: HsiState, new: HsiState) -> list[EventChanged]:
    """What must have happened to events while nobody told us."""
    return [
        EventChanged(kind, event, camera, before.risk.level if before and kind is EventKind.ESCALATED else None)
        for event in sorted(new.events.values(), key=lambda event: event.id)
        if (camera := new.cameras.get(event.camera_id)) is not None
        for before in [old.events.get(event.id)]
        for kind in _changes_of_event(before, event, old)
    ]


def _changes_of_event(before: Event | None, event: Event, old: HsiState) -> Iterator[EventKind]:
    if before is None:
        if event.id <= max(old.events, default=-1):
            return
        yield EventKind.DETECTED
    elif event.risk.score > before.risk.score and event.risk.level is not before.risk.level:
        yield EventKind.ESCALATED
    if not event.is_open and (before is None or before.is_open):
        yield EventKind.ENDED
