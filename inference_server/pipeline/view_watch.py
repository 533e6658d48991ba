# SPDX-License-Identifier: AGPL-3.0-or-later
"""The watch over the cameras' views: what judged pictures make of them, and telling when a problem begins or ends."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.announcement import Announcement, AnnouncementKind
from inference_server.core.clock import Clock
from inference_server.core.frame import Frame, FrameSource
from inference_server.core.view import View
from inference_server.detection.scene import Signature
from inference_server.detection.scene_watch import Patience, watch
from inference_server.pipeline.judging import Judging
from inference_server.settings import SceneSettings
from inference_server.storage import announcements, cameras, views

_LOGGER = logging.getLogger(__name__)

LONGEST_PAUSE = timedelta(seconds=5)
"""A camera that sends more pictures is looked at no more often: a view does not change by the second."""


@dataclass(frozen=True, slots=True)
class SeenView:
    """A picture's signature, and the frame that it is of."""

    frame: Frame
    signature: Signature


class ViewWatch:
    """Takes what pictures show of their cameras' views."""

    def __init__(self, settings: SceneSettings, clock: Clock, judging: Judging) -> None:
        """Take the settings and the parts."""
        self._enabled = settings.enabled
        self._patience = Patience(settings.after_pictures, timedelta(seconds=settings.after_seconds))
        self._pause = min(LONGEST_PAUSE, self._patience.lasting / (2 * self._patience.pictures))
        self._looked_at: dict[str, datetime] = {}
        self._clock = clock
        self._judging = judging

    def wants(self, frame: Frame) -> bool:
        """Return whether a picture is to tell something of its camera's view now: imported ones tell of the past."""
        if not self._enabled or frame.source is FrameSource.IMPORT:
            return False
        last = self._looked_at.get(frame.camera_id)
        if last is not None and abs(frame.captured_at - last) < self._pause:
            return False
        self._looked_at[frame.camera_id] = frame.captured_at
        return True

    async def take(self, connection: AsyncConnection, seen: Sequence[SeenView]) -> bool:
        """Go on with the views of these pictures, within their stage's transaction, whose end it has to be.

        Return whether something was announced. The cameras are locked, so that each picture counts once and in order;
        one that is older than what was seen already changes nothing.
        """
        if not seen:
            return False
        by_camera = _by_camera(seen)
        await cameras.lock(connection, by_camera)
        told: list[Announcement] = []
        unwatched = await views.not_watched(connection, by_camera)
        known = await views.get_many(connection, by_camera)
        for camera_id in sorted(by_camera.keys() - unwatched):
            before = after = known[camera_id]
            for item in by_camera[camera_id]:
                frame = item.frame
                after = watch(after, item.signature, frame.captured_at, frame.arrived_at, self._patience)
            if after is not before:
                await views.write(connection, camera_id, before, after)
                told += await self._told(connection, camera_id, before, after)
        await announcements.add(connection, told)
        return bool(told)

    async def _told(self, connection: AsyncConnection, camera_id: str, before: View, after: View) -> list[Announcement]:
        if before.state.problems == after.state.problems:
            return []
        found = ", ".join(problem.kind for problem in after.state.problems)
        _LOGGER.warning("The view of %s: %s", camera_id, found or "nothing is wrong any more")
        state = await cameras.state(connection, camera_id, judged=self._judging.status.judges)
        if state is None:
            return []
        return [Announcement(AnnouncementKind.CAMERA_UPDATED, camera_id, self._clock.now(), state)]


def _by_camera(seen: Iterable[SeenView]) -> Mapping[str, Sequence[SeenView]]:
    """Return the pictures of each camera, oldest first."""
    found: dict[str, list[SeenView]] = {}
    for item in sorted(seen, key=lambda item: (item.frame.captured_at, item.frame.id)):
        found.setdefault(item.frame.camera_id, []).append(item)
    return found
