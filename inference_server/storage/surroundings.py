# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries on what lies around an event: the cameras of the home, and what happened shortly before."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.context import CameraPlace
from inference_server.core.detection import Track
from inference_server.core.view import LastingProblem
from inference_server.storage.events import tracks_of
from inference_server.storage.tables import cameras, events
from inference_server.storage.views import problems

MOST_EVENTS = 200


@dataclass(frozen=True, slots=True)
class Placed:
    """A camera, what it looks at and what is wrong with its view."""

    id: str
    name: str
    place: CameraPlace
    leads_to: tuple[str, ...]
    problems: tuple[LastingProblem, ...]


@dataclass(frozen=True, slots=True)
class PastEvent:
    """An event, as far as others are judged by it."""

    id: int
    camera_id: str
    started_at: datetime
    last_detection_at: datetime
    tracks: tuple[Track, ...]


async def placed(connection: AsyncConnection) -> Mapping[str, Placed]:
    """Return every camera that was not removed, by id."""
    columns = (cameras.c.id, cameras.c.name, cameras.c.place, cameras.c.leads_to, cameras.c.view_problems)
    rows = await connection.execute(select(*columns).where(cameras.c.removed_at.is_(None)))
    return {
        row.id: Placed(row.id, row.name, _place(row.place), tuple(row.leads_to), problems(row.view_problems))
        for row in rows
    }


async def view_problems(connection: AsyncConnection, camera_id: str) -> tuple[LastingProblem, ...]:
    """Return what is wrong with a camera's view."""
    stored = (await connection.execute(select(cameras.c.view_problems).where(cameras.c.id == camera_id))).scalar()
    return problems(stored) if stored else ()


async def recent_events(connection: AsyncConnection, since: datetime, until: datetime) -> tuple[PastEvent, ...]:
    """Return the events of all cameras that began since then and before `until`, the latest first."""
    wanted = (events.c.started_at >= since, events.c.started_at <= until, events.c.deleted_at.is_(None))
    columns = (events.c.id, events.c.camera_id, events.c.started_at, events.c.last_detection_at, events.c.tracks)
    rows = await connection.execute(
        select(*columns).where(*wanted).order_by(events.c.started_at.desc(), events.c.id.desc()).limit(MOST_EVENTS)
    )
    return tuple(
        PastEvent(row.id, row.camera_id, row.started_at, row.last_detection_at, tracks_of(row.tracks)) for row in rows
    )


def _place(stored: str) -> CameraPlace:
    return CameraPlace(stored) if stored in CameraPlace else CameraPlace.OTHER
