# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries on what the owner set for each camera. A removed camera keeps its settings: it may come back."""

from collections.abc import Mapping

from pydantic import TypeAdapter
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.camera import CameraSettings
from inference_server.storage import views
from inference_server.storage.rows import AnyRow
from inference_server.storage.tables import cameras

_SETTINGS = TypeAdapter(CameraSettings)


async def all_settings(connection: AsyncConnection) -> Mapping[str, CameraSettings]:
    """Return the settings of every camera, removed ones too, by camera id."""
    rows = await connection.execute(select(cameras))
    return {row.id: _settings(row) for row in rows}


async def get(connection: AsyncConnection, camera_id: str) -> CameraSettings:
    """Return the settings of a camera; those of one that does not exist are the defaults."""
    row = (await connection.execute(select(cameras).where(cameras.c.id == camera_id))).one_or_none()
    return _settings(row) if row else CameraSettings()


async def change(connection: AsyncConnection, camera_id: str, settings: CameraSettings) -> bool:
    """Write a camera's settings. Return whether that ended problems of its view.

    Other masks make another view, which is learnt anew; one that is not watched any more is forgotten.
    """
    before = await get(connection, camera_id)
    columns = _SETTINGS.dump_python(settings, mode="json")
    await connection.execute(update(cameras).where(cameras.c.id == camera_id).values(**columns))
    if (before.masks, before.watch_view) == (settings.masks, settings.watch_view):
        return False
    return await views.forget(connection, camera_id)


def _settings(row: AnyRow) -> CameraSettings:
    return _SETTINGS.validate_python(
        {
            "time_zone": row.time_zone,
            "ignore_patterns": row.ignore_patterns,
            "masks": row.masks,
            "watch_view": row.watch_view,
            "place": row.place,
            "leads_to": row.leads_to,
        }
    )
