# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries on feedback."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.assessment import RiskLevel
from inference_server.core.context import CameraPlace
from inference_server.core.detection import Category
from inference_server.core.feedback import Experience, Feedback, FeedbackKind, Opinion, Signature
from inference_server.storage.rows import AnyRow, Page, decode_moment, encode_moment, insert
from inference_server.storage.tables import feedback, feedback_state

_COUNTS = feedback.c.withdrawn_at.is_(None)


@dataclass(frozen=True, slots=True)
class FeedbackFilter:
    """Which feedback a list holds; None means all. What is not `counting` was withdrawn or replaced."""

    camera_id: str | None = None
    event_id: int | None = None
    kind: FeedbackKind | None = None
    counting: bool | None = None


async def give(connection: AsyncConnection, event_id: int, experience: Experience) -> Feedback:
    """Add feedback on an event in the place of what was said of it before. The event's camera must be locked."""
    signature, opinion = experience.signature, experience.opinion
    await _withdraw(connection, feedback.c.event_id == event_id, experience.given_at)
    query = feedback.insert().values(
        camera_id=signature.camera_id,
        event_id=event_id,
        kind=opinion.kind.value,
        level=opinion.level.value if opinion.level else None,
        name=opinion.name,
        note=opinion.note,
        given_by=opinion.by,
        given_at=experience.given_at,
        place=signature.place.value,
        category=signature.category.value if signature.category else None,
        night=signature.night,
        features=sorted(signature.features),
        score=experience.score,
        threatened=experience.threatened,
    )
    feedback_id = int((await connection.execute(query.returning(feedback.c.id))).scalar_one())
    await _renew_stamp(connection)
    return Feedback(feedback_id, signature.camera_id, event_id, opinion, experience.given_at)


async def withdraw(connection: AsyncConnection, feedback_id: int, at: datetime) -> bool:
    """Withdraw one piece of feedback. Return whether it was there and counted."""
    return await _withdraw_and_tell(connection, feedback.c.id == feedback_id, at)


async def withdraw_of_event(connection: AsyncConnection, event_id: int, at: datetime) -> bool:
    """Withdraw what was said of an event. Return whether there was something."""
    return await _withdraw_and_tell(connection, feedback.c.event_id == event_id, at)


async def get(connection: AsyncConnection, feedback_id: int) -> Feedback | None:
    """Return one piece of feedback, withdrawn or not."""
    row = (await connection.execute(select(feedback).where(feedback.c.id == feedback_id))).first()
    return _of_row(row) if row else None


async def experience_of_event(connection: AsyncConnection, event_id: int) -> Experience | None:
    """Return what is said of an event, with what it was like."""
    row = (await connection.execute(select(feedback).where(feedback.c.event_id == event_id, _COUNTS))).first()
    return _experience(row) if row else None


async def experiences(connection: AsyncConnection, *, but_of: int | None = None) -> list[Experience]:
    """Return all feedback that counts; that on the event `but_of` is left out."""
    query = select(feedback).where(_COUNTS).order_by(feedback.c.id)
    if but_of is not None:
        query = query.where(or_(feedback.c.event_id.is_(None), feedback.c.event_id != but_of))
    return [_experience(row) for row in await connection.execute(query)]


async def find(
    connection: AsyncConnection, wanted: FeedbackFilter, *, limit: int, cursor: str | None
) -> Page[Feedback]:
    """Return feedback, newest first. Raises BadCursorError."""
    query = select(feedback).order_by(feedback.c.given_at.desc(), feedback.c.id.desc())
    if wanted.camera_id is not None:
        query = query.where(feedback.c.camera_id == wanted.camera_id)
    if wanted.event_id is not None:
        query = query.where(feedback.c.event_id == wanted.event_id)
    if wanted.kind is not None:
        query = query.where(feedback.c.kind == wanted.kind.value)
    if wanted.counting is not None:
        query = query.where(_COUNTS if wanted.counting else feedback.c.withdrawn_at.is_not(None))
    if cursor is not None:
        at, last_id = decode_moment(cursor)
        same = and_(feedback.c.given_at == at, feedback.c.id < last_id)
        query = query.where(or_(feedback.c.given_at < at, same))
    rows = (await connection.execute(query.limit(limit + 1))).all()
    items = tuple(_of_row(row) for row in rows[:limit])
    return Page(items, encode_moment(items[-1].given_at, items[-1].id) if len(rows) > limit else None)


async def counts(connection: AsyncConnection) -> Mapping[FeedbackKind, int]:
    """Return how much feedback of each kind counts."""
    query = select(feedback.c.kind, func.count()).where(_COUNTS).group_by(feedback.c.kind)
    found = {FeedbackKind(kind): number for kind, number in (await connection.execute(query)).all()}
    return {kind: found.get(kind, 0) for kind in FeedbackKind}


async def stamp(connection: AsyncConnection) -> str | None:
    """Return a text that is another one whenever the feedback that counts is; None while there was none."""
    found: str | None = (await connection.execute(select(feedback_state.c.stamp))).scalar()
    return found


async def prune(connection: AsyncConnection, before: datetime) -> int:
    """Delete what was given before. Return how much that was."""
    deleted = (await connection.execute(delete(feedback).where(feedback.c.given_at < before))).rowcount
    if deleted:
        await _renew_stamp(connection)
    return deleted


async def _withdraw(connection: AsyncConnection, which: ColumnElement[bool], at: datetime) -> int:
    query = update(feedback).where(which, _COUNTS).values(withdrawn_at=at)
    return (await connection.execute(query)).rowcount


async def _withdraw_and_tell(connection: AsyncConnection, which: ColumnElement[bool], at: datetime) -> bool:
    if await _withdraw(connection, which, at) == 0:
        return False
    await _renew_stamp(connection)
    return True


async def _renew_stamp(connection: AsyncConnection) -> None:
    new = secrets.token_hex(16)
    query = insert(connection, feedback_state).values(id=1, stamp=new)
    await connection.execute(query.on_conflict_do_update(index_elements=["id"], set_={"stamp": new}))


def _of_row(row: AnyRow) -> Feedback:
    return Feedback(row.id, row.camera_id, row.event_id, _opinion(row), row.given_at, row.withdrawn_at)


def _opinion(row: AnyRow) -> Opinion:
    level = RiskLevel(row.level) if row.level else None
    return Opinion(FeedbackKind(row.kind), level, row.name, row.note, row.given_by)


def _experience(row: AnyRow) -> Experience:
    category = Category(row.category) if row.category else None
    features = frozenset(row.features)
    signature = Signature(row.camera_id, CameraPlace(row.place), category, row.night, features)
    return Experience(_opinion(row), row.given_at, signature, row.score, row.threatened)
