# SPDX-License-Identifier: AGPL-3.0-or-later
"""Zones of a camera's picture."""

from dataclasses import replace
from http import HTTPMethod
from types import NoneType
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.api.context import ApiContext
from inference_server.api.problems import ProblemCode, camera_not_found, invalid_request, zone_not_found
from inference_server.api.routes.cameras import OneCamera
from inference_server.api.routing import AnyRoute, Route, RowId
from inference_server.api.schema import WireObject
from inference_server.core.detection import Label, ZoneType
from inference_server.core.polygon import Point
from inference_server.core.zone import (
    MAX_ZONE_POINTS,
    MAX_ZONES,
    Line,
    Zone,
    ZoneShape,
    rectangle,
)
from inference_server.storage import cameras, zones
from inference_server.storage.tokens import Scope

Points = Annotated[tuple[Point, ...], Field(max_length=MAX_ZONE_POINTS)]
Rectangle = tuple[float, float, float, float]


class ZoneObject(WireObject):
    """A zone."""

    id: int
    name: str
    type: ZoneType
    points: tuple[Point, ...]
    labels: tuple[Label, ...]
    min_size: float
    inertia: int
    loitering_seconds: float
    line: Line | None
    priority: int
    enabled: bool
    colour: str


class ZoneList(WireObject):
    """A camera's zones, oldest first."""

    items: tuple[ZoneObject, ...]


class ZoneChange(BaseModel):
    """What is to change; what is left out stays. A rectangle (left, top, right, bottom) stands for its four corners."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    type: ZoneType = ZoneType.YARD
    points: Points = ()
    rectangle: Rectangle | None = None
    labels: tuple[Label, ...] = ()
    min_size: float = 0.0
    inertia: int = 1
    loitering_seconds: float = 0.0
    line: Line | None = None
    priority: int = 0
    enabled: bool = True
    colour: str = "#4aa8ff"

    def changes(self) -> dict[str, Any]:
        """Return the fields of a zone that are given. Raises ValueError."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        corners = given.pop("rectangle", None)
        if corners is not None:
            if "points" in given:
                raise ValueError("a zone has points or a rectangle, not both")
            given["points"] = rectangle(*corners)
        return given


class ZoneBody(ZoneChange):
    """A new zone."""

    name: str
    type: ZoneType

    @model_validator(mode="after")
    def _is_a_zone(self) -> "ZoneBody":
        self.shape()
        return self

    def shape(self) -> ZoneShape:
        """Return it as a value of the core. Raises ValueError."""
        changes = self.changes()
        if "points" not in changes:
            raise ValueError("a zone needs points or a rectangle")
        return ZoneShape(**changes)


class NewZone(OneCamera):
    """Names a camera, and its new zone."""

    body: ZoneBody


class OneZone(OneCamera):
    """Names a zone."""

    zone_id: RowId


class ChangedZone(OneZone):
    """Names a zone, and what is to change."""

    body: ZoneChange


async def list_all(context: ApiContext, asked: OneCamera) -> ZoneList:
    """Return a camera's zones."""
    async with context.database.reading() as connection:
        await check_camera(connection, asked.camera_id)
        found = await zones.of_camera(connection, asked.camera_id)
    return ZoneList(items=tuple(_object(zone) for zone in found))


async def get(context: ApiContext, asked: OneZone) -> ZoneObject:
    """Return one zone."""
    async with context.database.reading() as connection:
        return _object(await _zone(connection, asked))


async def add(context: ApiContext, asked: NewZone) -> ZoneObject:
    """Add a zone; it counts for the next picture."""
    shape = asked.body.shape()
    async with context.database.writing() as connection:
        await cameras.lock(connection, [asked.camera_id])
        await check_camera(connection, asked.camera_id)
        known = await zones.of_camera(connection, asked.camera_id)
        if len(known) >= MAX_ZONES:
            raise invalid_request(f"A camera has at most {MAX_ZONES} zones.", "Remove or change one of them.")
        _check_name(shape.name, known)
        return _object(await zones.add(connection, asked.camera_id, shape))


async def change(context: ApiContext, asked: ChangedZone) -> ZoneObject:
    """Change a zone; that counts for the next picture."""
    async with context.database.writing() as connection:
        await cameras.lock(connection, [asked.camera_id])
        zone = await _zone(connection, asked)
        try:
            changed = replace(zone, shape=replace(zone.shape, **asked.body.changes()))
        except ValueError as error:
            raise invalid_request(f"body: {error}.") from error
        others = [item for item in await zones.of_camera(connection, asked.camera_id) if item.id != zone.id]
        _check_name(changed.shape.name, others)
        await zones.change(connection, changed)
    return _object(changed)


async def remove(context: ApiContext, asked: OneZone) -> None:
    """Remove a zone."""
    async with context.database.writing() as connection:
        await cameras.lock(connection, [asked.camera_id])
        await check_camera(connection, asked.camera_id)
        if not await zones.remove(connection, asked.camera_id, asked.zone_id):
            raise zone_not_found(asked.camera_id, asked.zone_id)


async def check_camera(connection: AsyncConnection, camera_id: str) -> None:
    """Raise ProblemError for a camera that there is not."""
    if not await cameras.get_many(connection, [camera_id]):
        raise camera_not_found(camera_id)


async def _zone(connection: AsyncConnection, asked: OneZone) -> Zone:
    await check_camera(connection, asked.camera_id)
    if (zone := await zones.get(connection, asked.camera_id, asked.zone_id)) is None:
        raise zone_not_found(asked.camera_id, asked.zone_id)
    return zone


def _check_name(name: str, others: tuple[Zone, ...] | list[Zone]) -> None:
    if any(zone.shape.name == name for zone in others):
        raise invalid_request(f'name: the camera has a zone "{name}" already.', "Choose another name.")


def _object(zone: Zone) -> ZoneObject:
    fields = {name: getattr(zone.shape, name) for name in ZoneObject.model_fields if name != "id"}
    return ZoneObject(id=zone.id, **fields)


ZONES = "/api/cameras/{camera_id}/zones"
_ZONE = f"{ZONES}/{{zone_id}}"
NOT_FOUND = (ProblemCode.CAMERA_NOT_FOUND, ProblemCode.ZONE_NOT_FOUND)

ROUTES: tuple[AnyRoute, ...] = (
    Route(
        path=ZONES,
        summary="A camera's zones",
        scope=Scope.READ,
        parameters=OneCamera,
        answer=ZoneList,
        handler=list_all,
        problems=(ProblemCode.CAMERA_NOT_FOUND,),
    ),
    Route(
        method=HTTPMethod.POST,
        path=ZONES,
        summary="Add a zone",
        scope=Scope.INTEGRATION,
        parameters=NewZone,
        answer=ZoneObject,
        handler=add,
        problems=(ProblemCode.CAMERA_NOT_FOUND, ProblemCode.TOO_SLOW),
        created=lambda _zone: True,
    ),
    Route(
        path=_ZONE,
        summary="One zone",
        scope=Scope.READ,
        parameters=OneZone,
        answer=ZoneObject,
        handler=get,
        problems=NOT_FOUND,
    ),
    Route(
        method=HTTPMethod.PATCH,
        path=_ZONE,
        summary="Change a zone; what is left out stays",
        scope=Scope.INTEGRATION,
        parameters=ChangedZone,
        answer=ZoneObject,
        handler=change,
        problems=(*NOT_FOUND, ProblemCode.TOO_SLOW),
    ),
    Route(
        method=HTTPMethod.DELETE,
        path=_ZONE,
        summary="Remove a zone",
        scope=Scope.INTEGRATION,
        parameters=OneZone,
        answer=NoneType,
        handler=remove,
        problems=NOT_FOUND,
    ),
)
