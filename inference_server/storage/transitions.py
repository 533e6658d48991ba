# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries on which camera sees something after which."""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.detection import Category
from inference_server.core.transition import Onset, Transition
from inference_server.storage.events import tracks_of
from inference_server.storage.rows import AnyRow, insert
from inference_server.storage.tables import camera_transitions, events

GONE_AFTER = timedelta(seconds=45)
"""Who comes into view sooner after another of the same kind is no onset: events end by the clock, stays do not."""
_BEFORE = timedelta(minutes=5)


async def every(connection: AsyncConnection) -> tuple[Transition, ...]:
    """Return all that was counted."""
    return tuple(map(_transition, await connection.execute(select(camera_transitions))))


async def between(connection: AsyncConnection, camera_ids: Collection[str]) -> tuple[Transition, ...]:
    """Return what was counted between these cameras."""
    ids = list(camera_ids)
    both = (camera_transitions.c.from_camera.in_(ids), camera_transitions.c.to_camera.in_(ids))
    return tuple(map(_transition, await connection.execute(select(camera_transitions).where(*both))))


async def write(connection: AsyncConnection, counted: Iterable[Transition]) -> None:
    """Write counts in the place of older ones."""
    for item in counted:
        key = {"from_camera": item.from_camera, "to_camera": item.to_camera, "category": item.category.value}
        columns = {
            "onsets": item.onsets,
            "followed": item.followed,
            "by_chance": item.by_chance,
            "updated_at": item.updated_at,
        }
        query = insert(connection, camera_transitions).values(**key, **columns)
        await connection.execute(query.on_conflict_do_update(index_elements=list(key), set_=columns))


async def onsets(connection: AsyncConnection, since: datetime, until: datetime) -> list[Onset]:
    """Return when which camera saw what kind of object come, oldest first."""
    wanted = (events.c.started_at >= since - _BEFORE, events.c.started_at < until, events.c.deleted_at.is_(None))
    query = select(events.c.camera_id, events.c.tracks).where(*wanted).order_by(events.c.started_at, events.c.id)
    last: dict[tuple[str, Category], datetime] = {}
    found: list[Onset] = []
    for row in await connection.execute(query):
        for track in sorted(tracks_of(row.tracks), key=lambda one: one.first_seen_at):
            key = (row.camera_id, track.label.category)
            before = last.get(key)
            if (before is None or track.first_seen_at - before > GONE_AFTER) and track.first_seen_at >= since:
                found.append(Onset(*key, track.first_seen_at))
            last[key] = max(before or track.last_seen_at, track.last_seen_at)
    return sorted(found, key=lambda onset: (onset.at, onset.camera_id, onset.category))


def _transition(row: AnyRow) -> Transition:
    return Transition(
        row.from_camera,
        row.to_camera,
        Category(row.category),
        row.onsets,
        row.followed,
        row.by_chance,
        row.updated_at,
    )
