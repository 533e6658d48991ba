# SPDX-License-Identifier: AGPL-3.0-or-later
"""The ledger: what became of every picture, drawn up from one consistent state of the database.

It balances at every moment, not only at the end: each admitted frame waits for a stage, or is judged, or dead, and its
detections and its event say the same of it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import and_, func, select

from inference_server.core.message import StageName
from inference_server.storage.database import Database
from inference_server.storage.rows import AnyRow
from inference_server.storage.tables import announcements, arrivals, dead_letters, detections, events, frames, messages
from tests.faults.pictures import Kind, kind_of, number_of, seen_in


@dataclass(frozen=True, slots=True)
class FrameAccount:
    """All that is stored of one frame. `events` counts its detections by their event."""

    id: int
    camera_id: str
    media_path: str
    number: int
    waits_for: tuple[str, ...]
    dead_in: tuple[str, ...]
    events: Mapping[int | None, int]
    standing: int
    """Detections of no event, because they show what stood there before."""

    @property
    def state(self) -> str:
        """Where it is: `detect` or `gather` while it waits, else `dead` or `judged`."""
        return "+".join((*self.waits_for, *(["dead"] if self.dead_in else []))) or "judged"


@dataclass(frozen=True, slots=True)
class EventAccount:
    """All that is stored of one event. `told` are the announcements of it, in their order."""

    id: int
    camera_id: str
    frame_count: int
    is_open: bool
    timers: int
    told: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ledger:
    """One moment. `arrived` holds the frame of each file, None for a refused one."""

    arrived: Mapping[str, int | None]
    frames: Sequence[FrameAccount]
    events: Sequence[EventAccount]
    sequence: Sequence[int]
    last_sequence: int
    leased: int

    @property
    def pending(self) -> int:
        """How many frames wait for a stage or are in one."""
        return sum(frame.state in {"detect", "gather"} for frame in self.frames)

    @property
    def dead(self) -> int:
        """How many frames are dead letters."""
        return sum(frame.state == "dead" for frame in self.frames)

    @property
    def judged(self) -> int:
        """How many frames are done."""
        return sum(frame.state == "judged" for frame in self.frames)

    @property
    def refused(self) -> int:
        """How many files were refused."""
        return sum(frame is None for frame in self.arrived.values())

    @property
    def is_done(self) -> bool:
        """Whether nothing waits and no event is open."""
        return not self.pending and not any(event.is_open for event in self.events)

    def complaints(self) -> list[str]:
        """Return what does not balance at this moment."""
        return [
            *self._files(),
            *(text for frame in self.frames for text in _of_frame(frame)),
            *self._events(),
            *self._sequence(),
        ]

    def final_complaints(self, files: set[str]) -> list[str]:
        """Return what does not balance now that all is done, given the files that lie in the watch root."""
        missing = files - set(self.arrived)
        dead = [
            frame for frame in self.frames if frame.state == "dead" and kind_of(frame.number) is not Kind.UNJUDGEABLE
        ]
        return [
            *self.complaints(),
            *(f"{path} never arrived" for path in sorted(missing)[:5]),
            *([f"{self.pending} frames still wait"] if self.pending else []),
            *(
                f"frame {frame.id} is dead for no reason"
                for frame in dead
                if kind_of(frame.number) is not Kind.DIFFICULT
            ),
            *(f"event {event.id} is still open" for event in self.events if event.is_open),
            *([f"{self.leased} messages are leased"] if self.leased else []),
        ]

    def _files(self) -> Iterator[str]:
        by_id = {frame.id: frame for frame in self.frames}
        if len(self.frames) != self.judged + self.dead + self.pending:
            odd = Counter(frame.state for frame in self.frames)
            yield f"admitted {len(self.frames)} is not judged + dead + pending: {dict(odd)}"
        if unknown := set(by_id) - set(self.arrived.values()):
            yield f"frames of no file: {sorted(unknown)}"
        contents = Counter((frame.camera_id, frame.number) for frame in self.frames)
        yield from (f"{key} was admitted {count} times" for key, count in contents.items() if count > 1)
        for path, frame_id in self.arrived.items():
            corrupt = kind_of(number_of(path)) is Kind.CORRUPT
            if corrupt != (frame_id is None):
                yield f"{path} was {'admitted' if corrupt else 'refused'}"
            elif frame_id is not None and by_id[frame_id].number != number_of(path):
                yield f"{path} is taken for picture {by_id[frame_id].number}"

    def _events(self) -> Iterator[str]:
        shown = Counter[int]()
        cameras = {frame.id: frame.camera_id for frame in self.frames}
        known = {event.id: event for event in self.events}
        for frame in self.frames:
            for event_id in frame.events:
                if event_id is not None:
                    shown[event_id] += 1
                    if known[event_id].camera_id != cameras[frame.id]:
                        yield f"frame {frame.id} is in event {event_id} of another camera"
        for event in self.events:
            if event.frame_count != shown[event.id]:
                yield f"event {event.id} counts {event.frame_count} frames and has {shown[event.id]}"
            yield from _of_event(event)
        now_open = Counter(event.camera_id for event in self.events if event.is_open)
        yield from (f"{camera} has {count} open events" for camera, count in now_open.items() if count > 1)

    def _sequence(self) -> Iterator[str]:
        if list(self.sequence) != list(range(1, self.last_sequence + 1)):
            yield f"the announcements have gaps: {len(self.sequence)} of {self.last_sequence}"


def _of_frame(frame: FrameAccount) -> Iterator[str]:
    """Compare a frame's state with what was found in it and what became of that."""
    expected = len(seen_in(frame.number))
    stored = sum(frame.events.values())
    gathered = stored - frame.events.get(None, 0) + frame.standing
    match frame.state:
        case "detect" | "dead":
            right = stored == 0
        case "gather":
            right = (stored, gathered) == (expected, 0)
        case _:
            right = stored == gathered == expected and len(frame.events) <= 1
    if not right:
        yield f"frame {frame.id} ({frame.state}) has {dict(frame.events)} of {expected} detections by event"


def _of_event(event: EventAccount) -> Iterator[str]:
    kinds = Counter(event.told)
    if kinds["event_detected"] != 1 or event.told[0] != "event_detected":
        yield f"event {event.id} was announced as {event.told}"
    if kinds["event_ended"] != (not event.is_open) or ("event_ended" in event.told[:-1]):
        yield f"event {event.id}, {'open' if event.is_open else 'ended'}, was announced as {event.told}"
    if event.is_open and event.timers != 1:
        yield f"open event {event.id} has {event.timers} timers"


async def draw_up(database: Database) -> Ledger:
    """Read everything in one transaction."""
    async with database.reading() as connection:
        found = list(await connection.execute(select(arrivals)))
        numbers = {row.frame_id: number_of(row.path) for row in found if row.frame_id is not None}
        waiting = list(await connection.execute(select(messages)))
        letters = list(await connection.execute(select(dead_letters)))
        of_none = and_(detections.c.event_id.is_(None), detections.c.left_out.is_not(None))
        alone = select(detections.c.frame_id, func.count().label("boxes")).where(of_none)
        standing = {row.frame_id: row.boxes for row in await connection.execute(alone.group_by(detections.c.frame_id))}
        by_event = select(detections.c.frame_id, detections.c.event_id, func.count().label("boxes"))
        counted = list(await connection.execute(by_event.group_by(detections.c.frame_id, detections.c.event_id)))
        all_frames = list(await connection.execute(select(frames)))
        all_events = list(await connection.execute(select(events)))
        told = list(await connection.execute(select(announcements).order_by(announcements.c.sequence)))
    gathered: dict[int, dict[int | None, int]] = {row.id: {} for row in all_frames}
    for row in counted:
        gathered[row.frame_id][row.event_id] = row.boxes
    waits, died, timers = (
        _by_subject(waiting),
        _by_subject(letters),
        Counter(row.subject_id for row in waiting if row.stage == StageName.CLOSE),
    )
    return Ledger(
        arrived={row.path: row.frame_id for row in found},
        frames=[
            FrameAccount(
                id=row.id,
                camera_id=row.camera_id,
                media_path=row.media_path,
                number=numbers.get(row.id, -1),
                waits_for=tuple(waits.get(row.id, ())),
                dead_in=tuple(died.get(row.id, ())),
                events=gathered[row.id],
                standing=standing.get(row.id, 0),
            )
            for row in all_frames
        ],
        events=[
            EventAccount(
                id=row.id,
                camera_id=row.camera_id,
                frame_count=row.frame_count,
                is_open=row.ended_at is None,
                timers=timers[row.id],
                told=tuple(item.body["kind"] for item in told if (item.body.get("event") or {}).get("id") == row.id),
            )
            for row in all_events
        ],
        sequence=[row.sequence for row in told],
        last_sequence=told[-1].sequence if told else 0,
        leased=sum(row.leased_until is not None for row in waiting),
    )


def _by_subject(rows: Sequence[AnyRow]) -> dict[int, list[str]]:
    """Return in which stages each frame has one of these rows."""
    of_frames: dict[int, list[str]] = {}
    for row in rows:
        if row.stage != StageName.CLOSE:
            of_frames.setdefault(row.subject_id, []).append(row.stage)
    return of_frames
