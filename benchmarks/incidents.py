# SPDX-License-Identifier: AGPL-3.0-or-later
"""What incidents cost: the time to arrange one more picture's event, beside a bare commit on the same disk.

.venv/bin/python -m benchmarks.incidents --days 30 --events 300
"""

import argparse
import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from statistics import median, quantiles

from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.assessment import Assessment, AssessmentSource
from inference_server.core.camera import Camera, CameraSettings
from inference_server.core.clock import Clock
from inference_server.core.context import CameraPlace
from inference_server.core.detection import Label, PathPoint, Track
from inference_server.core.event import EndReason, Event
from inference_server.pipeline.incidents import Changed, IncidentKeeper
from inference_server.settings import IncidentSettings, RiskSettings, Settings
from inference_server.storage import camera_settings, cameras, events, frames
from inference_server.storage.database import Database
from inference_server.storage.events import EventChange
from inference_server.storage.frames import NewFrame

PLACES = (CameraPlace.STREET, CameraPlace.DRIVEWAY, CameraPlace.YARD, CameraPlace.ENTRANCE)
BEGIN = datetime(2026, 10, 1, tzinfo=UTC)


@dataclass
class At(Clock):
    """A clock that tells the time of the event."""

    time: datetime = BEGIN

    def now(self) -> datetime:
        """Return it."""
        return self.time


async def main(days: int, number: int) -> None:
    """Fill a database with the events of so many days, and print what each cost at the end."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "hsi.db")
        await database.open()
        clock, random = At(), Random(1)  # noqa: S311 - the same every time
        settings = Settings(data_dir=Path(folder), time_zone="UTC")
        keeper = IncidentKeeper(clock, settings=IncidentSettings(), risk=RiskSettings(), zone=settings.zone)
        names = [f"camera_{place}_{n}" for n in range(2) for place in PLACES]
        async with database.writing() as connection:
            for name in names:
                await cameras.add(connection, Camera(name, name, BEGIN))
                place = CameraPlace(name.split("_")[1])
                await camera_settings.change(connection, name, CameraSettings(place=place))
        seconds: list[float] = []
        times = sorted(random.uniform(0, days * 86400) for _ in range(number * days))
        async with database.writing() as connection:
            for offset in times:
                clock.time = BEGIN + timedelta(seconds=offset)
                event = await _happen(connection, random.choice(names), clock.time, random)
                started = time.perf_counter()
                await keeper.take(connection, [Changed(event)])
                seconds.append(time.perf_counter() - started)
        await database.close()
        bare = _bare_commit(Path(folder))
    last = seconds[-number:]
    print(f"{len(seconds)} events of {days} days, {len(names)} cameras")
    _report("arranging an event, first day", seconds[:number], bare)
    _report("arranging an event, last day", last, bare)
    print(f"a bare commit: {1000 * bare:.2f} ms")


def _report(what: str, seconds: Sequence[float], bare: float) -> None:
    middle, p95 = median(seconds), quantiles(seconds, n=20)[-1]
    print(f"{what}: {1000 * middle:.2f} ms, p95 {1000 * p95:.2f} ms, {middle / bare:.1f} bare commits")


async def _happen(connection: AsyncConnection, camera_id: str, at: datetime, random: Random) -> Event:
    digest = f"{random.getrandbits(256):064x}"
    new = NewFrame(camera_id, digest, f"{camera_id}/{digest}.jpg", at, at, 640, 480)
    frame_id = (await frames.add(connection, [new]))[new.key]
    path = tuple(PathPoint(n, 0.5, 0.5) for n in range(16))
    tracks = tuple(Track(Label.PERSON, 0.9, at, at + timedelta(seconds=20), 16, frame_id, None, path) for _ in range(2))
    assessment = Assessment(random.choice([10, 40]), "A person", "Rules.", (), AssessmentSource.RULES, False, at)
    change = EventChange(at + timedelta(seconds=20), 16, frame_id, 0.9, tracks, assessment)
    return await events.start(connection, camera_id, at, change, (at + timedelta(seconds=50), EndReason.IDLE))


def _bare_commit(folder: Path) -> float:
    with closing(sqlite3.connect(folder / "bare.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE t (x INTEGER)")
        taken = []
        for number in range(100):
            started = time.perf_counter()
            connection.execute("INSERT INTO t VALUES (?)", (number,))
            taken.append(time.perf_counter() - started)
    return median(taken)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--events", type=int, default=300, help="events a day")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.days, arguments.events))
