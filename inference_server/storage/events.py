# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries on events and their assessments."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Select, and_, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.assessment import Analysis, Assessment, AssessmentSource, Factor, RiskLevel
from inference_server.core.detection import Track
from inference_server.core.event import EndReason, Event
from inference_server.core.feedback import Feedback, FeedbackKind, Opinion
from inference_server.storage import clips
from inference_server.storage.rows import AnyRow, Page, decode_moment, encode_moment
from inference_server.storage.tables import assessments, cameras, events, feedback, incident_events

_TRACKS = TypeAdapter(tuple[Track, ...])
_FACTORS = TypeAdapter(tuple[Factor, ...])
_ANALYSIS = TypeAdapter(Analysis | None)
_SAID = ("id", "kind", "level", "name", "note", "given_by", "given_at")


@dataclass(frozen=True, slots=True)
class EventChange:
    """What a new frame makes of an event."""

    last_detection_at: datetime
    frame_count: int
    best_frame_id: int
    best_confidence: float
    tracks: tuple[Track, ...]
    assessment: Assessment
    evidence: str | None = None
    """What the rules judged by, to be kept; None where nothing is known of that."""


@dataclass(frozen=True, slots=True)
class Analysable:
    """An event as the analyst finds it: with what the rules judged by, and when the analyst was asked last."""

    event: Event
    camera_name: str
    evidence: str | None
    analysed_at: datetime | None


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events a list holds; None means all."""

    camera_id: str | None = None
    min_score: int | None = None
    since: datetime | None = None
    until: datetime | None = None


async def start(
    connection: AsyncConnection,
    camera_id: str,
    started_at: datetime,
    change: EventChange,
    ended: tuple[datetime, EndReason] | None = None,
) -> Event:
    """Add an event and return it: an open one, of which a camera has one at most (a second raises IntegrityError), or
    one of the past, which ended when and because `ended` says.
    """
    ended_at, reason = ended or (None, None)
    query = events.insert().values(
        camera_id=camera_id,
        started_at=started_at,
        ended_at=ended_at,
        end_reason=reason.value if reason else None,
        **_columns(change),
    )
    event_id = (await connection.execute(query.returning(events.c.id))).scalar_one()
    assessment_id = await _add_assessment(connection, event_id, change.assessment)
    await connection.execute(update(events).where(events.c.id == event_id).values(assessment_id=assessment_id))
    return Event(
        id=event_id,
        camera_id=camera_id,
        started_at=started_at,
        ended_at=ended_at,
        end_reason=reason,
        **_fields(change),
    )


async def change(connection: AsyncConnection, event: Event, change: EventChange) -> Event:
    """Write what frames changed and return the event as it is now; an unchanged verdict is not stored again."""
    columns = _columns(change)
    if _verdict(event.assessment) == _verdict(change.assessment):
        change = replace(change, assessment=event.assessment)
    else:
        columns["assessment_id"] = await _add_assessment(connection, event.id, change.assessment)
    await connection.execute(update(events).where(events.c.id == event.id).values(**columns))
    return replace(event, **_fields(change))


async def reassess(connection: AsyncConnection, event: Event, assessment: Assessment) -> Event:
    """Let another assessment of an event stand and return the event."""
    assessment_id = await _add_assessment(connection, event.id, assessment)
    columns = {"assessment_id": assessment_id, "score": assessment.score}
    await connection.execute(update(events).where(events.c.id == event.id).values(columns))
    return replace(event, assessment=assessment)


async def analysable(connection: AsyncConnection, event_id: int) -> Analysable | None:
    """Return an event for the analyst, or None when there is none or it is in the trash."""
    event = await get(connection, event_id)
    if event is None:
        return None
    query = select(events.c.evidence, events.c.analysed_at, cameras.c.name).join(cameras)
    row = (await connection.execute(query.where(events.c.id == event_id))).one()
    return Analysable(event, row.name, row.evidence, row.analysed_at)


async def note_analysis(connection: AsyncConnection, event_id: int, at: datetime) -> None:
    """Note that the analyst is being asked about an event."""
    await connection.execute(update(events).where(events.c.id == event_id).values(analysed_at=at))


async def assessments_of(connection: AsyncConnection, event_id: int) -> tuple[Assessment, ...]:
    """Return every assessment that an event has had, oldest first."""
    rows = await connection.execute(
        select(assessments).where(assessments.c.event_id == event_id).order_by(assessments.c.id)
    )
    return tuple(_assessment(row) for row in rows)


async def end(connection: AsyncConnection, event: Event, at: datetime, reason: EndReason) -> Event:
    """Close an event and return it."""
    await connection.execute(update(events).where(events.c.id == event.id).values(ended_at=at, end_reason=reason.value))
    return replace(event, ended_at=at, end_reason=reason)


async def get(connection: AsyncConnection, event_id: int) -> Event | None:
    """Return an event, or None when there is none or it is in the trash."""
    return next(iter(await get_many(connection, [event_id])), None)


async def get_many(connection: AsyncConnection, event_ids: Sequence[int]) -> tuple[Event, ...]:
    """Return the events that exist and are not in the trash, oldest first."""
    query = joined().where(events.c.id.in_(event_ids), events.c.deleted_at.is_(None)).order_by(events.c.id)
    return await with_clips(connection, map(of_row, await connection.execute(query)))


async def open_event(connection: AsyncConnection, camera_id: str) -> Event | None:
    """Return a camera's open event, or None."""
    return (await open_events_of(connection, [camera_id])).get(camera_id)


async def open_events_of(connection: AsyncConnection, camera_ids: Iterable[str]) -> Mapping[str, Event]:
    """Return the open events of these cameras, by camera id."""
    query = joined().where(events.c.camera_id.in_(list(camera_ids)), events.c.ended_at.is_(None))
    found = await with_clips(connection, map(of_row, await connection.execute(query)))
    return {event.camera_id: event for event in found}


async def last_end(connection: AsyncConnection, camera_id: str) -> datetime | None:
    """Return when the camera's newest event ended, or None when it had none or that is open."""
    newest_first = (events.c.started_at.desc(), events.c.id.desc())
    query = select(events.c.ended_at).where(events.c.camera_id == camera_id).order_by(*newest_first).limit(1)
    return (await connection.execute(query)).scalar()


async def past_event(connection: AsyncConnection, camera_id: str, at: datetime, max_frames: int) -> Event | None:
    """Return a camera's event that had begun and not yet ended at a time and has fewer frames than that, if any."""
    query = joined().where(
        events.c.camera_id == camera_id,
        events.c.started_at <= at,
        events.c.ended_at >= at,
        events.c.frame_count < max_frames,
        events.c.deleted_at.is_(None),
    )
    row = (await connection.execute(query.order_by(events.c.started_at.desc(), events.c.id.desc()).limit(1))).first()
    return of_row(row) if row else None


async def open_events(connection: AsyncConnection) -> tuple[Event, ...]:
    """Return every open event, oldest first."""
    rows = await connection.execute(joined().where(events.c.ended_at.is_(None)).order_by(events.c.id))
    return await with_clips(connection, map(of_row, rows))


async def find(connection: AsyncConnection, wanted: EventFilter, *, limit: int, cursor: str | None) -> Page[Event]:
    """Return events, newest first. Raises BadCursorError."""
    query = joined().where(events.c.deleted_at.is_(None))
    query = query.order_by(events.c.started_at.desc(), events.c.id.desc())
    if wanted.camera_id is not None:
        query = query.where(events.c.camera_id == wanted.camera_id)
    if wanted.min_score is not None:
        query = query.where(events.c.score >= wanted.min_score)
    if wanted.since is not None:
        query = query.where(events.c.started_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(events.c.started_at < wanted.until)
    if cursor is not None:
        at, last_id = decode_moment(cursor)
        same = and_(events.c.started_at == at, events.c.id < last_id)
        query = query.where(or_(events.c.started_at < at, same))
    rows = (await connection.execute(query.limit(limit + 1))).all()
    items = await with_clips(connection, map(of_row, rows[:limit]))
    return Page(items, encode_moment(items[-1].started_at, items[-1].id) if len(rows) > limit else None)


async def with_clips(connection: AsyncConnection, found: Iterable[Event]) -> tuple[Event, ...]:
    """Return these events with the clips that show them now."""
    found = tuple(found)
    shown = await clips.of_events(connection, [event.id for event in found]) if found else {}
    return tuple(replace(event, clips=shown.get(event.id, ())) for event in found)


def rules_assessment() -> ColumnElement[bool]:
    """Return the condition that an assessment is the last one of its event by the rules; for a join of the two."""
    last = select(func.max(assessments.c.id)).where(
        assessments.c.event_id == events.c.id, assessments.c.source == AssessmentSource.RULES.value
    )
    return assessments.c.id == last.correlate(events).scalar_subquery()


def factors_of(stored: object) -> tuple[Factor, ...]:
    """Return the factors in an assessment's column."""
    return _FACTORS.validate_python(stored)


async def _add_assessment(connection: AsyncConnection, event_id: int, assessment: Assessment) -> int:
    query = assessments.insert().values(
        event_id=event_id,
        score=assessment.score,
        summary=assessment.summary,
        reasoning=assessment.reasoning,
        factors=_FACTORS.dump_python(assessment.factors, mode="json"),
        source=assessment.source.value,
        verified=assessment.verified,
        assessed_at=assessment.assessed_at,
        analysis=_ANALYSIS.dump_python(assessment.analysis, mode="json"),
    )
    return int((await connection.execute(query.returning(assessments.c.id))).scalar_one())


def _verdict(assessment: Assessment) -> tuple[object, ...]:
    return (assessment.score, assessment.summary, assessment.factors, assessment.source, assessment.verified)


def _fields(change: EventChange) -> dict[str, Any]:
    return {field.name: getattr(change, field.name) for field in fields(change) if field.name != "evidence"}


def _columns(change: EventChange) -> dict[str, Any]:
    return {
        "last_detection_at": change.last_detection_at,
        "frame_count": change.frame_count,
        "best_frame_id": change.best_frame_id,
        "best_confidence": change.best_confidence,
        "tracks": _TRACKS.dump_python(change.tracks, mode="json"),
        "score": change.assessment.score,
        "evidence": change.evidence,
    }


_SHOWN = [column for column in events.c if column.name not in {"evidence", "analysed_at"}]


def joined() -> Select[tuple[object, ...]]:
    """Return a query of events with what their assessments and their owner say; `of_row` reads its rows."""
    verdict = [column for column in assessments.c if column.name not in {"id", "event_id", "score"}]
    said = [feedback.c[name].label(f"feedback_{name}") for name in _SAID]
    counting = and_(feedback.c.event_id == events.c.id, feedback.c.withdrawn_at.is_(None))
    query = select(*_SHOWN, *verdict, *said, incident_events.c.incident_id)
    query = query.join(assessments, assessments.c.id == events.c.assessment_id).outerjoin(feedback, counting)
    return query.outerjoin(incident_events, incident_events.c.event_id == events.c.id)


def tracks_of(stored: object) -> tuple[Track, ...]:
    """Return the tracks in an event's column."""
    return _TRACKS.validate_python(stored)


def of_row(row: AnyRow) -> Event:
    """Return the event in a row of `joined`."""
    return Event(
        id=row.id,
        camera_id=row.camera_id,
        started_at=row.started_at,
        last_detection_at=row.last_detection_at,
        ended_at=row.ended_at,
        end_reason=EndReason(row.end_reason) if row.end_reason else None,
        frame_count=row.frame_count,
        best_frame_id=row.best_frame_id,
        best_confidence=row.best_confidence,
        tracks=tracks_of(row.tracks),
        assessment=_assessment(row),
        feedback=_feedback(row) if row.feedback_id is not None else None,
        incident_id=row.incident_id,
    )


def _feedback(row: AnyRow) -> Feedback:
    level = RiskLevel(row.feedback_level) if row.feedback_level else None
    kind = FeedbackKind(row.feedback_kind)
    opinion = Opinion(kind, level, row.feedback_name, row.feedback_note, row.feedback_given_by)
    return Feedback(row.feedback_id, row.camera_id, row.id, opinion, row.feedback_given_at)


def _assessment(row: AnyRow) -> Assessment:
    return Assessment(
        score=row.score,
        summary=row.summary,
        reasoning=row.reasoning,
        factors=_FACTORS.validate_python(row.factors),
        source=AssessmentSource(row.source),
        verified=row.verified,
        assessed_at=row.assessed_at,
        analysis=_ANALYSIS.validate_python(row.analysis),
    )
