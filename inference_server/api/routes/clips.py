# SPDX-License-Identifier: AGPL-3.0-or-later
"""Clips."""

import asyncio
from pathlib import PurePath

from inference_server.api.context import ApiContext
from inference_server.api.files import StoredFile
from inference_server.api.problems import ProblemCode, clip_not_found, no_video
from inference_server.api.routing import AnyRoute, Parameters, Route, RowId
from inference_server.core.clip import VideoKind
from inference_server.storage import clips
from inference_server.storage.tokens import Scope


class OneClip(Parameters):
    """Names a clip."""

    clip_id: RowId


async def video(context: ApiContext, asked: OneClip) -> StoredFile:
    """Return a clip as it was stored."""
    async with context.database.reading() as connection:
        clip = await clips.get(connection, asked.clip_id)
    if clip is None:
        raise clip_not_found(asked.clip_id)
    if clip.pruned_at is not None:
        raise no_video(f"The file of clip {clip.id} is no longer kept.")
    kind = VideoKind(PurePath(clip.media_path).suffix.removeprefix("."))
    file = context.media.path(clip.media_path)
    if not await asyncio.to_thread(file.is_file):
        raise no_video("The clip's file is gone from the media folder.")
    return StoredFile(file, kind.content_type)


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        path="/api/clips/{clip_id}/video",
        summary="A clip, whole or in ranges",
        scope=Scope.READ,
        parameters=OneClip,
        answer=StoredFile,
        handler=video,
        problems=(ProblemCode.CLIP_NOT_FOUND, ProblemCode.NO_VIDEO),
    ),
)
