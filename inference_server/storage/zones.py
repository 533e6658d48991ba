# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries on the zones of the cameras' pictures. A removed camera keeps its zones: it may come back."""

from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.zone import Zone, ZoneShape
from inference_server.storage.rows import AnyRow
from inference_server.storage.tables import zones

_SHAPE = TypeAdapter(ZoneShape)
_COLUMNS = tuple(field.name for field in fields(ZoneShape))


async def of_camera(connection: AsyncConnection, camera_id: str) -> tuple[Zone, ...]:
    """Return a camera's zones, oldest first."""
    rows = await connection.execute(select(zones).where(zones.c.camera_id == camera_id).order_by(zones.c.id))
    return tuple(_zone(row) for row in rows)


async def get(connection: AsyncConnection, camera_id: str, zone_id: int) -> Zone | None:
    """Return a zone of a camera, or None."""
    query = select(zones).where(zones.c.camera_id == camera_id, zones.c.id == zone_id)
    row = (await connection.execute(query)).one_or_none()
    return _zone(row) if row else None


async def add(connection: AsyncConnection, camera_id: str, shape: ZoneShape) -> Zone:
    """Add a zone and return it. Its name must be free."""
    query = zones.insert().values(camera_id=camera_id, **_columns(shape)).returning(zones.c.id)
    return Zone((await connection.execute(query)).scalar_one(), camera_id, shape)


async def change(connection: AsyncConnection, zone: Zone) -> None:
    """Write a zone."""
    await connection.execute(update(zones).where(zones.c.id == zone.id).values(**_columns(zone.shape)))


async def remove(connection: AsyncConnection, camera_id: str, zone_id: int) -> bool:
    """Remove a zone of a camera. Return whether there was one."""
    mine = (zones.c.camera_id == camera_id, zones.c.id == zone_id)
    return (await connection.execute(delete(zones).where(*mine))).rowcount > 0


async def count(connection: AsyncConnection, camera_id: str) -> int:
    """Return how many zones a camera has."""
    query = select(func.count()).select_from(zones).where(zones.c.camera_id == camera_id)
    return int((await connection.execute(query)).scalar_one())


def _columns(shape: ZoneShape) -> dict[str, Any]:
    columns: dict[str, Any] = _SHAPE.dump_python(shape, mode="json")
    return columns


def _zone(row: AnyRow) -> Zone:
    columns = {name: getattr(row, name) for name in _COLUMNS}
    return Zone(row.id, row.camera_id, _SHAPE.validate_python(columns))
