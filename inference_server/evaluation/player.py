# SPDX-License-Identifier: AGPL-3.0-or-later
"""The player: what the cameras of a scenario see goes through the product's own parts, up to each event's evidence.

What stands still, zones, batches, tracks, and all that surrounds an event are the pipeline's own functions; only the
pictures, the detector and the database are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from inference_server.core.context import HomeContext
from inference_server.core.detection import Category, Sighting, Track
from inference_server.core.observation import Identity, Observation
from inference_server.core.stationary import Standing
from inference_server.core.zone import Zone
from inference_server.detection.stationary import StandingRules
from inference_server.detection.zones import tracks_in, without_ignored
from inference_server.evaluation.scenario import ContextPart, ObjectPart, Scenario
from inference_server.evaluation.staging import Staged, stage, start_of
from inference_server.pipeline.batch import BatchRules, Segment
from inference_server.risk.circumstances import (
    OnCamera,
    known_context,
    newcomers,
    recent_tampering,
    seen_elsewhere,
    stayed_before,
)
from inference_server.risk.evidence import Evidence, Expectation, Lesson, Subject, Tampering, is_night
from inference_server.risk.expectation import expectation
from inference_server.settings import Settings


@dataclass(frozen=True, slots=True)
class PlayedEvent:
    """An event that a scenario made, as the rules and the analyst get it."""

    camera: str
    started_at: datetime
    last_detection_at: datetime
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class _Batch:
    """An event before its surroundings are known."""

    camera: str
    started_at: datetime
    last_detection_at: datetime
    tracks: tuple[Track, ...]

    @property
    def seen(self) -> OnCamera:
        categories = frozenset(track.label.category for track in self.tracks)
        return OnCamera(self.camera, categories, self.last_detection_at)


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
        batches = [batch for one in staged.values() for batch in self._batches_of(one, scenario)]
        batches.sort(key=lambda batch: (batch.started_at, batch.camera))
        return tuple(
            PlayedEvent(
                batch.camera,
                batch.started_at,
                batch.last_detection_at,
                self._evidence(scenario, staged[batch.camera], batch, batches),
            )
            for batch in batches
        )

    def _batches_of(self, staged: Staged, scenario: Scenario) -> list[_Batch]:
        zones = scenario.home.cameras[staged.camera].shapes(staged.camera)
        sorted_out = self._sorted_out(staged, zones)
        return [
            _batch(staged.camera, segment, zones)
            for segment in self._batches.split(None, sorted_out)
            if segment.sightings
        ]

    def _sorted_out(self, staged: Staged, zones: Sequence[Zone]) -> list[Sighting]:
        """Return the sightings without what stood there before or lies in a zone that is ignored."""
        standing: tuple[Standing, ...] = ()
        judged = []
        for sighting in staged.sightings:
            seen = self._standing.observe(staged.camera, standing, sighting, arrived_at=sighting.captured_at, live=True)
            standing = seen.standing
            judged.append(without_ignored(seen.sighting, zones))
        return [sighting for sighting in judged if sighting.counted]

    def _evidence(self, scenario: Scenario, staged: Staged, batch: _Batch, batches: Sequence[_Batch]) -> Evidence:
        risk = self._settings.risk
        now = batch.last_detection_at
        local = now.astimezone(scenario.home.zone)
        known = known_context(_told(scenario.context, now), now)
        before = [one for one in batches if one.camera == batch.camera and one.started_at < batch.started_at]
        return Evidence(
            subjects=tuple(_subject(track, staged.script_of(track)) for track in batch.tracks),
            now=local,
            night=is_night(local, risk.night_starts_hour, risk.night_ends_hour),
            place=scenario.home.cameras[batch.camera].place,
            context=known.context,
            context_lost_at=known.lost_at,
            stayed_before=stayed_before(batch.tracks, [one.tracks for one in reversed(before)]),
            expectations=_expectations(scenario, batch, [*before, batch]),
            elsewhere=seen_elsewhere(
                [*_seen_before(scenario), *(one.seen for one in batches if one.camera != batch.camera)],
                started_at=batch.started_at,
                now=now,
                further_out=_further_out(scenario, batch.camera),
            ),
            nights_visited=scenario.history.nights_visited,
            tampering=recent_tampering(_tampering(scenario, now)),
            lesson=_lesson(scenario),
        )


def _batch(camera: str, segment: Segment, zones: Sequence[Zone]) -> _Batch:
    seen = segment.sightings
    return _Batch(camera, seen[0].captured_at, seen[-1].captured_at, tracks_in(seen, zones))


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


def _expectations(scenario: Scenario, batch: _Batch, in_order: Sequence[_Batch]) -> tuple[Expectation, ...]:
    local = batch.last_detection_at.astimezone(scenario.home.zone)
    hour = local.replace(minute=0, second=0, microsecond=0).astimezone(UTC)
    found = []
    for usual in scenario.history.usual:
        if usual.camera != batch.camera or not usual.hours.covers(local):
            continue
        seen = _distinct(in_order, usual.category, hour)
        counted = usual.per_hour * usual.weeks
        if (told := expectation(usual.category, counted=counted, weeks=usual.weeks, seen=seen)) is not None:
            found.append(told)
    return tuple(found)


def _distinct(in_order: Sequence[_Batch], category: Category, since: datetime) -> int:
    """Return how many objects of a category came since a time."""
    before: tuple[Track, ...] = ()
    number = 0
    for batch in in_order:
        if batch.last_detection_at >= since:
            number += sum(track.label.category is category for track in newcomers(batch.tracks, before))
        before = batch.tracks
    return number


def _first(scenario: Scenario) -> datetime:
    return min(start_of(happening, scenario) for happening in scenario.happenings)


def _seen_before(scenario: Scenario) -> list[OnCamera]:
    first = _first(scenario)
    return [
        OnCamera(one.camera, frozenset({one.category}), first - timedelta(seconds=one.seconds_before))
        for one in scenario.history.seen
    ]


def _further_out(scenario: Scenario, camera: str) -> frozenset[str]:
    return frozenset(name for name, other in scenario.home.cameras.items() if camera in other.leads_to)


def _tampering(scenario: Scenario, now: datetime) -> list[Tampering]:
    first = _first(scenario)
    return [
        Tampering(one.camera, one.problem, now - first + timedelta(minutes=one.minutes_before))
        for one in scenario.history.tampering
    ]


def _lesson(scenario: Scenario) -> Lesson | None:
    lesson = scenario.history.lesson
    return Lesson(lesson.points, lesson.evidence) if lesson else None
