# SPDX-License-Identifier: AGPL-3.0-or-later
"""How long a cleanup of many frames keeps live pictures from being written, beside a bare commit on the same disk.

.venv/bin/python -m benchmarks.cleanup --frames 100000
"""

import argparse
import asyncio
import os
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.camera import Camera
from inference_server.core.clock import SystemClock
from inference_server.core.signal import Signal
from inference_server.observability.health import HealthBoard
from inference_server.pipeline.upkeep import Upkeep
from inference_server.settings import Settings
from inference_server.storage import cameras
from inference_server.storage.database import Database
from inference_server.storage.media import MediaFolder
from inference_server.storage.tables import arrivals, assessments, detections, events, frames

AT_ONCE = 5000
FRAMES_OF_EVENT = 10
OLD = timedelta(days=40)


class TimedDatabase(Database):
    """Notes how long each transaction had the writer, in seconds."""

    def __init__(self, where: Path) -> None:
        """Start with no note."""
        super().__init__(where)
        self.held: list[float] = []

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection as always."""
        async with super().writing() as connection:
            started = time.perf_counter()
            yield connection
            # the commit belongs to it
            await connection.commit()
            self.held.append(time.perf_counter() - started)


async def main(count: int) -> None:
    """Fill a database with old frames, half of them of events, clean it up, and print what that took."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        settings = Settings(data_dir=root, watch_root=root / "cameras", time_zone="UTC")
        database, media = TimedDatabase(root / "hsi.db"), MediaFolder(root / "media")
        await database.open()
        await _fill(database, media, count)
        clock = SystemClock()
        health = HealthBoard(clock)
        upkeep = Upkeep(settings, database, media, announced=Signal(), health=health, clock=clock, judged=lambda: True)
        database.held.clear()
        started, worked = time.perf_counter(), time.process_time()
        report = await upkeep.housekeeping.clean()
        took, worked = time.perf_counter() - started, time.process_time() - worked
        await database.close()
        deleted = report.frames.count + sum(amount.count for amount in report.events.values()) * FRAMES_OF_EVENT
        print(f"{deleted} frames in {took:.1f} s, {deleted / took:.0f} frames/s, {len(database.held)} transactions")
        print(f"processor time: {1000 * worked / len(database.held):.1f} ms per transaction, its files included")
        print(f"writer held:    {_spread(database.held)}")
        print(f"a bare commit:  {_spread(_bare_commits(root / 'bare.db', len(database.held)))}")


async def _fill(database: Database, media: MediaFolder, count: int) -> None:
    at = datetime.now(UTC) - OLD
    async with database.writing() as connection:
        await cameras.add(connection, Camera("front_door", "Front door", at))
    for start in range(0, count, AT_ONCE):
        numbers = range(start, min(start + AT_ONCE, count))
        paths = {number: await asyncio.to_thread(_write, media, number, at) for number in numbers}
        async with database.writing() as connection:
            await connection.execute(insert(frames), [_frame(number, paths[number], at) for number in numbers])
            await connection.execute(insert(arrivals), [_arrival(number, at) for number in numbers])
            of_events = [number for number in numbers if number % (2 * FRAMES_OF_EVENT) < FRAMES_OF_EVENT]
            firsts = [number for number in of_events if number % FRAMES_OF_EVENT == 0]
            if firsts:
                await connection.execute(insert(events), [_event(number, at) for number in firsts])
                await connection.execute(insert(assessments), [_assessment(number, at) for number in firsts])
                found = [_detection(number, ordinal) for number in of_events for ordinal in range(3)]
                await connection.execute(insert(detections), found)


def _write(media: MediaFolder, number: int, at: datetime) -> str:
    path = Path("front_door", f"{number % 256:02x}", f"{number:064}.jpg")
    target = media.root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(b"picture")
    os.utime(target, (at.timestamp(), at.timestamp()))
    return path.as_posix()


def _frame(number: int, path: str, at: datetime) -> dict[str, object]:
    times = {"captured_at": at, "arrived_at": at}
    size = {"width": 1920, "height": 1080, "size_bytes": 7}
    return (
        {"id": number + 1, "camera_id": "front_door", "content_hash": f"{number:064}", "media_path": path}
        | times
        | size
    )


def _arrival(number: int, at: datetime) -> dict[str, object]:
    return {
        "path": f"front_door/{number}.jpg",
        "size": 7,
        "modified_ns": 1,
        "arrived_at": at,
        "camera_id": "front_door",
        "frame_id": number + 1,
    }


def _event(number: int, at: datetime) -> dict[str, object]:
    return {
        "id": number + 1,
        "camera_id": "front_door",
        "started_at": at,
        "last_detection_at": at,
        "ended_at": at,
        "end_reason": "idle",
        "frame_count": FRAMES_OF_EVENT,
        "best_frame_id": number + 1,
        "best_confidence": 0.9,
        "tracks": [],
        "score": 35,
        "assessment_id": None,
    }


def _assessment(number: int, at: datetime) -> dict[str, object]:
    texts = {"summary": "A person", "reasoning": "Somebody unknown.", "factors": []}
    return {"event_id": number + 1, "score": 35, "source": "rules", "verified": False, "assessed_at": at} | texts


def _detection(number: int, ordinal: int) -> dict[str, object]:
    box = {"x": 1.0, "y": 1.0, "width": 10.0, "height": 10.0}
    event_id = number - number % FRAMES_OF_EVENT + 1
    names = {"frame_id": number + 1, "ordinal": ordinal, "event_id": event_id}
    return names | {"label": "person", "confidence": 0.9} | box


def _bare_commits(file: Path, count: int) -> list[float]:
    """Return the seconds that SQLite takes to commit one small row durably, each time."""
    taken = []
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE t (x)")
        for _ in range(count):
            started = time.perf_counter()
            connection.execute("INSERT INTO t VALUES (1)")
            taken.append(time.perf_counter() - started)
    return taken


def _spread(seconds: list[float]) -> str:
    ordered = [1000 * value for value in sorted(seconds)]
    half, most = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
    return f"median {half:.1f} ms, 99 % {most:.1f} ms, longest {ordered[-1]:.1f} ms"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100_000)
    asyncio.run(main(parser.parse_args().frames))
