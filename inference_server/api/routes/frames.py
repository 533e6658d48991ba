# SPDX-License-Identifier: AGPL-3.0-or-later
"""Frames."""

from inference_server.api import pictures
from inference_server.api.context import ApiContext
from inference_server.api.pictures import Picture
from inference_server.api.problems import ProblemCode, frame_not_found
from inference_server.api.routing import AnyRoute, Parameters, Route, RowId, Width
from inference_server.storage import frames
from inference_server.storage.tokens import Scope


class FramePicture(Parameters):
    """Names a frame and how wide its picture may be."""

    frame_id: RowId
    width: Width | None = None


async def picture(context: ApiContext, asked: FramePicture) -> Picture:
    """Return a frame as it was taken."""
    async with context.database.reading() as connection:
        frame = await frames.get(connection, asked.frame_id)
    if frame is None:
        raise frame_not_found(asked.frame_id)
    return pictures.plain(context.media, frame, asked.width)


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
)
