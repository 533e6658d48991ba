# SPDX-License-Identifier: AGPL-3.0-or-later
"""Gather: frames join their camera's open batch, which is its event, and the event is judged anew."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.announcement import Announcement, AnnouncementKind
from inference_server.core.assessment import RiskLevel, risk_level
from inference_server.core.clock import Clock
from inference_server.core.detection import Sighting
from inference_server.core.event import Event
from inference_server.core.frame import Frame, FrameSource
from inference_server.core.message import Message, StageName, Work
from inference_server.core.signal import Signal
from inference_server.pipeline.batch import BatchRules
from inference_server.pipeline.broker import Broker, Transaction
from inference_server.pipeline.event_writer import EventWriter
from inference_server.pipeline.explaining import NOT_EXPLAINED, Explaining
from inference_server.pipeline.history import remember
from inference_server.pipeline.incidents import Changed, IncidentKeeper
from inference_server.pipeline.judging import Judging
from inference_server.pipeline.retry import PermanentError
from inference_server.pipeline.sorting import Sorter
from inference_server.settings import RiskSettings, StationarySettings
from inference_server.storage import announcements, cameras, events, frames
from inference_server.storage.cameras import CameraRow


@dataclass(frozen=True, slots=True)
class _Happening:
    """What is to be told: without an event, only the camera changed."""

    kind: AnnouncementKind
    event: Event | None = None
    previous_level: RiskLevel | None = None


class GatherStage:
    """Consumes frames whose objects are known, in the order in which they came."""

    name = StageName.GATHER
    batch_size = 32
    lanes = 1

    def __init__(
        self,
        broker: Broker,
        announced: Signal,
        clock: Clock,
        *,
        judging: Judging,
        incidents: IncidentKeeper,
        rules: BatchRules,
        risk: RiskSettings,
        stationary: StationarySettings,
        zone: ZoneInfo,
        explaining: Explaining = NOT_EXPLAINED,
    ) -> None:
        """Take the parts; `announced` is notified when something was announced."""
        self._broker = broker
        self._announced = announced
        self._clock = clock
        self._judging = judging
        self._incidents = incidents
        self._rules = rules
        self._thresholds = risk.thresholds
        self._writer = EventWriter(clock, rules=rules, risk=risk, zone=zone)
        self._sorter = Sorter(stationary)
        self._explaining = explaining

    async def ready(self) -> None:
        """Gathering needs nothing but the database."""

    async def consume(self, messages: Sequence[Message]) -> None:
        """Make the frames part of their cameras' stories, all in one transaction."""
        async with self._broker.transaction() as transaction:
            connection = transaction.connection
            await cameras.lock(connection, [message.work.camera_id for message in messages])
            await transaction.complete(messages)
            found = await frames.get_many(connection, [message.work.subject_id for message in messages])
            arrived = [_found(found, message) for message in messages]
            sightings = await frames.sightings(connection, arrived)
            by_camera = groupby(sorted(arrived, key=lambda frame: frame.camera_id), key=lambda frame: frame.camera_id)
            of_cameras = {camera_id: list(group) for camera_id, group in by_camera}
            rows = await cameras.get_many(connection, of_cameras)
            open_events = await events.open_events_of(connection, of_cameras)
            sightings = await self._sorter.sort_out(connection, of_cameras, sightings)
            told: list[Announcement] = []
            changed: list[Changed] = []
            for camera_id, group in of_cameras.items():
                event = open_events.get(camera_id)
                seen = [frame for frame in group if sightings[frame.id].counted]
                ended_before = await events.last_end(connection, camera_id) if seen and event is None else None
                live, late, imported = self._sort(seen, event.started_at if event else ended_before)
                happenings = await self._join(
                    transaction, camera_id, event, [sightings[frame.id] for frame in live], ended_before
                )
                past = await self._remember(connection, camera_id, [sightings[frame.id] for frame in late])
                await self._wish(transaction, [*happenings, *past])
                silent = await self._remember(connection, camera_id, [sightings[frame.id] for frame in imported])
                changed += _changed(silent, live=False, told=False)
                changed += [*_changed(past, live=False), *_changed(happenings)]
                if camera_id in rows:
                    told += await self._tell(connection, rows[camera_id], group, happenings, past)
            stories = await self._incidents.take(connection, changed)
            await announcements.add(connection, [*map(stories.with_incident, told), *stories.told])
        self._announced.notify()

    async def _wish(self, transaction: Transaction, happenings: Sequence[_Happening]) -> None:
        """Have what happened explained; imported pictures are nobody's news."""
        latest = {happening.event.id: happening.event for happening in happenings if happening.event is not None}
        now = self._clock.now()
        await transaction.wish([work for event in latest.values() for work in self._explaining.work(event, now)])

    def _sort(self, seen: Sequence[Frame], earliest: datetime | None) -> tuple[list[Frame], list[Frame], list[Frame]]:
        """Divide a camera's frames into those of now, those of the past that came late, and imported ones."""
        imported = [frame for frame in seen if frame.source is FrameSource.IMPORT]
        recent = [frame for frame in seen if frame.source is not FrameSource.IMPORT]
        if earliest is None and recent:
            earliest = recent[0].captured_at
        late = [frame for frame in recent if self._rules.is_past(frame.captured_at, frame.arrived_at, earliest)]
        return [frame for frame in recent if frame not in late], late, imported

    async def _remember(
        self, connection: AsyncConnection, camera_id: str, seen: Sequence[Sighting]
    ) -> list[_Happening]:
        """Make sightings history. Return what there is to tell of it, if anybody is to be told."""
        changes = await remember(connection, camera_id, seen, rules=self._rules, writer=self._writer)
        happenings: list[_Happening] = []
        for change in changes:
            happenings.append(self._happening(change.before, change.event))
            if change.before is None:
                happenings.append(_Happening(AnnouncementKind.EVENT_ENDED, change.event))
        return happenings

    async def _join(
        self,
        transaction: Transaction,
        camera_id: str,
        event: Event | None,
        seen: Sequence[Sighting],
        ended_before: datetime | None,
    ) -> list[_Happening]:
        connection = transaction.connection
        happenings: list[_Happening] = []
        for segment in self._rules.split(event, seen, ended_before):
            event = segment.continues
            if segment.sightings:
                event = await self._writer.write(connection, camera_id, segment)
                happenings.append(self._happening(segment.continues, event))
            if event is not None and segment.end is not None:
                event = await events.end(connection, event, segment.end.at, segment.end.reason)
                happenings.append(_Happening(AnnouncementKind.EVENT_ENDED, event))
            elif event is not None:
                closes_at = self._rules.end(event.started_at, event.last_detection_at).at
                latest = self._clock.now() + self._rules.longest  # what is later was told by a clock that went back
                await transaction.publish([Work(StageName.CLOSE, event.id, camera_id, min(closes_at, latest))])
        return happenings

    def _happening(self, before: Event | None, event: Event) -> _Happening:
        if before is None:
            return _Happening(AnnouncementKind.EVENT_DETECTED, event)
        level_before, level = self._level(before), self._level(event)
        if level.rank > level_before.rank:
            return _Happening(AnnouncementKind.EVENT_ESCALATED, event, level_before)
        return _Happening(AnnouncementKind.EVENT_UPDATED, event)

    async def _tell(
        self,
        connection: AsyncConnection,
        row: CameraRow,
        group: Sequence[Frame],
        happenings: Sequence[_Happening],
        past: Sequence[_Happening],
    ) -> list[Announcement]:
        before = row
        row = _with_newest_frame(row, max(group, key=lambda frame: (frame.captured_at, frame.id)))
        told = []
        for happening in happenings:
            if (event := happening.event) is not None:
                row = replace(row, last_event_id=event.id)
                told.append(self._announcement(row, happening, event if event.is_open else None))
        open_event = None if told and not past else await events.open_event(connection, row.camera.id)
        for happening in past:
            row = await _with_newest_event(connection, row, happening.event)
            told.append(self._announcement(row, happening, open_event))
        if row != before:
            await cameras.update_latest(connection, row)
            if not told:
                told.append(self._announcement(row, _Happening(AnnouncementKind.CAMERA_UPDATED), open_event))
        return told

    def _announcement(self, row: CameraRow, happening: _Happening, open_event: Event | None) -> Announcement:
        state = row.state(open_event, judged=self._judging.status.judges)
        now = self._clock.now()
        return Announcement(happening.kind, row.camera.id, now, state, happening.event, happening.previous_level)

    def _level(self, event: Event) -> RiskLevel:
        return risk_level(event.assessment.score, self._thresholds)


def _changed(happenings: Sequence[_Happening], *, live: bool = True, told: bool = True) -> list[Changed]:
    """Return the events of happenings that tell more than an end, which changes no story."""
    return [
        Changed(happening.event, live, told)
        for happening in happenings
        if happening.event is not None and happening.kind is not AnnouncementKind.EVENT_ENDED
    ]


def _found(frames_found: Mapping[int, Frame], message: Message) -> Frame:
    if (frame := frames_found.get(message.work.subject_id)) is None:
        raise PermanentError(f"the frame {message.work.subject_id} is gone")
    return frame


def _with_newest_frame(row: CameraRow, frame: Frame) -> CameraRow:
    newest = row.camera.last_frame_at
    if newest is not None and newest > frame.captured_at:
        return row
    return replace(row, camera=replace(row.camera, last_frame_at=frame.captured_at), last_frame_id=frame.id)


async def _with_newest_event(connection: AsyncConnection, row: CameraRow, event: Event | None) -> CameraRow:
    """Return a camera's row with an event of the past, unless its last one is younger."""
    last = None if row.last_event_id is None else await events.get(connection, row.last_event_id)
    if event is None or (last is not None and last.started_at >= event.started_at):
        return row
    return replace(row, last_event_id=event.id)
