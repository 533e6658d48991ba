# SPDX-License-Identifier: AGPL-3.0-or-later
"""Incidents."""

from inference_server.api import schema
from inference_server.api.context import ApiContext
from inference_server.api.problems import ProblemCode, incident_not_found, invalid_request
from inference_server.api.routing import AnyRoute, CameraId, Cursor, PageSize, Parameters, Route, RowId, Time
from inference_server.api.schema import FullIncidentObject, IncidentObject, WireObject
from inference_server.core.assessment import RiskLevel, scores_of
from inference_server.storage import events, incidents
from inference_server.storage.incidents import IncidentFilter
from inference_server.storage.rows import BadCursorError
from inference_server.storage.tokens import Scope


class IncidentPage(WireObject):
    """A page of incidents, newest first."""

    items: tuple[IncidentObject, ...]
    next_cursor: str | None


class IncidentQuery(Parameters):
    """Which incidents are wanted; `since` and `until` are about their start."""

    camera_id: CameraId | None = None
    min_level: RiskLevel | None = None
    since: Time | None = None
    until: Time | None = None
    open: bool | None = None
    limit: PageSize = 50
    cursor: Cursor | None = None


class OneIncident(Parameters):
    """Names an incident."""

    incident_id: RowId


async def find(context: ApiContext, asked: IncidentQuery) -> IncidentPage:
    """Return a page of incidents."""
    wanted = IncidentFilter(
        camera_id=asked.camera_id,
        min_score=None if asked.min_level is None else scores_of(asked.min_level, context.thresholds).start,
        since=asked.since,
        until=asked.until,
        open=asked.open,
    )
    async with context.database.reading() as connection:
        try:
            page = await incidents.find(connection, wanted, limit=asked.limit, cursor=asked.cursor)
        except BadCursorError as error:
            raise invalid_request(f"cursor: {error}.", "Use the `next_cursor` of the page before.") from error
    items = tuple(schema.incident(incident, context.thresholds) for incident in page.items)
    return IncidentPage(items=items, next_cursor=page.next_cursor)


async def get(context: ApiContext, asked: OneIncident) -> FullIncidentObject:
    """Return one incident with its events."""
    async with context.database.reading() as connection:
        incident = await incidents.get(connection, asked.incident_id)
        if incident is None:
            raise incident_not_found(asked.incident_id)
        found = {event.id: event for event in await events.get_many(connection, incident.event_ids)}
    members = [found[event_id] for event_id in incident.event_ids if event_id in found]
    return schema.full_incident(incident, members, context.thresholds)


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        path="/api/incidents",
        summary="Incidents, newest first",
        scope=Scope.READ,
        parameters=IncidentQuery,
        answer=IncidentPage,
        handler=find,
    ),
    Route(
        path="/api/incidents/{incident_id}",
        summary="One incident with its events",
        scope=Scope.READ,
        parameters=OneIncident,
        answer=FullIncidentObject,
        handler=get,
        problems=(ProblemCode.INCIDENT_NOT_FOUND,),
    ),
)
