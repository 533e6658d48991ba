# SPDX-License-Identifier: AGPL-3.0-or-later
"""Zones of a camera's picture."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from http import HTTPMethod
from types import NoneType
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.api.context import ApiContext
from inference_server.api.problems import ProblemCode, camera_not_found, invalid_request, zone_not_found
from inference_server.api.routes.cameras import OneCamera
from inference_server.api.routing import AnyRoute, Route, RowId
from inference_server.api.schema import DetectionObject, WireObject, detections
from inference_server.core.detection import Label, Sighting, ZoneType
from inference_server.core.polygon import Point
from inference_server.core.zone import (
    MAX_ZONE_POINTS,
    MAX_ZONES,
    Line,
    Zone,
    ZoneShape,
    ranked,
    rectangle,
    zone_of,
)
from inference_server.storage import cameras, frames, zones
from inference_server.storage.rows import LARGEST_ID
from inference_server.storage.tokens import Scope

MOST_SHOWN = 500
"""Detections that a test names one by one."""

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


class ZoneTrial(BaseModel):
    """A zone that may not be stored, and the stored pictures that it is tried on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    zone: ZoneBody
    zone_id: RowId | None = None
    """The stored zone that it would be instead of."""
    hours: Annotated[float, Field(gt=0, le=720)] = 24.0
    frames: Annotated[int, Field(ge=1, le=200)] = 50


class TriedZone(OneCamera):
    """Names a camera, and a zone to try."""

    body: ZoneTrial


class TriedDetection(DetectionObject):
    """A detection, and why it is not in the zone; null when it is."""

    objection: str | None


class ZoneTrialResult(WireObject):
    """How many stored detections would be in a zone and how many not; the newest of them one by one."""

    frames: int
    inside: int
    outside: int
    items: tuple[TriedDetection, ...]


async def list_all(context: ApiContext, asked: OneCamera) -> ZoneList:
    """Return a camera's zones."""
    async with context.database.reading() as connection:
        await _check_camera(connection, asked.camera_id)
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
        await _check_camera(connection, asked.camera_id)
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
        await _check_camera(connection, asked.camera_id)
        if not await zones.remove(connection, asked.camera_id, asked.zone_id):
            raise zone_not_found(asked.camera_id, asked.zone_id)


async def attempt(context: ApiContext, asked: TriedZone) -> ZoneTrialResult:
    """Say which stored detections would be in a zone, among the zones that there are."""
    trial = asked.body
    since = context.clock.now() - timedelta(hours=trial.hours)
    async with context.database.reading() as connection:
        await _check_camera(connection, asked.camera_id)
        known = await zones.of_camera(connection, asked.camera_id)
        if trial.zone_id is not None and trial.zone_id not in {zone.id for zone in known}:
            raise zone_not_found(asked.camera_id, trial.zone_id)
        seen = await frames.recent(connection, asked.camera_id, since=since, limit=trial.frames)
    tried = Zone(trial.zone_id or LARGEST_ID, asked.camera_id, trial.zone.shape())
    return await asyncio.to_thread(_trial_of, tried, ranked([*(z for z in known if z.id != tried.id), tried]), seen)


def _trial_of(tried: Zone, order: tuple[Zone, ...], seen: Sequence[Sighting]) -> ZoneTrialResult:
    items = [item for sighting in seen for item in _tried(sighting, tried, order)]
    inside = sum(item.objection is None for item in items)
    return ZoneTrialResult(
        frames=len(seen), inside=inside, outside=len(items) - inside, items=tuple(items[:MOST_SHOWN])
    )


def _tried(sighting: Sighting, tried: Zone, order: tuple[Zone, ...]) -> list[TriedDetection]:
    return [
        TriedDetection(**dict(shown), objection=_objection(sighting, number, tried, order))
        for number, shown in enumerate(detections([sighting]))
    ]


def _objection(sighting: Sighting, number: int, tried: Zone, order: tuple[Zone, ...]) -> str | None:
    found = sighting.detections[number]
    objection = tried.shape.objection(found, sighting.width, sighting.height)
    if objection is not None:
        return objection
    if not tried.shape.enabled:
        return "the zone is not enabled"
    winner = zone_of(found, sighting.width, sighting.height, order)
    if winner is not None and winner != tried:
        return f'the zone "{winner.shape.name}" has precedence there'
    return None


async def _check_camera(connection: AsyncConnection, camera_id: str) -> None:
    if not await cameras.get_many(connection, [camera_id]):
        raise camera_not_found(camera_id)


async def _zone(connection: AsyncConnection, asked: OneZone) -> Zone:
    await _check_camera(connection, asked.camera_id)
    if (zone := await zones.get(connection, asked.camera_id, asked.zone_id)) is None:
        raise zone_not_found(asked.camera_id, asked.zone_id)
    return zone


def _check_name(name: str, others: tuple[Zone, ...] | list[Zone]) -> None:
    if any(zone.shape.name == name for zone in others):
        raise invalid_request(f'name: the camera has a zone "{name}" already.', "Choose another name.")


def _object(zone: Zone) -> ZoneObject:
    fields = {name: getattr(zone.shape, name) for name in ZoneObject.model_fields if name != "id"}
    return ZoneObject(id=zone.id, **fields)


_ZONES = "/api/cameras/{camera_id}/zones"
_ZONE = f"{_ZONES}/{{zone_id}}"
_NOT_FOUND = (ProblemCode.CAMERA_NOT_FOUND, ProblemCode.ZONE_NOT_FOUND)

ROUTES: tuple[AnyRoute, ...] = (
    Route(
        path=_ZONES,
        summary="A camera's zones",
        scope=Scope.READ,
        parameters=OneCamera,
        answer=ZoneList,
        handler=list_all,
        problems=(ProblemCode.CAMERA_NOT_FOUND,),
    ),
    Route(
        method=HTTPMethod.POST,
        path=_ZONES,
        summary="Add a zone",
        scope=Scope.INTEGRATION,
        parameters=NewZone,
        answer=ZoneObject,
        handler=add,
        problems=(ProblemCode.CAMERA_NOT_FOUND, ProblemCode.TOO_SLOW),
        created=lambda _zone: True,
    ),
    Route(
        method=HTTPMethod.POST,
        path=f"{_ZONES}/test",
        summary="Which stored detections would be in a zone, and why others are not",
        scope=Scope.READ,
        parameters=TriedZone,
        answer=ZoneTrialResult,
        handler=attempt,
        problems=(*_NOT_FOUND, ProblemCode.TOO_SLOW),
    ),
    Route(
        path=_ZONE,
        summary="One zone",
        scope=Scope.READ,
        parameters=OneZone,
        answer=ZoneObject,
        handler=get,
        problems=_NOT_FOUND,
    ),
    Route(
        method=HTTPMethod.PATCH,
        path=_ZONE,
        summary="Change a zone; what is left out stays",
        scope=Scope.INTEGRATION,
        parameters=ChangedZone,
        answer=ZoneObject,
        handler=change,
        problems=(*_NOT_FOUND, ProblemCode.TOO_SLOW),
    ),
    Route(
        method=HTTPMethod.DELETE,
        path=_ZONE,
        summary="Remove a zone",
        scope=Scope.INTEGRATION,
        parameters=OneZone,
        answer=NoneType,
        handler=remove,
        problems=_NOT_FOUND,
    ),
)
