# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where the pipeline begins: admitted files become frames that wait for detection."""

import logging
from collections.abc import Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.announcement import Announcement, AnnouncementKind
from inference_server.core.camera import Camera, camera_name
from inference_server.core.clock import Clock
from inference_server.core.message import StageName, Work
from inference_server.core.signal import Signal
from inference_server.ingest.admission import AdmittedFile, Outcome, RefusedFile
from inference_server.pipeline.broker import Broker
from inference_server.pipeline.judging import Judging
from inference_server.storage import announcements, arrivals, cameras, frames
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
        refused = [outcome for outcome in outcomes if isinstance(outcome, RefusedFile)]
        async with self._broker.transaction() as transaction:
            connection = transaction.connection
            added = await self._add_cameras(connection, admitted)
            new = await frames.add(connection, [_new_frame(item) for item in admitted])
            now = self._clock.now()
            priorities = {_key(item): item.priority for item in admitted}
            await transaction.publish(
                [Work(StageName.DETECT, frame_id, key[0], now, priorities[key]) for key, frame_id in new.items()]
            )
            await arrivals.record(
                connection,
                [await _arrival(connection, file, item, new) for item in admitted if (file := item.file)]
                + [_refusal(item) for item in refused],
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

    async def _add_cameras(self, connection: AsyncConnection, admitted: Sequence[AdmittedFile]) -> list[Announcement]:
        folders = {item.camera_id: item.folder for item in admitted}
        added = []
        for camera_id, folder in folders.items():
            now = self._clock.now()
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


async def _arrival(
    connection: AsyncConnection, file: FileVersion, item: AdmittedFile, new: Mapping[tuple[str, str], int]
) -> Arrival:
    frame_id = new.get(_key(item)) or await frames.find_id(connection, *_key(item))
    return Arrival(file, item.arrived_at, item.camera_id, frame_id)


def _refusal(item: RefusedFile) -> Arrival:
    return Arrival(item.file, item.refusal.refused_at, item.refusal.camera_id, refusal=item.refusal)
