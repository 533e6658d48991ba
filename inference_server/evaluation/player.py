# SPDX-License-Identifier: AGPL-3.0-or-later
"""The player: what the cameras of a scenario see goes through the product's own parts, up to each event's evidence.

What stands still, zones, batches, tracks, and all that surrounds an event are the pipeline's own functions; only the
pictures, the detector and the database are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from inference_server.core.baseline import Habit, slot_of
from inference_server.core.context import HomeContext
from inference_server.core.detection import Category, Label, Sighting, Track
from inference_server.core.observation import Identity, Observation
from inference_server.core.stationary import Standing
from inference_server.core.view import LastingProblem
from inference_server.core.zone import Zone
from inference_server.detection.stationary import StandingRules
from inference_server.detection.zones import tracks_in, without_ignored
from inference_server.evaluation.scenario import ContextPart, ObjectPart, Scenario
from inference_server.evaluation.staging import Staged, stage, start_of
from inference_server.pipeline.batch import BatchRules, Segment
from inference_server.pipeline.situation import Happening, Situations, Surroundings
from inference_server.risk.evidence import Evidence, Lesson, Subject
from inference_server.settings import Settings
from inference_server.storage.surroundings import PastEvent, Placed

_LABELS = {Category.PERSON: Label.PERSON, Category.VEHICLE: Label.CAR, Category.ANIMAL: Label.DOG}


@dataclass(frozen=True, slots=True)
class PlayedEvent:
    """An event that a scenario made, as the rules and the analyst get it."""

    camera: str
    started_at: datetime
    last_detection_at: datetime
    evidence: Evidence


class Player:
    """Plays scenarios by the settings of an installation."""

    def __init__(self, settings: Settings) -> None:
        """Take what batches, nights and what stands still go by."""
        self._settings = settings
        self._batches = BatchRules(settings.batch)
        self._standing = StandingRules(settings.stationary)

    def play(self, scenario: Scenario) -> tuple[PlayedEvent, ...]:
        """Return the events that a scenario makes, in order of time."""
        staged = {one.camera: one for one in stage(scenario, self._settings.detector)}
        found = [event for one in staged.values() for event in self._events_of(one, scenario)]
        found.sort(key=lambda event: (event.started_at, event.camera_id))
        return tuple(
            PlayedEvent(
                event.camera_id,
                event.started_at,
                event.last_detection_at,
                self._evidence(scenario, staged[event.camera_id], event, found),
            )
            for event in found
        )

    def _events_of(self, staged: Staged, scenario: Scenario) -> list[PastEvent]:
        zones = scenario.home.cameras[staged.camera].shapes(staged.camera)
        segments = self._batches.split(None, self._sorted_out(staged, zones))
        return [_event(staged.camera, segment, zones) for segment in segments if segment.sightings]

    def _sorted_out(self, staged: Staged, zones: Sequence[Zone]) -> list[Sighting]:
        """Return the sightings without what stood there before or lies in a zone that is ignored."""
        standing: tuple[Standing, ...] = ()
        judged = []
        for sighting in staged.sightings:
            seen = self._standing.observe(staged.camera, standing, sighting, arrived_at=sighting.captured_at, live=True)
            standing = seen.standing
            judged.append(without_ignored(seen.sighting, zones))
        return [sighting for sighting in judged if sighting.counted]

    def _evidence(self, scenario: Scenario, staged: Staged, event: PastEvent, events: Sequence[PastEvent]) -> Evidence:
        now, camera = event.last_detection_at, event.camera_id
        happening = Happening(camera, None, event.started_at, now, event.tracks)
        others = [one for one in events if one is not event and one.started_at <= now]
        around = Surroundings(
            told=_told(scenario.context, now),
            cameras=_cameras(scenario),
            recent=[*reversed(others), *_seen_before(scenario)],
            habits=_habits(scenario, camera, now),
            earlier=[one.tracks for one in others if one.camera_id == camera],
        )
        evidence = Situations(self._settings.risk, scenario.home.zone).evidence_of(happening, around, now)
        return replace(
            evidence,
            subjects=tuple(_subject(track, staged.script_of(track)) for track in event.tracks),
            nights_visited=scenario.history.nights_visited,
            lesson=_lesson(scenario),
        )


def _event(camera: str, segment: Segment, zones: Sequence[Zone]) -> PastEvent:
    seen = segment.sightings
    return PastEvent(0, camera, seen[0].captured_at, seen[-1].captured_at, tracks_in(seen, zones))


def _told(part: ContextPart | None, now: datetime) -> HomeContext | None:
    if part is None:
        return None
    told_at = now - timedelta(minutes=part.age_minutes)
    return HomeContext(told_at, part.mode, part.people_home, part.alarm, part.sun_is_up, part.quiet_hours)


def _subject(track: Track, script: ObjectPart | None) -> Subject:
    if script is None:
        return Subject(track)
    known = script.identity
    return Subject(
        track,
        tuple(Observation(one.kind, one.confidence) for one in script.observed),
        Identity(known.name, known.trust, known.confidence) if known else None,
    )


def _habits(scenario: Scenario, camera: str, now: datetime) -> list[Habit]:
    """Return what the camera has learnt of the hour of the week that it is."""
    local = now.astimezone(scenario.home.zone)
    return [
        Habit(camera, usual.category, slot_of(local), usual.per_hour * usual.weeks, usual.weeks, now)
        for usual in scenario.history.usual
        if usual.camera == camera and usual.hours.covers(local)
    ]


def _first(scenario: Scenario) -> datetime:
    return min(start_of(happening, scenario) for happening in scenario.happenings)


def _cameras(scenario: Scenario) -> dict[str, Placed]:
    first = _first(scenario)
    return {
        name: Placed(
            name,
            name,
            camera.place,
            camera.leads_to,
            tuple(
                LastingProblem(one.problem, first - timedelta(minutes=one.minutes_before))
                for one in scenario.history.tampering
                if one.camera == name
            ),
        )
        for name, camera in scenario.home.cameras.items()
    }


def _seen_before(scenario: Scenario) -> list[PastEvent]:
    """Return what was seen before the first picture, the latest first."""
    first = _first(scenario)
    sightings = sorted(scenario.history.seen, key=lambda one: one.seconds_before)
    return [
        PastEvent(0, one.camera, at, at, (Track(_LABELS[one.category], 1.0, at, at, 1),))
        for one in sightings
        for at in (first - timedelta(seconds=one.seconds_before),)
    ]


def _lesson(scenario: Scenario) -> Lesson | None:
    lesson = scenario.history.lesson
    return Lesson(lesson.points, lesson.evidence) if lesson else None
