# SPDX-License-Identifier: AGPL-3.0-or-later
"""Gather: frames join their camera's open batch, which is its event, and the event is judged anew."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.announcement import Announcement, AnnouncementKind
from inference_server.core.assessment import Assessment, RiskLevel, risk_level
from inference_server.core.clock import Clock
from inference_server.core.detection import Sighting, Track
from inference_server.core.event import Event
from inference_server.core.frame import Frame
from inference_server.core.message import Message, StageName, Work
from inference_server.core.signal import Signal
from inference_server.detection.tracking import link_tracks
from inference_server.pipeline.batch import BatchRules, Segment, not_before
from inference_server.pipeline.broker import Broker, Transaction
from inference_server.pipeline.judging import Judging
from inference_server.pipeline.retry import PermanentError
from inference_server.risk.evidence import Evidence, is_night
from inference_server.risk.rules import assess
from inference_server.settings import RiskSettings
from inference_server.storage import announcements, cameras, events, frames
from inference_server.storage.cameras import CameraRow
from inference_server.storage.events import EventChange


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
        rules: BatchRules,
        risk: RiskSettings,
        zone: ZoneInfo,
    ) -> None:
        """Take the parts; `announced` is notified when something was announced."""
        self._broker = broker
        self._announced = announced
        self._clock = clock
        self._judging = judging
        self._rules = rules
        self._risk = risk
        self._zone = zone

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
            told: list[Announcement] = []
            for camera_id, group in of_cameras.items():
                seen = [sighting for frame in group if (sighting := sightings[frame.id]).detections]
                happenings = await self._join(transaction, camera_id, open_events.get(camera_id), seen)
                if camera_id in rows:
                    told += await self._tell(connection, rows[camera_id], group, happenings)
            await announcements.add(connection, told)
        self._announced.notify()

    async def _join(
        self, transaction: Transaction, camera_id: str, event: Event | None, seen: Sequence[Sighting]
    ) -> list[_Happening]:
        connection = transaction.connection
        happenings: list[_Happening] = []
        ended_before = await events.last_end(connection, camera_id) if seen and event is None else None
        for segment in self._rules.split(event, seen, ended_before):
            event = segment.continues
            if segment.sightings:
                event = await self._write(connection, camera_id, segment)
                happenings.append(self._happening(segment.continues, event))
            if event is not None and segment.end is not None:
                event = await events.end(connection, event, segment.end.at, segment.end.reason)
                happenings.append(_Happening(AnnouncementKind.EVENT_ENDED, event))
            elif event is not None:
                closes_at = self._rules.end(event.started_at, event.last_detection_at).at
                await transaction.publish([Work(StageName.CLOSE, event.id, camera_id, closes_at)])
        return happenings

    async def _write(self, connection: AsyncConnection, camera_id: str, segment: Segment) -> Event:
        event, new = segment.continues, segment.sightings
        known: list[Sighting] = []
        if event is not None:
            stored = await frames.sightings_of_event(connection, event.id)
            known = [not_before(sighting, event.started_at) for sighting in stored]
        best = max(new, key=_confidence)
        if event is not None and event.best_confidence >= _confidence(best):
            best_frame_id, best_confidence = event.best_frame_id, event.best_confidence
        else:
            best_frame_id, best_confidence = best.frame_id, _confidence(best)
        started_at = event.started_at if event else new[0].captured_at
        last_detection_at = max(event.last_detection_at if event else started_at, *(s.captured_at for s in new))
        tracks = link_tracks((*known, *new))
        change = EventChange(
            last_detection_at=last_detection_at,
            frame_count=(event.frame_count if event else 0) + len(new),
            best_frame_id=best_frame_id,
            best_confidence=best_confidence,
            tracks=tracks,
            assessment=self._assess(tracks, last_detection_at),
        )
        if event is None:
            event = await events.start(connection, camera_id, started_at, change)
        else:
            event = await events.change(connection, event, change)
        await frames.give_to_event(connection, [sighting.frame_id for sighting in new], event.id)
        return event

    def _assess(self, tracks: tuple[Track, ...], seen_at: datetime) -> Assessment:
        local = seen_at.astimezone(self._zone)
        night = is_night(local, self._risk.night_starts_hour, self._risk.night_ends_hour)
        return assess(Evidence(tracks, local, night), self._clock)

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
    ) -> list[Announcement]:
        row = _with_newest_frame(row, max(group, key=lambda frame: (frame.captured_at, frame.id)))
        told = []
        for happening in happenings or [_Happening(AnnouncementKind.CAMERA_UPDATED)]:
            event = happening.event
            if event is not None:
                row = replace(row, last_event_id=event.id)
                open_event = event if event.is_open else None
            else:
                open_event = await events.open_event(connection, row.camera.id)
            state = row.state(open_event, judged=self._judging.status.judges)
            now = self._clock.now()
            told.append(Announcement(happening.kind, row.camera.id, now, state, event, happening.previous_level))
        await cameras.update_latest(connection, row)
        return told

    def _level(self, event: Event) -> RiskLevel:
        return risk_level(event.assessment.score, self._risk.thresholds)


def _found(frames_found: Mapping[int, Frame], message: Message) -> Frame:
    if (frame := frames_found.get(message.work.subject_id)) is None:
        raise PermanentError(f"the frame {message.work.subject_id} is gone")
    return frame


def _with_newest_frame(row: CameraRow, frame: Frame) -> CameraRow:
    newest = row.camera.last_frame_at
    if newest is not None and newest > frame.captured_at:
        return row
    return replace(row, camera=replace(row.camera, last_frame_at=frame.captured_at), last_frame_id=frame.id)


def _confidence(sighting: Sighting) -> float:
    return max(detection.confidence for detection in sighting.detections)
