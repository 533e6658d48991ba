# SPDX-License-Identifier: AGPL-3.0-or-later
"""Close: an event ends when its time is up, to the second and across restarts."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.announcement import Announcement, AnnouncementKind
from inference_server.core.clock import Clock
from inference_server.core.event import Event
from inference_server.core.message import Message, StageName, Work
from inference_server.core.signal import Signal
from inference_server.pipeline.batch import BatchRules
from inference_server.pipeline.broker import Broker
from inference_server.pipeline.explaining import NOT_EXPLAINED, Explaining
from inference_server.pipeline.judging import Judging
from inference_server.storage import announcements, cameras, events, frames

LOOK_AGAIN = timedelta(seconds=1)
"""While frames of the camera wait to be judged, they decide themselves whether the event goes on."""


class CloseStage:
    """Consumes the timers of open events."""

    name = StageName.CLOSE
    batch_size = 16
    lanes = 1

    def __init__(
        self,
        broker: Broker,
        announced: Signal,
        clock: Clock,
        *,
        judging: Judging,
        rules: BatchRules,
        explaining: Explaining = NOT_EXPLAINED,
    ) -> None:
        """Take the parts; `announced` is notified when something was announced."""
        self._broker = broker
        self._announced = announced
        self._clock = clock
        self._judging = judging
        self._rules = rules
        self._explaining = explaining

    async def ready(self) -> None:
        """Timers need nothing but the clock."""

    async def consume(self, messages: Sequence[Message]) -> None:
        """End the events whose time is up; set the timers of the others anew."""
        told: list[Announcement] = []
        async with self._broker.transaction() as transaction:
            await cameras.lock(transaction.connection, [message.work.camera_id for message in messages])
            for message in messages:
                again = await self._close(transaction.connection, message.work, told)
                if again is None:
                    await transaction.complete([message])
                else:
                    await transaction.publish([again])
            ended = [item.event for item in told if item.event is not None]
            now = self._clock.now()
            await transaction.wish([work for event in ended for work in self._explaining.work(event, now)])
            await announcements.add(transaction.connection, told)
        self._announced.notify()

    async def _close(self, connection: AsyncConnection, work: Work, told: list[Announcement]) -> Work | None:
        event = await events.get(connection, work.subject_id)
        if event is None or not event.is_open:
            return None
        now = self._clock.now()
        end = self._rules.end(event.started_at, event.last_detection_at)
        closes_at = end.at + await _lag(connection, event)
        if now < closes_at <= now + self._rules.longest:
            return Work(StageName.CLOSE, event.id, event.camera_id, closes_at)
        if await self._broker.frames_wait(connection, event.camera_id):
            return Work(StageName.CLOSE, event.id, event.camera_id, now + LOOK_AGAIN)
        ended = await events.end(connection, event, end.at, end.reason)
        if (state := await cameras.state(connection, event.camera_id, judged=self._judging.status.judges)) is not None:
            told.append(Announcement(AnnouncementKind.EVENT_ENDED, event.camera_id, now, state, ended))
        return None


async def _lag(connection: AsyncConnection, event: Event) -> timedelta:
    """Return by how much the event's pictures come later than they were taken: the next one may as well."""
    arrived_at = await frames.last_arrival(connection, event.id)
    return max(arrived_at - event.last_detection_at, timedelta(0)) if arrived_at else timedelta(0)
