# SPDX-License-Identifier: AGPL-3.0-or-later
"""The state as it is now, and what a client missed of how it came about."""

from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.api import schema
from inference_server.api.context import ApiContext
from inference_server.api.messages import Replay, Snapshot, message
from inference_server.api.schema import ServerObject
from inference_server.core.announcement import SequencedAnnouncement
from inference_server.storage import announcements, cameras, events, incidents


async def server_object(context: ApiContext) -> ServerObject:
    """Return the server object."""
    return schema.server(
        context.server_id,
        context.name,
        context.detector_status(),
        context.analyst_status(),
        await context.queue_status(),
    )


async def greeting(context: ApiContext, last_sequence: int | None) -> Snapshot | Replay:
    """Return what brings a client that saw `last_sequence` up to date, read in one transaction."""
    server = await server_object(context)
    async with context.database.reading() as connection:
        missed = await _missed(connection, last_sequence, context.limits.replay_length)
        if last_sequence is None or missed is None:
            return await _snapshot(context, connection, server)
    return Replay(
        sequence=missed[-1].sequence if missed else last_sequence,
        server=server,
        messages=tuple(message(item, context.thresholds) for item in missed),
    )


async def _missed(
    connection: AsyncConnection, last_sequence: int | None, limit: int
) -> tuple[SequencedAnnouncement, ...] | None:
    if last_sequence is None:
        return None
    items = await announcements.after(connection, last_sequence, limit=limit + 1)
    return items if items is not None and len(items) <= limit else None


async def _snapshot(context: ApiContext, connection: AsyncConnection, server: ServerObject) -> Snapshot:
    states = await cameras.states(connection, judged=context.detector_status().judges)
    shown = {event_id for state in states for event_id in (state.open_event_id, state.last_event_id) if event_id}
    return Snapshot(
        sequence=await announcements.last_sequence(connection),
        server=server,
        cameras=tuple(schema.camera(state, context.thresholds) for state in states),
        events=tuple(
            schema.event(event, context.thresholds) for event in await events.get_many(connection, sorted(shown))
        ),
        incidents=tuple(
            schema.incident(incident, context.thresholds) for incident in await incidents.open_incidents(connection)
        ),
    )
