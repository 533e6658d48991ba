# SPDX-License-Identifier: AGPL-3.0-or-later
"""The situation of an event: all that the rules judge by beside its own tracks, read from the database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.baseline import HOUR, Habit, hour_of, slot_of
from inference_server.core.context import STALE_AFTER, CameraPlace, HomeContext, Mode
from inference_server.core.detection import Category, Track
from inference_server.core.view import ViewProblem
from inference_server.pipeline.lessons import Lessons
from inference_server.risk.baseline import by_category, counts, expectation
from inference_server.risk.continuity import Before, first_sights, stayed_before
from inference_server.risk.evidence import Evidence, Expectation, SeenElsewhere, Tampering, is_night, of_tracks
from inference_server.risk.weights import load_weights
from inference_server.settings import RiskSettings
from inference_server.storage import baselines, home_context, surroundings
from inference_server.storage.surroundings import PastEvent, Placed

CAME_CLOSER_WITHIN = timedelta(minutes=5)
TAMPERED_WITHIN = timedelta(minutes=15)
LOOK_BACK = timedelta(minutes=20)
"""As far back as the longest of the stays that weigh differently, and some."""

_WAY_IN = (
    CameraPlace.STREET,
    CameraPlace.DRIVEWAY,
    CameraPlace.YARD,
    CameraPlace.ENTRANCE,
    CameraPlace.GARAGE,
    CameraPlace.INDOORS,
)
"""From the outside in, where nobody said which camera leads to which."""


@dataclass(frozen=True, slots=True)
class Happening:
    """An event as it is about to be judged."""

    camera_id: str
    event_id: int | None
    """None for one that begins."""
    started_at: datetime
    seen_at: datetime
    """When something was seen in it last."""
    tracks: tuple[Track, ...]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What lies around an event."""

    told: HomeContext | None
    """What Home Assistant told last."""
    cameras: Mapping[str, Placed]
    recent: Sequence[PastEvent]
    """The events of all cameras shortly before, the latest first; they may include the event itself."""
    habits: Sequence[Habit] = ()
    """Of its camera at this hour of the day."""
    earlier: Sequence[Sequence[Track]] = ()
    """The tracks of its camera's other events of this hour and the one before, the earliest event first."""


class Situations:
    """Reads what surrounds an event."""

    def __init__(self, risk: RiskSettings, zone: ZoneInfo) -> None:
        """Take when night is; the zone is the home's. Raises WeightsError."""
        self._risk = risk
        self._zone = zone
        self._lessons = Lessons(risk.thresholds, load_weights(risk.weights_file))

    async def evidence(self, connection: AsyncConnection, happening: Happening, now: datetime) -> Evidence:
        """Return what an event is judged by; `now` is the time of the clock."""
        camera_id, seen_at = happening.camera_id, happening.seen_at
        begin = hour_of(seen_at)
        habits = await baselines.at_hour(connection, camera_id, slot_of(begin.astimezone(self._zone)))
        earlier = await baselines.tracks_since(connection, camera_id, begin - HOUR, seen_at, but_of=happening.event_id)
        around = Surroundings(
            told=await home_context.get(connection),
            cameras=await surroundings.placed(connection),
            recent=await surroundings.recent_events(connection, happening.started_at - LOOK_BACK, seen_at),
            habits=habits,
            earlier=earlier,
        )
        evidence = self.evidence_of(happening, around, now)
        return replace(evidence, lesson=await self._lessons.of(connection, camera_id, evidence, now))

    def evidence_of(self, happening: Happening, around: Surroundings, now: datetime) -> Evidence:
        """Return what an event is judged by, from all that was read of its surroundings."""
        seen_at, told, cameras = happening.seen_at, around.told, around.cameras
        known = told if told and not _is_unknown(told, seen_at, now) else None
        before = [event for event in around.recent if event.started_at < happening.started_at]
        local = seen_at.astimezone(self._zone)
        here = cameras.get(happening.camera_id)
        return Evidence(
            subjects=of_tracks(happening.tracks),
            now=local,
            night=self._is_night(local, known),
            place=here.place if here else CameraPlace.OTHER,
            context=known,
            context_lost_at=told.told_at.astimezone(self._zone) if told and told.is_stale(now) else None,
            expectations=self._expectations(happening, around),
            stayed_before=stayed_before(happening.tracks, _of_camera(happening, before)),
            elsewhere=tuple(_elsewhere(happening, before, cameras)),
            tampering=tuple(_tampering(cameras, seen_at)),
        )

    def _expectations(self, happening: Happening, around: Surroundings) -> tuple[Expectation, ...]:
        known = by_category(around.habits)
        if not any(known.values()):
            return ()
        begin = hour_of(happening.seen_at)
        slot = slot_of(begin.astimezone(self._zone))
        seen = counts(first_sights([*around.earlier, happening.tracks]), begin, begin + HOUR)
        found = (
            expectation(known[category], slot, happening.seen_at, category, seen[category]) for category in Category
        )
        return tuple(item for item in found if item is not None)

    def _is_night(self, local: datetime, context: HomeContext | None) -> bool:
        if context is not None and context.mode is Mode.NIGHT:
            return True
        return is_night(local, self._risk.night_starts_hour, self._risk.night_ends_hour)


def _is_unknown(told: HomeContext, seen_at: datetime, now: datetime) -> bool:
    """Return whether nothing is known of the home at the time of a picture: of now, or of then."""
    return told.is_stale(now) or now - seen_at > STALE_AFTER


def _of_camera(happening: Happening, before: list[PastEvent]) -> list[Before]:
    mine = [event for event in before if event.camera_id == happening.camera_id]
    return [Before(event.started_at, event.tracks) for event in mine]


def _elsewhere(happening: Happening, before: list[PastEvent], cameras: Mapping[str, Placed]) -> list[SeenElsewhere]:
    here = cameras.get(happening.camera_id)
    found: list[SeenElsewhere] = []
    for event in before:
        there = cameras.get(event.camera_id)
        ago = max(happening.started_at - event.last_detection_at, timedelta(0))
        if here is None or there is None or there is here or ago > CAME_CLOSER_WITHIN:
            continue
        kinds = {track.label.category for track in event.tracks} - {Category.ANIMAL}
        found += [SeenElsewhere(there.name, kind, ago, _leads(there, here)) for kind in sorted(kinds)]
    return found


def _leads(there: Placed, here: Placed) -> bool:
    """Return whether somebody on the way in passes one camera before the other."""
    if there.leads_to or here.leads_to:
        return here.id in there.leads_to
    if there.place not in _WAY_IN or here.place not in _WAY_IN:
        return False
    return _WAY_IN.index(there.place) < _WAY_IN.index(here.place)


def _tampering(cameras: Mapping[str, Placed], seen_at: datetime) -> list[Tampering]:
    return [
        Tampering(camera.name, problem.kind, seen_at - problem.since)
        for camera in cameras.values()
        for problem in camera.problems
        if problem.kind is ViewProblem.TAMPERED and timedelta(0) <= seen_at - problem.since <= TAMPERED_WITHIN
    ]
