# SPDX-License-Identifier: AGPL-3.0-or-later
"""The objects of the wire format, and the functions that make them from core values."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from inference_server import __version__
from inference_server.core.announcement import CameraState
from inference_server.core.assessment import MAX_SCORE, AssessmentSource, LevelThresholds, RiskLevel, risk_level
from inference_server.core.backup import BackupKind, RunningBackup, StoredBackup
from inference_server.core.cleanup import Amount, CleanupReport, StorageReport
from inference_server.core.detection import (
    Category,
    Detection,
    Direction,
    Label,
    LeftOut,
    Sighting,
    Speed,
    Track,
    ZoneType,
)
from inference_server.core.event import EndReason, Event
from inference_server.core.feedback import Feedback, FeedbackKind
from inference_server.core.frame import Refusal, RefusalReason
from inference_server.core.incident import Incident
from inference_server.core.message import DeadLetter, StageName
from inference_server.core.status import AnalystState, AnalystStatus, DetectorState, DetectorStatus, QueueStatus
from inference_server.core.summary import Summary, SummaryKind
from inference_server.core.view import ViewProblem
from inference_server.observability.health import ComponentHealth, Detail, HealthState

SCHEMA_VERSION = 1
"""The version of the wire format that this server speaks."""
MIN_SCHEMA_VERSION = 1
"""The oldest version of a client that this server still understands."""


def _to_utc(time: datetime) -> datetime:
    return time.astimezone(UTC)


UtcTime = Annotated[AwareDatetime, AfterValidator(_to_utc)]
Score = Annotated[int, Field(ge=0, le=MAX_SCORE)]
Confidence = Annotated[float, Field(ge=0, le=1)]


class WireObject(BaseModel):
    """An object as it is sent."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RiskObject(WireObject):
    """A score and its level."""

    score: Score
    level: RiskLevel


class OccupancyObject(WireObject):
    """Which kinds of object the camera's open event holds."""

    person: bool
    vehicle: bool
    animal: bool


class ViewProblemObject(WireObject):
    """What is wrong with a camera's view, and since when."""

    kind: ViewProblem
    since: UtcTime


class CameraObject(WireObject):
    """A camera. When it cannot be judged, risk and occupancy are null: unknown, not safe."""

    id: str
    name: str
    created_at: UtcTime
    last_frame_at: UtcTime | None
    last_frame_id: int | None
    judged: bool
    risk: RiskObject | None
    occupancy: OccupancyObject | None
    open_event_id: int | None
    last_event_id: int | None
    view_problems: tuple[ViewProblemObject, ...]


class ZoneVisitObject(WireObject):
    """A track's stay in a zone."""

    zone_id: int
    name: str
    type: ZoneType
    entered_at: UtcTime
    seconds: float
    frames: int
    loitering: bool


class LineCrossingObject(WireObject):
    """A track's crossing of a zone's line."""

    zone_id: int
    name: str
    direction: Direction
    at: UtcTime


class TrackObject(WireObject):
    """One object followed through the frames of an event; its path is seconds after `first_seen_at`, x and y."""

    label: Label
    confidence: Confidence
    first_seen_at: UtcTime
    last_seen_at: UtcTime
    frames: int
    dwell_seconds: float
    best_frame_id: int | None
    speed: Speed | None
    path: tuple[tuple[float, float, float], ...]
    zones: tuple[ZoneVisitObject, ...]
    crossings: tuple[LineCrossingObject, ...]


class FactorObject(WireObject):
    """One signed contribution to a score."""

    name: str
    points: int
    evidence: str


class EventClipObject(WireObject):
    """A clip that shows an event, and where in it the event begins, in seconds."""

    clip_id: int
    start_seconds: float


class FeedbackObject(WireObject):
    """What somebody says of an event; `withdrawn_at` is set when it has ceased to count."""

    id: int
    event_id: int | None
    camera_id: str
    kind: FeedbackKind
    level: RiskLevel | None
    name: str | None
    note: str
    by: str | None
    given_at: UtcTime
    withdrawn_at: UtcTime | None


class EventObject(WireObject):
    """An event, running while `ended_at` is null."""

    id: int
    camera_id: str
    started_at: UtcTime
    last_detection_at: UtcTime
    ended_at: UtcTime | None
    end_reason: EndReason | None
    frame_count: int
    best_frame_id: int
    objects: dict[Label, int]
    tracks: tuple[TrackObject, ...]
    risk: RiskObject
    summary: str
    reasoning: str
    factors: tuple[FactorObject, ...]
    source: AssessmentSource
    verified: bool
    assessed_at: UtcTime
    clips: tuple[EventClipObject, ...]
    feedback: FeedbackObject | None
    incident_id: int | None


class IncidentObject(WireObject):
    """Events that tell one story, running while `ended_at` is null."""

    id: int
    started_at: UtcTime
    last_at: UtcTime
    ended_at: UtcTime | None
    risk: RiskObject
    verified: bool
    title: str
    summary: str
    cameras: tuple[str, ...]
    event_ids: tuple[int, ...]


class FullIncidentObject(IncidentObject):
    """An incident with its events, in the order in which they began."""

    events: tuple[EventObject, ...]


class CameraCountObject(WireObject):
    """What one camera saw in the time of a summary; the risk is the highest of its events."""

    camera_id: str
    name: str
    events: int
    risk: RiskObject


class SummaryObject(WireObject):
    """What an hour or a day was like."""

    id: int
    kind: SummaryKind
    started_at: UtcTime
    ended_at: UtcTime
    headline: str
    text: str
    source: AssessmentSource
    events: dict[RiskLevel, int]
    cameras: tuple[CameraCountObject, ...]
    incident_ids: tuple[int, ...]
    unverified: int
    unjudged_minutes: int
    unjudged_pictures: int
    created_at: UtcTime


class DetectorObject(WireObject):
    """The detector in use."""

    state: DetectorState
    model: str | None
    name: str | None
    fallback: bool
    provider: str | None
    wanted_provider: str | None
    message: str | None


class AnalystObject(WireObject):
    """The language model that explains events."""

    state: AnalystState
    model: str | None
    message: str | None


class ServerObject(WireObject):
    """The server and what it is busy with."""

    server_id: str
    name: str
    version: str
    schema_version: int
    min_schema_version: int
    queue_depth: int
    dead_letters: int
    detector: DetectorObject
    analyst: AnalystObject


class BoxObject(WireObject):
    """A rectangle in pixels of the frame."""

    x: float
    y: float
    width: float
    height: float


class DetectionObject(WireObject):
    """One object seen in one frame. The ordinal names it among the frame's detections."""

    frame_id: int
    ordinal: int
    captured_at: UtcTime
    label: Label
    confidence: Confidence
    box: BoxObject
    left_out: LeftOut | None


class RefusalObject(WireObject):
    """A file that did not become a frame."""

    path: str
    camera_id: str | None
    reason: RefusalReason
    detail: str
    refused_at: UtcTime


class DeadLetterObject(WireObject):
    """A message that failed for good, about a frame or an event."""

    id: int
    stage: StageName
    frame_id: int | None
    event_id: int | None
    camera_id: str
    reason: str
    service: str | None
    attempts: int
    replays: int
    enqueued_at: UtcTime
    died_at: UtcTime


class FullDeadLetterObject(DeadLetterObject):
    """A dead letter with all that is known of it."""

    trace: str | None
    picture: str | None
    discarded_at: UtcTime | None


class BackupObject(WireObject):
    """A backup that is done; what of it is known since it was last read to its end, and when that was."""

    name: str
    kind: BackupKind
    created_at: UtcTime
    size: int
    encrypted: bool
    verified_at: UtcTime | None
    rows: int | None
    media_files: int | None


class RunningBackupObject(WireObject):
    """A backup that is being made, with or without media."""

    kind: BackupKind
    started_at: UtcTime
    media: bool


class AmountObject(WireObject):
    """How many, and how many bytes their files have."""

    count: int
    bytes: int


class CleanupObject(WireObject):
    """What a cleanup deleted, or would delete."""

    events: dict[RiskLevel, AmountObject]
    frames: AmountObject
    clips: AmountObject
    originals: AmountObject
    orphans: AmountObject
    trash: AmountObject
    arrivals: int
    missing: int
    warning: str | None
    bytes: int


class CameraStorageObject(WireObject):
    """What is kept of one camera."""

    camera_id: str
    events: int
    frames: AmountObject
    clips: AmountObject


class DiskObject(WireObject):
    """A disk, what lies on it and how full it is."""

    path: str
    holds: tuple[str, ...]
    total_bytes: int
    free_bytes: int
    used_percent: float
    inodes_used_percent: float | None


class StorageObject(WireObject):
    """What is kept and where, and what the next cleanup will delete."""

    database_bytes: int
    events: dict[RiskLevel, AmountObject]
    frames: AmountObject
    clips: AmountObject
    trash: AmountObject
    oldest_event_at: UtcTime | None
    cameras: tuple[CameraStorageObject, ...]
    disks: tuple[DiskObject, ...]
    problems: tuple[str, ...]
    next_cleanup_at: UtcTime
    next_cleanup: CleanupObject


class ComponentObject(WireObject):
    """The health of one part of the server."""

    name: str
    state: HealthState
    since: UtcTime
    last_error: str | None
    still_works: str | None
    remedy: str | None
    details: dict[str, Detail]


class HealthReport(WireObject):
    """The health of the server and its parts."""

    status: HealthState
    version: str
    server_id: str
    started_at: UtcTime
    components: tuple[ComponentObject, ...]


def risk(score: int, thresholds: LevelThresholds) -> RiskObject:
    """Return a score with its level."""
    return RiskObject(score=score, level=risk_level(score, thresholds))


def camera(state: CameraState, thresholds: LevelThresholds) -> CameraObject:
    """Return a camera as it is sent."""
    score = state.score if state.judged else None
    return CameraObject(
        id=state.camera.id,
        name=state.camera.name,
        created_at=state.camera.created_at,
        last_frame_at=state.camera.last_frame_at,
        last_frame_id=state.last_frame_id,
        judged=state.judged,
        risk=None if score is None else risk(score, thresholds),
        occupancy=None if score is None else _occupancy(state.occupied_by),
        open_event_id=state.open_event_id,
        last_event_id=state.last_event_id,
        view_problems=tuple(ViewProblemObject(kind=found.kind, since=found.since) for found in state.view_problems),
    )


def event(value: Event, thresholds: LevelThresholds) -> EventObject:
    """Return an event as it is sent."""
    verdict = value.assessment
    return EventObject(
        id=value.id,
        camera_id=value.camera_id,
        started_at=value.started_at,
        last_detection_at=value.last_detection_at,
        ended_at=value.ended_at,
        end_reason=value.end_reason,
        frame_count=value.frame_count,
        best_frame_id=value.best_frame_id,
        objects=dict(Counter(track.label for track in value.tracks).most_common()),
        tracks=tuple(track(item) for item in value.tracks),
        risk=risk(verdict.score, thresholds),
        summary=verdict.summary,
        reasoning=verdict.reasoning,
        factors=tuple(FactorObject.model_validate(factor, from_attributes=True) for factor in verdict.factors),
        source=verdict.source,
        verified=verdict.verified,
        assessed_at=verdict.assessed_at,
        clips=tuple(EventClipObject.model_validate(clip, from_attributes=True) for clip in value.clips),
        incident_id=value.incident_id,
        feedback=feedback(value.feedback) if value.feedback else None,
    )


def feedback(value: Feedback) -> FeedbackObject:
    """Return feedback as it is sent."""
    opinion = value.opinion
    return FeedbackObject(
        id=value.id,
        event_id=value.event_id,
        camera_id=value.camera_id,
        kind=opinion.kind,
        level=opinion.level,
        name=opinion.name,
        note=opinion.note,
        by=opinion.by,
        given_at=value.given_at,
        withdrawn_at=value.withdrawn_at,
    )


def incident(value: Incident, thresholds: LevelThresholds) -> IncidentObject:
    """Return an incident as it is sent."""
    return IncidentObject(
        id=value.id,
        started_at=value.started_at,
        last_at=value.last_at,
        ended_at=value.ended_at,
        risk=risk(value.score, thresholds),
        verified=value.verified,
        title=value.title,
        summary=value.summary,
        cameras=value.cameras,
        event_ids=value.event_ids,
    )


def full_incident(value: Incident, events: Iterable[Event], thresholds: LevelThresholds) -> FullIncidentObject:
    """Return an incident with its events as it is sent alone."""
    shown = tuple(event(one, thresholds) for one in events)
    return FullIncidentObject(**dict(incident(value, thresholds)), events=shown)


def summary(value: Summary, thresholds: LevelThresholds) -> SummaryObject:
    """Return a summary as it is sent."""
    levels = dict.fromkeys(RiskLevel, 0)
    for score, number in value.scores:
        levels[risk_level(score, thresholds)] += number
    return SummaryObject(
        id=value.id,
        kind=value.period.kind,
        started_at=value.period.started_at,
        ended_at=value.period.ended_at,
        headline=value.headline,
        text=value.text,
        source=value.source,
        events=levels,
        cameras=tuple(
            CameraCountObject(
                camera_id=one.camera_id, name=one.name, events=one.events, risk=risk(one.highest_score, thresholds)
            )
            for one in value.cameras
        ),
        incident_ids=value.incident_ids,
        unverified=value.unverified,
        unjudged_minutes=value.unjudged_minutes,
        unjudged_pictures=value.unjudged_pictures,
        created_at=value.created_at,
    )


def track(value: Track) -> TrackObject:
    """Return a track as it is sent."""
    return TrackObject(
        label=value.label,
        confidence=value.confidence,
        first_seen_at=value.first_seen_at,
        last_seen_at=value.last_seen_at,
        frames=value.frames,
        dwell_seconds=value.dwell.total_seconds(),
        best_frame_id=value.best_frame_id,
        speed=value.speed,
        path=tuple((point.seconds, point.x, point.y) for point in value.path),
        zones=tuple(ZoneVisitObject.model_validate(visit, from_attributes=True) for visit in value.zones),
        crossings=tuple(LineCrossingObject.model_validate(item, from_attributes=True) for item in value.crossings),
    )


def server(
    server_id: str, name: str, detector: DetectorStatus, analyst: AnalystStatus, queue: QueueStatus
) -> ServerObject:
    """Return the server object."""
    return ServerObject(
        server_id=server_id,
        name=name,
        version=__version__,
        schema_version=SCHEMA_VERSION,
        min_schema_version=MIN_SCHEMA_VERSION,
        queue_depth=queue.depth,
        dead_letters=queue.dead_letters,
        detector=DetectorObject.model_validate(detector, from_attributes=True),
        analyst=AnalystObject.model_validate(analyst, from_attributes=True),
    )


def detections(sightings: Iterable[Sighting]) -> Iterator[DetectionObject]:
    """Yield every detection with the frame it was seen in."""
    for sighting in sightings:
        for ordinal, found in enumerate(sighting.detections):
            yield _detection(sighting, ordinal, found)


def refusal(value: Refusal) -> RefusalObject:
    """Return a refusal as it is sent."""
    return RefusalObject.model_validate(value, from_attributes=True)


def dead_letter(value: DeadLetter) -> DeadLetterObject:
    """Return a dead letter as it is sent in a list."""
    work, failure = value.work, value.failure
    return DeadLetterObject(
        id=value.id,
        stage=work.stage,
        frame_id=work.subject_id if work.stage.is_about_frames else None,
        event_id=None if work.stage.is_about_frames else work.subject_id,
        camera_id=work.camera_id,
        reason=failure.reason,
        service=failure.service,
        attempts=value.attempts,
        replays=value.replays,
        enqueued_at=value.enqueued_at,
        died_at=value.died_at,
    )


def full_dead_letter(value: DeadLetter) -> FullDeadLetterObject:
    """Return a dead letter as it is sent alone."""
    shown = dead_letter(value)
    return FullDeadLetterObject(
        **dict(shown),
        trace=value.failure.trace,
        picture=None if shown.frame_id is None else f"/api/frames/{shown.frame_id}/picture.jpg",
        discarded_at=value.discarded_at,
    )


def backup(value: StoredBackup) -> BackupObject:
    """Return a backup as it is sent."""
    return BackupObject.model_validate(value, from_attributes=True)


def running_backup(value: RunningBackup) -> RunningBackupObject:
    """Return a backup that is being made as it is sent."""
    return RunningBackupObject.model_validate(value, from_attributes=True)


def amount(value: Amount) -> AmountObject:
    """Return an amount as it is sent."""
    return AmountObject.model_validate(value, from_attributes=True)


def cleanup(report: CleanupReport) -> CleanupObject:
    """Return what a cleanup deleted as it is sent."""
    return CleanupObject.model_validate(report, from_attributes=True)


def storage(report: StorageReport) -> StorageObject:
    """Return what is kept as it is sent."""
    stored = report.stored
    return StorageObject(
        database_bytes=report.database_bytes,
        events={level: amount(kept) for level, kept in stored.events.items()},
        frames=amount(stored.frames),
        clips=amount(stored.clips),
        trash=amount(stored.trash),
        oldest_event_at=stored.oldest_event_at,
        cameras=tuple(CameraStorageObject.model_validate(camera, from_attributes=True) for camera in stored.cameras),
        disks=tuple(DiskObject.model_validate(disk, from_attributes=True) for disk in report.disks),
        problems=report.problems,
        next_cleanup_at=report.next_cleanup_at,
        next_cleanup=cleanup(report.next_cleanup),
    )


def component(health: ComponentHealth) -> ComponentObject:
    """Return a component's health as it is sent."""
    return ComponentObject(
        name=health.name,
        state=health.state,
        since=health.since,
        last_error=health.last_error,
        still_works=health.still_works,
        remedy=health.remedy,
        details=dict(health.details),
    )


def _occupancy(categories: frozenset[Category]) -> OccupancyObject:
    return OccupancyObject(
        person=Category.PERSON in categories,
        vehicle=Category.VEHICLE in categories,
        animal=Category.ANIMAL in categories,
    )


def _detection(sighting: Sighting, ordinal: int, found: Detection) -> DetectionObject:
    return DetectionObject(
        frame_id=sighting.frame_id,
        ordinal=ordinal,
        captured_at=sighting.captured_at,
        label=found.label,
        confidence=found.confidence,
        left_out=found.left_out,
        box=BoxObject.model_validate(found.box, from_attributes=True),
    )
