# SPDX-License-Identifier: AGPL-3.0-or-later
"""Events."""

from http import HTTPMethod
from types import NoneType

from inference_server.api import pictures, schema
from inference_server.api.context import ApiContext
from inference_server.api.pictures import Picture
from inference_server.api.problems import ProblemCode, ProblemError, event_not_found, invalid_request, no_picture
from inference_server.api.routing import (
    AnyRoute,
    CameraId,
    Cursor,
    PageSize,
    Parameters,
    PictureParameters,
    Route,
    RowId,
    Time,
)
from inference_server.api.schema import DetectionObject, EventObject, WireObject
from inference_server.core.assessment import RiskLevel, scores_of
from inference_server.storage import events, frames, trash
from inference_server.storage.events import EventFilter
from inference_server.storage.incidents import announcements_of
from inference_server.storage.rows import BadCursorError
from inference_server.storage.tokens import Scope


class EventPage(WireObject):
    """A page of events, newest first."""

    items: tuple[EventObject, ...]
    next_cursor: str | None


class DetectionList(WireObject):
    """Every detection of an event, oldest frame first."""

    items: tuple[DetectionObject, ...]


class EventQuery(Parameters):
    """Which events are wanted; `since` and `until` are about their start."""

    camera_id: CameraId | None = None
    min_level: RiskLevel | None = None
    since: Time | None = None
    until: Time | None = None
    limit: PageSize = 50
    cursor: Cursor | None = None


class OneEvent(Parameters):
    """Names an event."""

    event_id: RowId


class EventSnapshot(OneEvent, PictureParameters):
    """Names an event, whether boxes are drawn, and how the picture is wanted."""

    boxes: bool = True


async def find(context: ApiContext, asked: EventQuery) -> EventPage:
    """Return a page of events."""
    wanted = EventFilter(
        camera_id=asked.camera_id,
        min_score=None if asked.min_level is None else scores_of(asked.min_level, context.thresholds).start,
        since=asked.since,
        until=asked.until,
    )
    async with context.database.reading() as connection:
        try:
            page = await events.find(connection, wanted, limit=asked.limit, cursor=asked.cursor)
        except BadCursorError as error:
            raise invalid_request(f"cursor: {error}.", "Use the `next_cursor` of the page before.") from error
    return EventPage(
        items=tuple(schema.event(event, context.thresholds) for event in page.items), next_cursor=page.next_cursor
    )


async def get(context: ApiContext, asked: OneEvent) -> EventObject:
    """Return one event."""
    async with context.database.reading() as connection:
        event = await events.get(connection, asked.event_id)
    if event is None:
        raise event_not_found(asked.event_id)
    return schema.event(event, context.thresholds)


async def snapshot(context: ApiContext, asked: EventSnapshot) -> Picture:
    """Return the event's best frame, with boxes unless they are not wanted."""
    async with context.database.reading() as connection:
        event = await events.get(connection, asked.event_id)
        if event is None:
            raise event_not_found(asked.event_id)
        frame = await frames.get(connection, event.best_frame_id)
        if frame is None:
            raise no_picture(f"The best frame of event {event.id} is no longer kept.", "Ask for a newer event.")
        if not asked.boxes:
            return pictures.plain(context.media, frame, asked.look)
        sighting = (await frames.sightings(connection, [frame]))[frame.id]
    return pictures.annotated(context.media, frame, sighting.detections, asked.look)


async def detections(context: ApiContext, asked: OneEvent) -> DetectionList:
    """Return every detection of an event."""
    async with context.database.reading() as connection:
        if await events.get(connection, asked.event_id) is None:
            raise event_not_found(asked.event_id)
        sightings = await frames.sightings_of_event(connection, asked.event_id)
    return DetectionList(items=tuple(schema.detections(sightings)))


async def remove(context: ApiContext, asked: OneEvent) -> None:
    """Put an event that is over into the trash and tell the subscribers."""
    now = context.clock.now()
    async with context.database.writing() as connection:
        event = await events.get(connection, asked.event_id)
        if event is None:
            raise event_not_found(asked.event_id)
        if event.is_open:
            raise ProblemError(
                ProblemCode.EVENT_OPEN,
                f"Event {event.id} is still going on.",
                "Delete it when it has ended: `ended_at` is set then, and `event_ended` tells it.",
            )
        change = await trash.put(connection, event, now)
        more = announcements_of(change, now) if change else []
        judged = context.detector_status().judges
        await trash.tell_removed(connection, event.id, event.camera_id, now, judged=judged, more=more)
    context.announced.notify()


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        path="/api/events",
        summary="Events, newest first",
        scope=Scope.READ,
        parameters=EventQuery,
        answer=EventPage,
        handler=find,
    ),
    Route(
        path="/api/events/{event_id}",
        summary="One event",
        scope=Scope.READ,
        parameters=OneEvent,
        answer=EventObject,
        handler=get,
        problems=(ProblemCode.EVENT_NOT_FOUND,),
    ),
    Route(
        method=HTTPMethod.DELETE,
        path="/api/events/{event_id}",
        summary="Put an event that is over into the trash",
        scope=Scope.INTEGRATION,
        parameters=OneEvent,
        answer=NoneType,
        handler=remove,
        problems=(ProblemCode.EVENT_NOT_FOUND, ProblemCode.EVENT_OPEN),
    ),
    Route(
        path="/api/events/{event_id}/snapshot.jpg",
        summary="An event's best frame with its detections drawn",
        scope=Scope.READ,
        parameters=EventSnapshot,
        answer=Picture,
        handler=snapshot,
        problems=(ProblemCode.EVENT_NOT_FOUND, ProblemCode.NO_PICTURE),
    ),
    Route(
        path="/api/events/{event_id}/detections",
        summary="Every detection of an event",
        scope=Scope.READ,
        parameters=OneEvent,
        answer=DetectionList,
        handler=detections,
        problems=(ProblemCode.EVENT_NOT_FOUND,),
    ),
)
