# SPDX-License-Identifier: AGPL-3.0-or-later
"""Cameras."""

from http import HTTPMethod
from types import NoneType

from inference_server.api import pictures, schema
from inference_server.api.context import ApiContext
from inference_server.api.pictures import Picture
from inference_server.api.problems import ProblemCode, camera_not_found, no_picture
from inference_server.api.routing import AnyRoute, CameraId, Parameters, PictureParameters, Route
from inference_server.api.schema import CameraObject, WireObject
from inference_server.core.announcement import Announcement, AnnouncementKind
from inference_server.storage import announcements, cameras, frames
from inference_server.storage.tokens import Scope


class CameraList(WireObject):
    """Every camera, by name."""

    items: tuple[CameraObject, ...]


class OneCamera(Parameters):
    """Names a camera."""

    camera_id: CameraId


class LatestPicture(OneCamera, PictureParameters):
    """Names a camera and how its picture is wanted."""


async def list_all(context: ApiContext, _asked: Parameters) -> CameraList:
    """Return every camera."""
    async with context.database.reading() as connection:
        states = await cameras.states(connection, judged=context.detector_status().judges)
    return CameraList(items=tuple(schema.camera(state, context.thresholds) for state in states))


async def get(context: ApiContext, asked: OneCamera) -> CameraObject:
    """Return one camera."""
    async with context.database.reading() as connection:
        state = await cameras.state(connection, asked.camera_id, judged=context.detector_status().judges)
    if state is None:
        raise camera_not_found(asked.camera_id)
    return schema.camera(state, context.thresholds)


async def remove(context: ApiContext, asked: OneCamera) -> None:
    """Take a camera out of every list and tell the subscribers."""
    now = context.clock.now()
    async with context.database.writing() as connection:
        if not await cameras.remove(connection, asked.camera_id, now):
            raise camera_not_found(asked.camera_id)
        await announcements.add(connection, [Announcement(AnnouncementKind.CAMERA_REMOVED, asked.camera_id, now)])
    context.announced.notify()


async def latest_picture(context: ApiContext, asked: LatestPicture) -> Picture:
    """Return a camera's newest picture."""
    async with context.database.reading() as connection:
        if await cameras.state(connection, asked.camera_id, judged=False) is None:
            raise camera_not_found(asked.camera_id)
        frame = await frames.latest(connection, asked.camera_id)
    if frame is None:
        raise no_picture(
            f'The camera "{asked.camera_id}" has sent no picture yet.',
            "Check that the camera uploads into its folder; GET /api/refusals lists what was refused.",
        )
    return pictures.plain(context.media, frame, asked.look)


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        path="/api/cameras",
        summary="All cameras",
        scope=Scope.READ,
        parameters=Parameters,
        answer=CameraList,
        handler=list_all,
    ),
    Route(
        path="/api/cameras/{camera_id}",
        summary="One camera",
        scope=Scope.READ,
        parameters=OneCamera,
        answer=CameraObject,
        handler=get,
        problems=(ProblemCode.CAMERA_NOT_FOUND,),
    ),
    Route(
        method=HTTPMethod.DELETE,
        path="/api/cameras/{camera_id}",
        summary="Remove a camera; it comes back with its next picture",
        scope=Scope.INTEGRATION,
        parameters=OneCamera,
        answer=NoneType,
        handler=remove,
        problems=(ProblemCode.CAMERA_NOT_FOUND,),
    ),
    Route(
        path="/api/cameras/{camera_id}/latest.jpg",
        summary="A camera's newest picture",
        scope=Scope.READ,
        parameters=LatestPicture,
        answer=Picture,
        handler=latest_picture,
        problems=(ProblemCode.CAMERA_NOT_FOUND, ProblemCode.NO_PICTURE),
    ),
)
