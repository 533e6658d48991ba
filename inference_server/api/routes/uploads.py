# SPDX-License-Identifier: AGPL-3.0-or-later
"""Uploading pictures."""

import asyncio
from datetime import UTC, datetime, timedelta
from http import HTTPMethod
from typing import Annotated

from pydantic import Field

from inference_server.api.bodies import Sent
from inference_server.api.context import ApiContext
from inference_server.api.problems import ProblemCode, ProblemError, invalid_request, too_busy
from inference_server.api.routing import AnyRoute, CameraId, Parameters, Route, Time
from inference_server.api.schema import UtcTime, WireObject
from inference_server.core import camera
from inference_server.core.frame import Refusal, TimeSource
from inference_server.core.upload import Upload
from inference_server.storage import cameras
from inference_server.storage.tokens import Scope

CLOCKS_DIFFER = timedelta(minutes=2)
"""How far ahead of ours a client's clock may be."""
RETRY_SECONDS = 10
OLDEST = datetime(2000, 1, 1, tzinfo=UTC)


class NewFrame(Parameters):
    """Names a camera, and sends it a picture."""

    camera_id: CameraId
    captured_at: Annotated[Time | None, Field(description="When the picture was taken, if not now.")] = None
    body: Sent


class UploadedFrameObject(WireObject):
    """What became of an upload. A duplicate is a picture that the camera has already; it is not judged again."""

    frame_id: int
    camera_id: str
    captured_at: UtcTime
    time_source: TimeSource
    duplicate: bool


async def upload(context: ApiContext, asked: NewFrame) -> UploadedFrameObject:
    """Receive a picture, and store it durably before the answer."""
    await _check(context, asked)
    if (reason := context.uploads.closed) is not None:
        raise too_busy(reason, RETRY_SECONDS)
    with context.uploads.receiving() as file:
        async for piece in asked.body.pieces():
            await asyncio.to_thread(file.write, piece)
        stored = await context.uploads.take(Upload(asked.camera_id, file, asked.body.name, asked.captured_at))
    if isinstance(stored, Refusal):
        raise _refused(stored)
    frame = stored.frame
    return UploadedFrameObject(
        frame_id=frame.id,
        camera_id=frame.camera_id,
        captured_at=frame.captured_at,
        time_source=frame.time_source,
        duplicate=stored.duplicate,
    )


async def _check(context: ApiContext, asked: NewFrame) -> None:
    """Refuse what can be refused before anything is received."""
    if asked.captured_at and not OLDEST <= asked.captured_at <= context.clock.now() + CLOCKS_DIFFER:
        raise invalid_request("captured_at: the time lies in the future, or before the year 2000.")
    if camera.camera_id(asked.camera_id) != asked.camera_id:
        async with context.database.reading() as connection:
            if not await cameras.get_many(connection, [asked.camera_id]):
                raise invalid_request(
                    f'camera_id: "{asked.camera_id}" is no name for a new camera.',
                    f'Use letters, digits and single underscores between them: "{camera.camera_id(asked.camera_id)}".',
                )


def _refused(refusal: Refusal) -> ProblemError:
    return ProblemError(
        ProblemCode.REFUSED,
        refusal.detail,
        "Send a whole JPEG or PNG; docs/installation.md tells the limits.",
        reason=refusal.reason,
    )


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method=HTTPMethod.POST,
        path="/api/cameras/{camera_id}/frames",
        summary="Upload a picture, as the body or as the one file of a form; a new camera appears with it",
        scope=Scope.UPLOAD,
        parameters=NewFrame,
        answer=UploadedFrameObject,
        handler=upload,
        created=lambda answer: not answer.duplicate,
        max_body=lambda context: context.uploads.max_bytes,
        problems=(
            ProblemCode.REFUSED,
            ProblemCode.TOO_LARGE,
            ProblemCode.TOO_SLOW,
            ProblemCode.TOO_BUSY,
            ProblemCode.STORAGE_DOWN,
        ),
    ),
)
