# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries on what stands still on the cameras' pictures."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.detection import Box, Label
from inference_server.core.stationary import Standing
from inference_server.storage.rows import AnyRow
from inference_server.storage.tables import cameras, stationary_objects


async def of_cameras(connection: AsyncConnection, camera_ids: Iterable[str]) -> Mapping[str, tuple[Standing, ...]]:
    """Return all that stands, or may stand, still on the pictures of these cameras, by camera id, oldest first."""
    wanted = list(camera_ids)
    found: dict[str, list[Standing]] = {camera_id: [] for camera_id in wanted}
    query = select(stationary_objects).where(stationary_objects.c.camera_id.in_(wanted))
    for row in await connection.execute(query.order_by(stationary_objects.c.id)):
        found[row.camera_id].append(_standing(row))
    return {camera_id: tuple(items) for camera_id, items in found.items()}


async def stationary(connection: AsyncConnection, camera_id: str) -> tuple[Standing, ...]:
    """Return what is stationary on a camera's picture, what has been there longest first."""
    items = (await of_cameras(connection, [camera_id]))[camera_id]
    settled = [item for item in items if item.stationary_at is not None]
    return tuple(sorted(settled, key=lambda item: (item.first_seen_at, item.id)))


async def count(connection: AsyncConnection) -> int:
    """Return how many objects are stationary on the pictures of the cameras that were not removed."""
    mine = select(func.count()).select_from(stationary_objects).join(cameras)
    query = mine.where(stationary_objects.c.stationary_at.is_not(None), cameras.c.removed_at.is_(None))
    return int((await connection.execute(query)).scalar_one())


async def replace(connection: AsyncConnection, before: Sequence[Standing], after: Sequence[Standing]) -> None:
    """Store what stands there now instead of what stood there; what has not changed is not written."""
    kept = {item.id for item in after}
    if gone := [item.id for item in before if item.id not in kept]:
        await connection.execute(delete(stationary_objects).where(stationary_objects.c.id.in_(gone)))
    known = {item.id: item for item in before}
    for item in after:
        if item.id is not None and known[item.id] != item:
            changed = update(stationary_objects).where(stationary_objects.c.id == item.id)
            await connection.execute(changed.values(**_columns(item)))
    if new := [_columns(item) for item in after if item.id is None]:
        await connection.execute(stationary_objects.insert(), new)


async def forget(connection: AsyncConnection, camera_id: str, standing_id: int) -> bool:
    """Forget a stationary object: what stands there counts again. Return whether there was one."""
    mine = (stationary_objects.c.id == standing_id, stationary_objects.c.camera_id == camera_id)
    is_stationary = stationary_objects.c.stationary_at.is_not(None)
    result = await connection.execute(delete(stationary_objects).where(*mine, is_stationary))
    return result.rowcount > 0


def _columns(item: Standing) -> dict[str, Any]:
    columns = asdict(item)
    columns.pop("id")
    box = columns.pop("box")
    return {**columns, **box, "label": item.label.value}


def _standing(row: AnyRow) -> Standing:
    return Standing(
        id=row.id,
        camera_id=row.camera_id,
        label=Label(row.label),
        box=Box(row.x, row.y, row.width, row.height),
        appearance=row.appearance,
        view=row.view,
        first_seen_at=row.first_seen_at,
        last_seen_at=row.last_seen_at,
        arrived_at=row.arrived_at,
        sightings=row.sightings,
        misses=row.misses,
        missing=row.missing,
        missing_since=row.missing_since,
        stationary_at=row.stationary_at,
    )
