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
from inference_server.storage.arrivals import Arrival
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

    async def take(self, outcomes: Sequence[Outcome]) -> None:
        """Record the outcomes and start the work on new frames, all together or, on an exception, not at all."""
        admitted = [outcome for outcome in outcomes if isinstance(outcome, AdmittedFile)]
        refused = [outcome for outcome in outcomes if isinstance(outcome, RefusedFile)]
        async with self._broker.transaction() as transaction:
            connection = transaction.connection
            added = await self._add_cameras(connection, admitted)
            new = await frames.add(connection, [_new_frame(item) for item in admitted])
            now = self._clock.now()
            work = [Work(StageName.DETECT, frame_id, camera_id, now) for (camera_id, _), frame_id in new.items()]
            await transaction.publish(work)
            await arrivals.record(
                connection,
                [await _arrival(connection, item, new) for item in admitted] + [_refusal(item) for item in refused],
            )
            await announcements.add(connection, added)
        for item in refused:
            _LOGGER.warning("Refused %r: %s", item.file.path, item.refusal.detail)
        if added:
            self._announced.notify()

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


def _new_frame(item: AdmittedFile) -> NewFrame:
    return NewFrame(
        camera_id=item.camera_id,
        content_hash=item.picture.content_hash,
        media_path=item.media_path,
        captured_at=item.arrived_at,
        arrived_at=item.arrived_at,
        width=item.picture.width,
        height=item.picture.height,
    )


async def _arrival(connection: AsyncConnection, item: AdmittedFile, new: Mapping[tuple[str, str], int]) -> Arrival:
    key = (item.camera_id, item.picture.content_hash)
    frame_id = new.get(key) or await frames.find_id(connection, *key)
    return Arrival(item.file, item.arrived_at, item.camera_id, frame_id)


def _refusal(item: RefusedFile) -> Arrival:
    return Arrival(item.file, item.refusal.refused_at, item.refusal.camera_id, refusal=item.refusal)
