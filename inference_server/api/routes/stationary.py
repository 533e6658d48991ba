# SPDX-License-Identifier: AGPL-3.0-or-later
"""What stands still on a camera's picture."""

from http import HTTPMethod
from types import NoneType

from inference_server.api.context import ApiContext
from inference_server.api.problems import ProblemCode, camera_not_found, stationary_object_not_found
from inference_server.api.routes.cameras import OneCamera
from inference_server.api.routing import AnyRoute, Route, RowId
from inference_server.api.schema import BoxObject, UtcTime, WireObject
from inference_server.core.detection import Label
from inference_server.core.stationary import Standing
from inference_server.storage import cameras, stationary
from inference_server.storage.tokens import Scope


class StationaryObject(WireObject):
    """Something that stands still; its box is in shares of the picture, from 0 (left, top) to 1."""

    id: int
    label: Label
    box: BoxObject
    since: UtcTime
    stationary_at: UtcTime
    last_seen_at: UtcTime
    sightings: int


class StationaryList(WireObject):
    """What stands still on a camera's picture, what has been there longest first."""

    items: tuple[StationaryObject, ...]


class OneStationaryObject(OneCamera):
    """Names something that stands still."""

    stationary_id: RowId


async def list_all(context: ApiContext, asked: OneCamera) -> StationaryList:
    """Return what stands still."""
    async with context.database.reading() as connection:
        if not await cameras.get_many(connection, [asked.camera_id]):
            raise camera_not_found(asked.camera_id)
        found = await stationary.stationary(connection, asked.camera_id)
    return StationaryList(items=tuple(_object(item) for item in found))


async def forget(context: ApiContext, asked: OneStationaryObject) -> None:
    """Forget something that stands still: it makes an event when it is seen next."""
    async with context.database.writing() as connection:
        await cameras.lock(connection, [asked.camera_id])
        if not await cameras.get_many(connection, [asked.camera_id]):
            raise camera_not_found(asked.camera_id)
        if not await stationary.forget(connection, asked.camera_id, asked.stationary_id):
            raise stationary_object_not_found(asked.camera_id, asked.stationary_id)


def _object(item: Standing) -> StationaryObject:
    return StationaryObject(
        id=item.id or 0,
        label=item.label,
        box=BoxObject.model_validate(item.box, from_attributes=True),
        since=item.first_seen_at,
        stationary_at=item.stationary_at or item.last_seen_at,
        last_seen_at=item.last_seen_at,
        sightings=item.sightings,
    )


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        path="/api/cameras/{camera_id}/stationary",
        summary="What stands still on a camera's picture and makes no events",
        scope=Scope.READ,
        parameters=OneCamera,
        answer=StationaryList,
        handler=list_all,
        problems=(ProblemCode.CAMERA_NOT_FOUND,),
    ),
    Route(
        method=HTTPMethod.DELETE,
        path="/api/cameras/{camera_id}/stationary/{stationary_id}",
        summary="Forget something that stands still; it makes an event when it is seen next",
        scope=Scope.INTEGRATION,
        parameters=OneStationaryObject,
        answer=NoneType,
        handler=forget,
        problems=(ProblemCode.CAMERA_NOT_FOUND, ProblemCode.STATIONARY_OBJECT_NOT_FOUND),
    ),
)
