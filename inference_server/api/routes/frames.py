# SPDX-License-Identifier: AGPL-3.0-or-later
"""Frames."""

from typing import Annotated

from pydantic import Field

from inference_server.api import pictures
from inference_server.api.context import ApiContext
from inference_server.api.pictures import Picture
from inference_server.api.problems import ProblemCode, detection_not_found, frame_not_found
from inference_server.api.routing import AnyRoute, PictureParameters, Route, RowId
from inference_server.storage import frames
from inference_server.storage.tokens import Scope


class FramePicture(PictureParameters):
    """Names a frame and how its picture is wanted."""

    frame_id: RowId


class ObjectPicture(FramePicture):
    """Names an object of a frame, and how much around it is wanted, relative to the longer side of its box."""

    ordinal: Annotated[int, Field(ge=0, lt=2**31)]
    margin: Annotated[float, Field(ge=0, le=2)] = 0.1


async def picture(context: ApiContext, asked: FramePicture) -> Picture:
    """Return a frame as it was taken."""
    async with context.database.reading() as connection:
        frame = await frames.get(connection, asked.frame_id)
    if frame is None:
        raise frame_not_found(asked.frame_id)
    return pictures.plain(context.media, frame, asked.look)


async def crop(context: ApiContext, asked: ObjectPicture) -> Picture:
    """Return one object of a frame."""
    async with context.database.reading() as connection:
        frame = await frames.get(connection, asked.frame_id)
        if frame is None:
            raise frame_not_found(asked.frame_id)
        found = (await frames.sightings(connection, [frame]))[frame.id].detections
    if asked.ordinal >= len(found):
        raise detection_not_found(asked.frame_id, asked.ordinal)
    return pictures.object_alone(context.media, frame, found[asked.ordinal], asked.margin, asked.look)


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        path="/api/frames/{frame_id}/picture.jpg",
        summary="A frame as it was taken",
        scope=Scope.READ,
        parameters=FramePicture,
        answer=Picture,
        handler=picture,
        problems=(ProblemCode.FRAME_NOT_FOUND, ProblemCode.NO_PICTURE),
    ),
    Route(
        path="/api/frames/{frame_id}/crops/{ordinal}",
        summary="One object of a frame, cut out of it",
        scope=Scope.READ,
        parameters=ObjectPicture,
        answer=Picture,
        handler=crop,
        problems=(ProblemCode.FRAME_NOT_FOUND, ProblemCode.DETECTION_NOT_FOUND, ProblemCode.NO_PICTURE),
    ),
)
