# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries on what may be deleted, and its deletion: rows in one transaction, whose files are deleted after its commit.

The age of a frame counts from its arrival, and that of an event from the arrival of its best frame: a camera's clock
may be wrong. What is open, shown or still to be worked on stays, and so does each camera's last picture.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, exists, func, not_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.cleanup import Amount
from inference_server.core.message import StageName
from inference_server.storage.cameras import lock
from inference_server.storage.tables import (
    arrivals,
    assessments,
    cameras,
    clips,
    dead_letters,
    detections,
    events,
    feedback,
    frames,
    messages,
)

FRAMES_AT_ONCE = 50
"""Frames that one transaction deletes at most, so that others need not wait for it."""
_FRAME_STAGES = [stage.value for stage in StageName if stage.is_about_frames]
_EVENT_STAGES = [stage.value for stage in StageName if not stage.is_about_frames]

type Condition = ColumnElement[bool]


@dataclass(frozen=True, slots=True)
class Deleted:
    """What a transaction deleted. The files, as paths below the media folder, are to follow its commit."""

    frames: tuple[str, ...] = ()
    clips: tuple[str, ...] = ()

    def __add__(self, other: "Deleted") -> "Deleted":
        """Return both together."""
        return Deleted(self.frames + other.frames, self.clips + other.clips)


@dataclass(frozen=True, slots=True)
class DeletedEvent:
    """What a transaction deleted of an event; `done` says whether the event itself is gone, too."""

    event_id: int
    camera_id: str
    files: Deleted
    done: bool
    was_last: bool = False
    """Whether it was its camera's last event."""


def expired_frames(before: datetime) -> Condition:
    """Return the condition of frames that arrived before and that nothing needs."""
    of_event = exists().where(detections.c.frame_id == frames.c.id, detections.c.event_id.is_not(None))
    shown = exists().where(events.c.best_frame_id == frames.c.id)
    waits = _waits(frames.c.id, _FRAME_STAGES)
    return and_(frames.c.arrived_at < before, not_(or_(of_event, shown, waits, _is_last_picture())))


def expired_events(scores: range, before: datetime) -> Condition:
    """Return the condition of ended events with these scores that arrived before and that nothing needs."""
    of_score = events.c.score.between(scores.start, scores.stop - 1)
    return and_(events.c.deleted_at.is_(None), of_score, _arrived(before), _is_over())


def expired_trash(before: datetime | None, arrived_before: datetime | None = None) -> Condition:
    """Return the condition of events that were put into the trash before; None stands for all."""
    old = events.c.deleted_at.is_not(None) if before is None else events.c.deleted_at < before
    return and_(old, _is_over(), *([] if arrived_before is None else [_arrived(arrived_before)]))


def expired_clips(before: datetime) -> Condition:
    """Return the condition of clips that arrived before and still have their file."""
    return and_(clips.c.arrived_at < before, clips.c.pruned_at.is_(None))


async def find_frames(connection: AsyncConnection, wanted: Condition, *, after: int) -> Sequence[int]:
    """Return the ids of the next such frames above an id, oldest first."""
    query = select(frames.c.id).where(frames.c.id > after, wanted).order_by(frames.c.id).limit(FRAMES_AT_ONCE)
    return (await connection.execute(query)).scalars().all()


async def find_events(connection: AsyncConnection, wanted: Condition, *, after: int, limit: int) -> Sequence[int]:
    """Return the ids of the next such events above an id, oldest first."""
    query = select(events.c.id).where(events.c.id > after, wanted).order_by(events.c.id).limit(limit)
    return (await connection.execute(query)).scalars().all()


async def delete_frames(connection: AsyncConnection, ids: Sequence[int], wanted: Condition) -> Deleted:
    """Delete those of the frames that still meet the condition; arrivals remember that their files were seen."""
    rows = (await connection.execute(select(frames.c.id).where(frames.c.id.in_(ids), wanted))).scalars().all()
    return await _delete_frames(connection, rows)


async def delete_event(connection: AsyncConnection, event_id: int, wanted: Condition) -> DeletedEvent | None:
    """Delete an event that still meets the condition, with its frames; None when it does not.

    Of one with many frames only some others than its best one go; call again until it is done.
    """
    of_camera = select(events.c.camera_id).where(events.c.id == event_id)
    camera_id: str | None = (await connection.execute(of_camera)).scalar()
    if camera_id is None:
        return None
    await lock(connection, [camera_id])
    best = select(events.c.best_frame_id).where(events.c.id == event_id, wanted)
    best_id = (await connection.execute(best)).scalar()
    if best_id is None:
        return None
    of_event = select(detections.c.frame_id).where(detections.c.event_id == event_id)
    others = select(frames.c.id).where(frames.c.id.in_(of_event), frames.c.id != best_id, not_(_is_last_picture()))
    ids = (await connection.execute(others.order_by(frames.c.id).limit(FRAMES_AT_ONCE))).scalars().all()
    files = await _delete_frames(connection, ids)
    if len(ids) == FRAMES_AT_ONCE:
        return DeletedEvent(event_id, camera_id, files, done=False)
    await connection.execute(delete(detections).where(detections.c.event_id == event_id))
    await connection.execute(delete(assessments).where(assessments.c.event_id == event_id))
    await _delete_discarded(connection, _EVENT_STAGES, [event_id])
    await connection.execute(update(feedback).where(feedback.c.event_id == event_id).values(event_id=None))
    await connection.execute(delete(events).where(events.c.id == event_id))
    free_best = select(frames.c.id).where(frames.c.id == best_id, not_(_is_last_picture()))
    files += await _delete_frames(connection, (await connection.execute(free_best)).scalars().all())
    return DeletedEvent(event_id, camera_id, files, True, await renew_last_event(connection, camera_id, event_id))


async def renew_last_event(connection: AsyncConnection, camera_id: str, removed_id: int) -> bool:
    """Let a camera's last event be its newest listed one, if it was the removed one. Return whether it was."""
    was_last = select(cameras.c.id).where(cameras.c.id == camera_id, cameras.c.last_event_id == removed_id)
    if (await connection.execute(was_last)).scalar() is None:
        return False
    newest = select(events.c.id).where(events.c.camera_id == camera_id, events.c.deleted_at.is_(None))
    newest = newest.order_by(events.c.started_at.desc(), events.c.id.desc()).limit(1)
    changed = update(cameras).where(cameras.c.id == camera_id)
    await connection.execute(changed.values(last_event_id=newest.scalar_subquery()))
    return True


async def prune_clips(connection: AsyncConnection, before: datetime, at: datetime) -> Deleted:
    """Take the next clips' files from them, oldest first; one without frames is deleted altogether."""
    query = select(clips.c.id, clips.c.media_path).where(expired_clips(before))
    rows = (await connection.execute(query.order_by(clips.c.id).limit(FRAMES_AT_ONCE))).all()
    ids = [row.id for row in rows]
    await connection.execute(update(clips).where(clips.c.id.in_(ids)).values(pruned_at=at))
    await _delete_empty_clips(connection, ids)
    return Deleted(clips=tuple(row.media_path for row in rows))


async def frames_amount(connection: AsyncConnection, wanted: Condition) -> Amount:
    """Return how many frames meet a condition."""
    query = select(func.count(), func.coalesce(func.sum(frames.c.size_bytes), 0)).where(wanted)
    count, size = (await connection.execute(query)).one()
    return Amount(count, int(size))


async def events_amount(connection: AsyncConnection, wanted: Condition) -> Amount:
    """Return how many events meet a condition, with the bytes of their frames."""
    count = (await connection.execute(select(func.count()).select_from(events).where(wanted))).scalar_one()
    chosen = select(events.c.id).where(wanted)
    of_events = select(detections.c.frame_id).where(detections.c.event_id.in_(chosen))
    return Amount(count, (await frames_amount(connection, frames.c.id.in_(of_events))).bytes)


async def clips_amount(connection: AsyncConnection, wanted: Condition) -> Amount:
    """Return how many clips meet a condition."""
    query = select(func.count(), func.coalesce(func.sum(clips.c.size_bytes), 0)).where(wanted)
    count, size = (await connection.execute(query)).one()
    return Amount(count, int(size))


def _waits(subject: ColumnElement[int], stages: Iterable[str]) -> Condition:
    """Return the condition that a message or a dead letter of one of the stages is about this subject."""
    dead = and_(dead_letters.c.stage.in_(stages), dead_letters.c.subject_id == subject)
    return or_(
        exists().where(messages.c.stage.in_(stages), messages.c.subject_id == subject),
        exists().where(dead, dead_letters.c.discarded_at.is_(None)),
    )


async def _delete_discarded(connection: AsyncConnection, stages: Iterable[str], subjects: Sequence[int]) -> None:
    """Delete what was discarded of subjects that go: it accounts for them as long as they are there."""
    of_subjects = and_(dead_letters.c.stage.in_(stages), dead_letters.c.subject_id.in_(subjects))
    await connection.execute(delete(dead_letters).where(of_subjects, dead_letters.c.discarded_at.is_not(None)))


def _arrived(before: datetime) -> Condition:
    return exists().where(frames.c.id == events.c.best_frame_id, frames.c.arrived_at < before)


def _is_over() -> Condition:
    frame_waits = exists().where(detections.c.event_id == events.c.id, _waits(detections.c.frame_id, _FRAME_STAGES))
    return and_(events.c.ended_at.is_not(None), not_(or_(_waits(events.c.id, _EVENT_STAGES), frame_waits)))


def _is_last_picture() -> Condition:
    return exists().where(cameras.c.id == frames.c.camera_id, cameras.c.last_frame_id == frames.c.id)


async def _delete_frames(connection: AsyncConnection, ids: Sequence[int]) -> Deleted:
    if not ids:
        return Deleted()
    rows = (await connection.execute(select(frames).where(frames.c.id.in_(ids)))).all()
    await connection.execute(update(arrivals).where(arrivals.c.frame_id.in_(ids)).values(frame_id=None))
    await connection.execute(delete(detections).where(detections.c.frame_id.in_(ids)))
    await _delete_discarded(connection, _FRAME_STAGES, ids)
    await connection.execute(delete(frames).where(frames.c.id.in_(ids)))
    emptied = await _delete_empty_clips(connection, {row.clip_id for row in rows if row.clip_id is not None})
    return Deleted(tuple(row.media_path for row in rows), emptied)


async def _delete_empty_clips(connection: AsyncConnection, ids: Iterable[int]) -> tuple[str, ...]:
    empty = and_(clips.c.id.in_(list(ids)), not_(exists().where(frames.c.clip_id == clips.c.id)))
    rows = (await connection.execute(select(clips.c.id, clips.c.media_path).where(empty))).all()
    gone = [row.id for row in rows]
    if gone:
        await connection.execute(update(arrivals).where(arrivals.c.clip_id.in_(gone)).values(clip_id=None))
        await connection.execute(delete(clips).where(clips.c.id.in_(gone)))
    return tuple(row.media_path for row in rows if row.media_path)
