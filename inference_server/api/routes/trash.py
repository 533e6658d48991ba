# SPDX-License-Identifier: AGPL-3.0-or-later
"""The trash: events that somebody deleted."""

from datetime import datetime, timedelta
from http import HTTPMethod

from inference_server.api import schema
from inference_server.api.context import ApiContext
from inference_server.api.problems import ProblemCode, ProblemError, cleanup_running, invalid_request
from inference_server.api.routes.events import OneEvent
from inference_server.api.routing import AnyRoute, Cursor, PageSize, Parameters, Route
from inference_server.api.schema import AmountObject, EventObject, UtcTime, WireObject
from inference_server.core.announcement import Announcement, AnnouncementKind
from inference_server.core.cleanup import CleanupBusyError
from inference_server.storage import announcements, cameras, trash
from inference_server.storage.incidents import IncidentChange
from inference_server.storage.rows import BadCursorError
from inference_server.storage.tokens import Scope


class TrashedObject(WireObject):
    """An event in the trash, and from when on a cleanup deletes it for good; null means that none does."""

    event: EventObject
    deleted_at: UtcTime
    purged_after: UtcTime | None


class TrashPage(WireObject):
    """A page of the trash, what was deleted last first."""

    items: tuple[TrashedObject, ...]
    next_cursor: str | None


class TrashQuery(Parameters):
    """Which page is wanted."""

    limit: PageSize = 50
    cursor: Cursor | None = None


async def find(context: ApiContext, asked: TrashQuery) -> TrashPage:
    """Return a page of the trash."""
    async with context.database.reading() as connection:
        try:
            page = await trash.find(connection, limit=asked.limit, cursor=asked.cursor)
        except BadCursorError as error:
            raise invalid_request(f"cursor: {error}.", "Use the `next_cursor` of the page before.") from error
    items = tuple(
        TrashedObject(
            event=schema.event(item.event, context.thresholds),
            deleted_at=item.deleted_at,
            purged_after=_purged_after(item.deleted_at, context.trash_days),
        )
        for item in page.items
    )
    return TrashPage(items=items, next_cursor=page.next_cursor)


async def restore(context: ApiContext, asked: OneEvent) -> EventObject:
    """Take an event back out of the trash and tell the subscribers."""
    async with context.database.writing() as connection:
        restored = await trash.restore(connection, asked.event_id)
        if restored is None:
            raise ProblemError(
                ProblemCode.EVENT_NOT_FOUND,
                f"There is no event {asked.event_id} in the trash.",
                "GET /api/trash lists what is in it.",
            )
        event = restored.event
        state = await cameras.state(connection, event.camera_id, judged=context.detector_status().judges)
        kind, now = AnnouncementKind.EVENT_RESTORED, context.clock.now()
        more = _told_of(restored.incident, now)
        await announcements.add(connection, [Announcement(kind, event.camera_id, now, state, event), *more])
    context.announced.notify()
    return schema.event(event, context.thresholds)


async def empty(context: ApiContext, _asked: Parameters) -> AmountObject:
    """Delete for good what is in the trash."""
    try:
        return schema.amount(await context.housekeeping.empty_trash())
    except CleanupBusyError as error:
        raise cleanup_running() from error


def _told_of(change: IncidentChange | None, at: datetime) -> list[Announcement]:
    """Return what there is to tell of an incident whose event is back: it goes on, and does not begin again."""
    if change is None or change.after is None:
        return []
    incident = change.after
    return [Announcement(AnnouncementKind.INCIDENT_UPDATED, incident.cameras[-1], at, incident=incident)]


def _purged_after(deleted_at: datetime, days: int) -> datetime | None:
    return deleted_at + timedelta(days=days) if days else None


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        path="/api/trash",
        summary="Deleted events, what was deleted last first",
        scope=Scope.READ,
        parameters=TrashQuery,
        answer=TrashPage,
        handler=find,
    ),
    Route(
        method=HTTPMethod.POST,
        path="/api/events/{event_id}/restore",
        summary="Take an event back out of the trash",
        scope=Scope.INTEGRATION,
        parameters=OneEvent,
        answer=EventObject,
        handler=restore,
        problems=(ProblemCode.EVENT_NOT_FOUND,),
    ),
    Route(
        method=HTTPMethod.DELETE,
        path="/api/trash",
        summary="Delete for good what is in the trash",
        scope=Scope.ADMIN,
        parameters=Parameters,
        answer=AmountObject,
        handler=empty,
        problems=(ProblemCode.CLEANUP_RUNNING,),
    ),
)
