# SPDX-License-Identifier: AGPL-3.0-or-later
"""The cameras' views."""

from http import HTTPMethod

from inference_server.api import schema
from inference_server.api.context import ApiContext
from inference_server.api.problems import ProblemCode, camera_not_found
from inference_server.api.routes.cameras import OneCamera
from inference_server.api.routing import AnyRoute, Route
from inference_server.api.schema import CameraObject
from inference_server.core.announcement import Announcement, AnnouncementKind
from inference_server.storage import announcements, cameras, views
from inference_server.storage.tokens import Scope


async def accept(context: ApiContext, asked: OneCamera) -> CameraObject:
    """Forget what a camera used to see: what it sees from now on is its view."""
    judged = context.detector_status().judges
    async with context.database.writing() as connection:
        await cameras.lock(connection, [asked.camera_id])
        was_wrong = await views.forget(connection, asked.camera_id)
        state = await cameras.state(connection, asked.camera_id, judged=judged)
        if state is None:
            raise camera_not_found(asked.camera_id)
        told = Announcement(AnnouncementKind.CAMERA_UPDATED, asked.camera_id, context.clock.now(), state)
        await announcements.add(connection, [told] if was_wrong else [])
    context.announced.notify()
    return schema.camera(state, context.thresholds)


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method=HTTPMethod.POST,
        path="/api/cameras/{camera_id}/view/accept",
        summary="Take what the camera sees now for its view; what was learnt of it is forgotten",
        scope=Scope.INTEGRATION,
        parameters=OneCamera,
        answer=CameraObject,
        handler=accept,
        problems=(ProblemCode.CAMERA_NOT_FOUND,),
    ),
)
