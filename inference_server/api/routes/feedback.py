# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the owner says of events, and what that changes."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPMethod
from types import NoneType
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.api import schema
from inference_server.api.context import ApiContext
from inference_server.api.problems import ProblemCode, ProblemError, camera_not_found, event_not_found, invalid_request
from inference_server.api.routes.cameras import OneCamera
from inference_server.api.routes.events import OneEvent
from inference_server.api.routing import AnyRoute, CameraId, Cursor, PageSize, Parameters, Route, RowId
from inference_server.api.schema import FeedbackObject, RiskObject, UtcTime, WireObject
from inference_server.core.announcement import Announcement, AnnouncementKind
from inference_server.core.assessment import RiskLevel, risk_level, total_score
from inference_server.core.detection import Category
from inference_server.core.event import Event
from inference_server.core.feedback import Experience, FeedbackKind, Opinion
from inference_server.risk import learning
from inference_server.risk.learning import Change, PastVerdict, School
from inference_server.storage import announcements, cameras, events, feedback, verdicts
from inference_server.storage.feedback import FeedbackFilter
from inference_server.storage.rows import BadCursorError
from inference_server.storage.tokens import Scope
from inference_server.storage.verdicts import RulesVerdict

LOOK_BACK = timedelta(days=30)
MOST_JUDGED_AGAIN = 1000
MOST_SHOWN = 50

Text = Annotated[str, Field(max_length=10_000)]


class OpinionBody(BaseModel):
    """What somebody says of an event."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: FeedbackKind
    level: RiskLevel | None = None
    name: Text | None = None
    note: Text = ""
    by: Text | None = None

    def opinion(self) -> Opinion:
        """Return it as a value of the core. Raises ProblemError."""
        return _opinion(self.kind, self.level, self.name, self.note, self.by)


class NewFeedback(OneEvent):
    """Names an event, and what is said of it."""

    body: OpinionBody


class OneFeedback(Parameters):
    """Names a piece of feedback."""

    feedback_id: RowId


class FeedbackQuery(Parameters):
    """Which feedback is wanted; `counting` false is what was withdrawn or replaced."""

    camera_id: CameraId | None = None
    event_id: RowId | None = None
    kind: FeedbackKind | None = None
    counting: bool | None = None
    limit: PageSize = 50
    cursor: Cursor | None = None


class EffectQuery(Parameters):
    """Names an event, and what might be said of it; without a kind it is about what was said."""

    event_id: RowId
    kind: FeedbackKind | None = None
    level: RiskLevel | None = None


class FeedbackPage(WireObject):
    """A page of feedback, newest first."""

    items: tuple[FeedbackObject, ...]
    next_cursor: str | None


class ChangeObject(WireObject):
    """A stored event, as the rules would judge it now without the feedback and with it."""

    event_id: int
    camera_id: str
    started_at: UtcTime
    before: RiskObject
    after: RiskObject


class LessonObject(WireObject):
    """The factor `learnt` of an event."""

    points: int
    evidence: str


class EffectObject(WireObject):
    """What one piece of feedback changes."""

    asks: float | None
    """The points that it asks for; null where it teaches nothing."""
    why_not: str | None
    lesson: LessonObject | None
    """What an event like its own is given now, by all feedback together; null where that is nothing."""
    judged_again: int
    changed: int
    raised: int
    lowered: int
    """To another level, both."""
    items: tuple[ChangeObject, ...]


class GivenFeedback(WireObject):
    """The feedback that was stored, and what it changes."""

    feedback: FeedbackObject
    effect: EffectObject


class CalibrationObject(WireObject):
    """What feedback adds to all events of a camera with objects of a kind, or takes from them."""

    category: Category | None
    points: float
    feedback: dict[FeedbackKind, int]


class CalibrationList(WireObject):
    """A camera's calibration by kind of object, and the most that it can be."""

    at_most: int
    items: tuple[CalibrationObject, ...]


@dataclass(frozen=True, slots=True)
class _Said:
    """What is said of an event, and what the event was like."""

    experience: Experience
    event: Event


async def give(context: ApiContext, asked: NewFeedback) -> GivenFeedback:
    """Store what is said of an event in the place of what was said before; the next judgement goes by it."""
    opinion = asked.body.opinion()
    async with context.database.writing() as connection:
        event = await events.get(connection, asked.event_id)
        if event is None:
            raise event_not_found(asked.event_id)
        await cameras.lock(connection, [event.camera_id])
        said = await _said(context, connection, asked.event_id, opinion)
        given = await feedback.give(connection, asked.event_id, said.experience)
        await _tell(context, connection, asked.event_id)
    context.announced.notify()
    return GivenFeedback(
        feedback=schema.feedback(given), effect=await _effect(context, asked.event_id, said.experience)
    )


async def get(context: ApiContext, asked: OneEvent) -> FeedbackObject:
    """Return what is said of an event."""
    async with context.database.reading() as connection:
        event = await events.get(connection, asked.event_id)
    if event is None:
        raise event_not_found(asked.event_id)
    if event.feedback is None:
        raise _nothing_said(asked.event_id)
    return schema.feedback(event.feedback)


async def withdraw_of_event(context: ApiContext, asked: OneEvent) -> None:
    """Withdraw what was said of an event: everything is judged as if it had never been said."""
    async with context.database.writing() as connection:
        event = await events.get(connection, asked.event_id)
        if event is None:
            raise event_not_found(asked.event_id)
        await cameras.lock(connection, [event.camera_id])
        if not await feedback.withdraw_of_event(connection, asked.event_id, context.clock.now()):
            raise _nothing_said(asked.event_id)
        await _tell(context, connection, asked.event_id)
    context.announced.notify()


async def withdraw(context: ApiContext, asked: OneFeedback) -> None:
    """Withdraw one piece of feedback, also of an event that was deleted since."""
    async with context.database.writing() as connection:
        known = await feedback.get(connection, asked.feedback_id)
        if known is not None:
            await cameras.lock(connection, [known.camera_id])
        if known is None or not await feedback.withdraw(connection, asked.feedback_id, context.clock.now()):
            raise ProblemError(
                ProblemCode.FEEDBACK_NOT_FOUND,
                f"There is no feedback {asked.feedback_id} that counts.",
                "GET /api/feedback?counting=true lists it.",
            )
        if known.event_id is not None:
            await _tell(context, connection, known.event_id)
    context.announced.notify()


async def find(context: ApiContext, asked: FeedbackQuery) -> FeedbackPage:
    """Return a page of feedback."""
    wanted = FeedbackFilter(asked.camera_id, asked.event_id, asked.kind, asked.counting)
    async with context.database.reading() as connection:
        try:
            page = await feedback.find(connection, wanted, limit=asked.limit, cursor=asked.cursor)
        except BadCursorError as error:
            raise invalid_request(f"cursor: {error}.", "Use the `next_cursor` of the page before.") from error
    return FeedbackPage(items=tuple(map(schema.feedback, page.items)), next_cursor=page.next_cursor)


async def effect(context: ApiContext, asked: EffectQuery) -> EffectObject:
    """Return what is changed by what was said of an event, or would be by what might be."""
    async with context.database.reading() as connection:
        if asked.kind is not None:
            name = "somebody" if asked.kind.of_somebody_known else None
            tried = _opinion(asked.kind, asked.level, name, "", None)
            experience = (await _said(context, connection, asked.event_id, tried)).experience
        elif asked.level is not None:
            raise invalid_request("level: it belongs to a kind.", "Name the kind too.")
        else:
            if await events.get(connection, asked.event_id) is None:
                raise event_not_found(asked.event_id)
            stored = await feedback.experience_of_event(connection, asked.event_id)
            if stored is None:
                raise _nothing_said(asked.event_id)
            experience = stored
    return await _effect(context, asked.event_id, experience)


async def calibration(context: ApiContext, asked: OneCamera) -> CalibrationList:
    """Return what feedback does to all events of a camera."""
    async with context.database.reading() as connection:
        if not await cameras.get_many(connection, [asked.camera_id]):
            raise camera_not_found(asked.camera_id)
        known = await feedback.experiences(connection)
    school = await asyncio.to_thread(School, known, context.thresholds, context.weights)
    items = school.calibration(asked.camera_id, context.clock.now())
    return CalibrationList(
        at_most=abs(context.weights["learnt"].fixed()),
        items=tuple(
            CalibrationObject(category=item.category, points=item.points, feedback=dict(item.kinds)) for item in items
        ),
    )


def _opinion(kind: FeedbackKind, level: RiskLevel | None, name: str | None, note: str, by: str | None) -> Opinion:
    try:
        return Opinion(kind, level, name, note, by)
    except ValueError as error:
        raise invalid_request(f"{error}.".capitalize()) from error


def _nothing_said(event_id: int) -> ProblemError:
    return ProblemError(
        ProblemCode.FEEDBACK_NOT_FOUND,
        f"Nothing is said of event {event_id}.",
        f"PUT /api/events/{event_id}/feedback says something.",
    )


async def _said(context: ApiContext, connection: AsyncConnection, event_id: int, opinion: Opinion) -> _Said:
    """Return an opinion with what its event was like. Raises ProblemError."""
    event = await events.get(connection, event_id)
    verdict = await verdicts.by_rules(connection, event_id)
    if event is None or verdict is None:
        raise event_not_found(event_id)
    known = opinion.kind.of_somebody_known
    if known is not None and not any(track.label.category is known for track in event.tracks):
        raise invalid_request(f"Event {event_id} shows no {known}.", "Use another kind.")
    level = risk_level(event.assessment.score, context.thresholds)
    if opinion.kind is FeedbackKind.WRONG_SEVERITY and opinion.level is level:
        raise invalid_request(f"Event {event_id} is {level} already.", "Use the kind correct, or another level.")
    past = _past(context, verdict)
    ordinary = learning.ordinary(verdict.factors)
    threatened = learning.is_threatened(ordinary)
    return _Said(Experience(opinion, context.clock.now(), past.signature, total_score(ordinary), threatened), event)


def _past(context: ApiContext, verdict: RulesVerdict) -> PastVerdict:
    local = verdict.last_detection_at.astimezone(context.zone)
    night = learning.was_night(verdict.factors, local, context.risk.night_starts_hour, context.risk.night_ends_hour)
    camera_id, place = verdict.camera_id, verdict.place
    like = learning.signature(camera_id, place, verdict.tracks, verdict.factors, night=night)
    return PastVerdict(verdict.event_id, verdict.started_at, like, verdict.factors)


async def _tell(context: ApiContext, connection: AsyncConnection, event_id: int) -> None:
    """Announce an event with what is said of it now."""
    event = await events.get(connection, event_id)
    if event is None:
        return
    state = await cameras.state(connection, event.camera_id, judged=context.detector_status().judges)
    told = Announcement(AnnouncementKind.EVENT_UPDATED, event.camera_id, context.clock.now(), state, event)
    await announcements.add(connection, [told])


async def _effect(context: ApiContext, event_id: int, experience: Experience) -> EffectObject:
    """Judge the events of the last days again, without what is said of one of them and with it."""
    now = context.clock.now()
    async with context.database.reading() as connection:
        others = await feedback.experiences(connection, but_of=event_id)
        found = await verdicts.past(connection, now - LOOK_BACK, MOST_JUDGED_AGAIN)
    return await asyncio.to_thread(_compare, context, others, experience, found)


def _compare(
    context: ApiContext, others: list[Experience], experience: Experience, found: list[RulesVerdict]
) -> EffectObject:
    now = context.clock.now()
    before = School(others, context.thresholds, context.weights)
    after = School([*others, experience], context.thresholds, context.weights)
    past = [_past(context, verdict) for verdict in found]
    changes = learning.effect(past, before, after, context.weights, now)
    items = [_change(context, change) for change in changes]
    lesson = after.lesson(experience.signature, now)
    asks = learning.asked_points(experience, learning.middles(context.thresholds))
    return EffectObject(
        asks=asks,
        why_not=_THREAT if asks is None else None,
        lesson=LessonObject(points=lesson.points, evidence=lesson.evidence) if lesson else None,
        judged_again=len(past),
        changed=len(items),
        raised=sum(item.after.level.rank > item.before.level.rank for item in items),
        lowered=sum(item.after.level.rank < item.before.level.rank for item in items),
        items=tuple(items[:MOST_SHOWN]),
    )


_THREAT = "The event has a threat among its factors, which feedback never lowers. The feedback is kept, and shown."


def _change(context: ApiContext, change: Change) -> ChangeObject:
    return ChangeObject(
        event_id=change.verdict.event_id,
        camera_id=change.verdict.signature.camera_id,
        started_at=change.verdict.started_at,
        before=schema.risk(change.before, context.thresholds),
        after=schema.risk(change.after, context.thresholds),
    )


_OF_EVENT = "/api/events/{event_id}/feedback"
_NOT_FOUND = (ProblemCode.EVENT_NOT_FOUND, ProblemCode.FEEDBACK_NOT_FOUND)

ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method=HTTPMethod.PUT,
        path=_OF_EVENT,
        summary="Say how an event was judged; this replaces what was said of it before",
        scope=Scope.INTEGRATION,
        parameters=NewFeedback,
        answer=GivenFeedback,
        handler=give,
        problems=(ProblemCode.EVENT_NOT_FOUND, ProblemCode.TOO_SLOW),
    ),
    Route(
        path=_OF_EVENT,
        summary="What is said of an event",
        scope=Scope.READ,
        parameters=OneEvent,
        answer=FeedbackObject,
        handler=get,
        problems=_NOT_FOUND,
    ),
    Route(
        method=HTTPMethod.DELETE,
        path=_OF_EVENT,
        summary="Withdraw what was said of an event",
        scope=Scope.INTEGRATION,
        parameters=OneEvent,
        answer=NoneType,
        handler=withdraw_of_event,
        problems=_NOT_FOUND,
    ),
    Route(
        path="/api/feedback",
        summary="Feedback, newest first",
        scope=Scope.READ,
        parameters=FeedbackQuery,
        answer=FeedbackPage,
        handler=find,
    ),
    Route(
        path="/api/feedback/effect",
        summary="What feedback on an event changes, or would change",
        scope=Scope.READ,
        parameters=EffectQuery,
        answer=EffectObject,
        handler=effect,
        problems=_NOT_FOUND,
    ),
    Route(
        method=HTTPMethod.DELETE,
        path="/api/feedback/{feedback_id}",
        summary="Withdraw one piece of feedback",
        scope=Scope.INTEGRATION,
        parameters=OneFeedback,
        answer=NoneType,
        handler=withdraw,
        problems=(ProblemCode.FEEDBACK_NOT_FOUND,),
    ),
    Route(
        path="/api/cameras/{camera_id}/calibration",
        summary="What feedback does to all events of a camera",
        scope=Scope.READ,
        parameters=OneCamera,
        answer=CalibrationList,
        handler=calibration,
        problems=(ProblemCode.CAMERA_NOT_FOUND,),
    ),
)
