# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where the pipeline begins: admitted files become frames that wait for detection."""

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.announcement import Announcement, AnnouncementKind
from inference_server.core.camera import Camera, camera_name
from inference_server.core.clock import Clock
from inference_server.core.message import StageName, Work
from inference_server.core.signal import Signal
from inference_server.ingest.admission import AdmittedClip, AdmittedFile, Outcome, RefusedFile, RepeatedClip
from inference_server.pipeline.broker import Broker
from inference_server.pipeline.judging import Judging
from inference_server.storage import announcements, arrivals, cameras, clips, frames
from inference_server.storage.arrivals import Arrival, FileVersion
from inference_server.storage.frames import NewFrame

_LOGGER = logging.getLogger(__name__)


class FrameIntake:
    """Implements admission's Intake: one transaction records the outcomes and enqueues the new frames."""

    def __init__(self, broker: Broker, announced: Signal, clock: Clock, *, judging: Judging) -> None:
        """Take the parts; `announced` is notified when something was announced."""
        self._broker = broker
        self._announced = announced
        self._clock = clock
        self._judging = judging

    async def take(self, outcomes: Sequence[Outcome]) -> Mapping[tuple[str, str], int]:
        """Record the outcomes and start the work on new frames, all together or, on an exception, not at all.

        Return the ids of the frames that were new, by camera and content hash.
        """
        admitted = [outcome for outcome in outcomes if isinstance(outcome, AdmittedFile)]
        filmed = [outcome for outcome in outcomes if isinstance(outcome, AdmittedClip)]
        repeated = [outcome for outcome in outcomes if isinstance(outcome, RepeatedClip)]
        refused = [outcome for outcome in outcomes if isinstance(outcome, RefusedFile)]
        async with self._broker.transaction() as transaction:
            connection = transaction.connection
            added = await self._add_cameras(connection, [*admitted, *filmed, *repeated])
            sampled = [frame for item in filmed for frame in await _add_clip(connection, item)]
            new = await frames.add(connection, [*map(_new_frame, admitted), *sampled])
            now = self._clock.now()
            priorities = {_key(item): item.priority for item in admitted}
            priorities |= {
                (clip.camera_id, frame.content_hash): clip.priority for clip in filmed for frame in clip.frames
            }
            await transaction.publish(
                [Work(StageName.DETECT, frame_id, key[0], now, priorities[key]) for key, frame_id in new.items()]
            )
            await arrivals.record(
                connection,
                [
                    *[await _arrival(connection, file, item, new) for item in admitted if (file := item.file)],
                    *[await _clip_arrival(connection, item) for item in filmed],
                    *[Arrival(it.file, it.arrived_at, it.camera_id, clip_id=it.clip_id) for it in repeated],
                    *map(_refusal, refused),
                ],
            )
            learnt = {item.camera_id: item.clock_offset for item in admitted if item.clock_offset is not None}
            for camera_id, offset in sorted(learnt.items()):
                await cameras.set_clock_offset(connection, camera_id, offset)
            await announcements.add(connection, added)
        for item in refused:
            _LOGGER.warning("Refused %r: %s", item.refusal.path, item.refusal.detail)
        if added:
            self._announced.notify()
        return new

    async def _add_cameras(
        self, connection: AsyncConnection, admitted: Sequence[AdmittedFile | AdmittedClip | RepeatedClip]
    ) -> list[Announcement]:
        folders = {item.camera_id: item.folder for item in admitted}
        known = await cameras.existing(connection, folders)
        added = []
        for camera_id in folders.keys() - known:
            folder, now = folders[camera_id], self._clock.now()
            if await cameras.add(connection, Camera(camera_id, camera_name(folder), now)):
                _LOGGER.info("New camera %s, from the folder %r", camera_id, folder)
                state = await cameras.state(connection, camera_id, judged=self._judging.status.judges)
                added.append(Announcement(AnnouncementKind.CAMERA_ADDED, camera_id, now, state))
        return added


def _key(item: AdmittedFile) -> tuple[str, str]:
    return item.camera_id, item.picture.content_hash


def _new_frame(item: AdmittedFile) -> NewFrame:
    return NewFrame(
        camera_id=item.camera_id,
        content_hash=item.picture.content_hash,
        media_path=item.media_path,
        captured_at=item.captured_at,
        arrived_at=item.arrived_at,
        width=item.picture.width,
        height=item.picture.height,
        source=item.source,
        time_source=item.time_source,
        size_bytes=len(item.picture.content),
    )


async def _add_clip(connection: AsyncConnection, item: AdmittedClip) -> list[NewFrame]:
    """Add a clip and return its frames; none when the camera has the clip meanwhile."""
    clip = item.clip
    if (clip_id := await clips.add(connection, clip)) is None:
        return []
    return [
        NewFrame(
            camera_id=clip.camera_id,
            content_hash=frame.content_hash,
            media_path=frame.media_path,
            captured_at=clip.captured_at + timedelta(seconds=frame.offset),
            arrived_at=clip.arrived_at,
            width=frame.width,
            height=frame.height,
            source=item.source,
            time_source=item.time_source,
            size_bytes=frame.size_bytes,
            clip_id=clip_id,
            clip_offset_seconds=frame.offset,
        )
        for frame in item.frames
    ]


async def _clip_arrival(connection: AsyncConnection, item: AdmittedClip) -> Arrival:
    clip_id = await clips.find_id(connection, item.clip.camera_id, item.clip.content_hash)
    return Arrival(item.file, item.clip.arrived_at, item.clip.camera_id, clip_id=clip_id)


async def _arrival(
    connection: AsyncConnection, file: FileVersion, item: AdmittedFile, new: Mapping[tuple[str, str], int]
) -> Arrival:
    frame_id = new.get(_key(item)) or await frames.find_id(connection, *_key(item))
    return Arrival(file, item.arrived_at, item.camera_id, frame_id)


def _refusal(item: RefusedFile) -> Arrival:
    return Arrival(item.file, item.refusal.refused_at, item.refusal.camera_id, refusal=item.refusal)
