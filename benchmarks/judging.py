# SPDX-License-Identifier: AGPL-3.0-or-later
"""From stored detections to the first assessment, with a month of history in the database.

    python -m benchmarks.judging [--days 30] [--events 300] [--cameras 8] [--pictures 200] [--postgresql]

Each time is from the moment at which a picture's detections are committed until its event and the rules' assessment
are: the gather stage claims the message, links tracks, reads the home, the other cameras and the habits, judges, writes
the event, announces it and asks for an analysis. A bare durable commit of one row on the same disk is the baseline.
"""

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import func, insert, select

from inference_server.core.baseline import SLOTS
from inference_server.core.context import HomeContext, Mode
from inference_server.core.detection import Box, Category, Detection, Label
from inference_server.core.message import StageName
from inference_server.pipeline.explaining import Explaining
from inference_server.storage import home_context
from inference_server.storage.database import Database
from inference_server.storage.tables import assessments, cameras, detections, events, frames, habits, zones
from tests.support.bench import Bench, a_person, bench
from tests.support.home import START, MovableClock
from tests.support.services import running_postgresql

TARGET_MILLISECONDS = 50.0
"""At the 95th percentile."""
FRAMES_OF_AN_EVENT = 12
ROWS_AT_ONCE = 2000
PICTURES_OF_A_STAY = 25
_CAR = Detection(Label.CAR, 0.8, Box(30, 20, 20, 12))


async def fill(database: Database, days: int, per_day: int, count: int) -> int:
    """Write a history that ends at START. Return how many events it has."""
    names = [f"camera_{number}" for number in range(count)]
    total = days * per_day
    async with database.writing() as connection:
        rows = [{"id": name, "name": name.title(), "created_at": START - timedelta(days=days)} for name in names]
        await connection.execute(insert(cameras), rows)
        await connection.execute(insert(zones), [_zone(name, kind) for name in names for kind in ("entry", "yard")])
        await connection.execute(insert(habits), [row for name in names for row in _habits(name)])
        await home_context.tell(connection, HomeContext(START, mode=Mode.HOME, people_home=2))
    step = timedelta(days=days) / total
    for first in range(0, total, ROWS_AT_ONCE // FRAMES_OF_AN_EVENT):
        numbers = range(first, min(first + ROWS_AT_ONCE // FRAMES_OF_AN_EVENT, total))
        starts = {number: START - timedelta(days=days) + number * step for number in numbers}
        async with database.writing() as connection:
            seen = [row for number in numbers for row in _frames(number, names[number % count], starts[number])]
            await connection.execute(insert(frames), seen)
            of = {number: (names[number % count], starts[number]) for number in numbers}
            await connection.execute(insert(events), [_event(number, *where) for number, where in of.items()])
            await connection.execute(insert(assessments), [_assessment(number, starts[number]) for number in numbers])
            await connection.execute(insert(detections), [row for number in numbers for row in _detections(number)])
    if database.shared:
        await _count_on(database)
    return total


async def _count_on(database: Database) -> None:
    """Let PostgreSQL number what comes next behind what was written with numbers."""
    async with database.writing() as connection:
        for table in (frames, events, assessments):
            last = select(func.max(table.c.id)).scalar_subquery()
            await connection.execute(select(func.setval(func.pg_get_serial_sequence(table.name, "id"), last)))


def _zone(camera: str, kind: str) -> dict[str, Any]:
    corners = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]] if kind == "entry" else [[0.5, 0], [1, 0], [1, 1], [0.5, 1]]
    filters = {"labels": [], "min_size": 0.0, "inertia": 1, "loitering_seconds": 60.0, "line": None}
    shown = {"priority": 0, "enabled": True, "colour": "#3388ff"}
    return {"camera_id": camera, "name": f"The {kind}", "type": kind, "points": corners, **filters, **shown}


def _habits(camera: str) -> list[dict[str, Any]]:
    key = {"camera_id": camera, "hours": 3.5, "updated_at": START}
    return [
        {**key, "category": category.value, "slot": slot, "objects": 2.5}
        for category in Category
        for slot in range(SLOTS)
    ]


def _frames(number: int, camera: str, start: datetime) -> list[dict[str, Any]]:
    return [
        {
            "id": number * FRAMES_OF_AN_EVENT + ordinal + 1,
            "camera_id": camera,
            "content_hash": f"{number:032x}{ordinal:032x}",
            "media_path": f"{camera}/{number}-{ordinal}.jpg",
            "captured_at": start + timedelta(seconds=2 * ordinal),
            "arrived_at": start + timedelta(seconds=2 * ordinal),
            "width": 1920,
            "height": 1080,
            "size_bytes": 200_000,
        }
        for ordinal in range(FRAMES_OF_AN_EVENT)
    ]


def _event(number: int, camera: str, start: datetime) -> dict[str, Any]:
    end = start + timedelta(seconds=2 * FRAMES_OF_AN_EVENT)
    path = [{"seconds": float(second), "x": 0.1 + second / 40, "y": 0.5} for second in range(16)]
    zone = {"zone_id": 1, "name": "The entry", "type": "entry", "entered_at": start.isoformat(), "seconds": 8.0}
    track = {
        "label": "person",
        "confidence": 0.9,
        "first_seen_at": start.isoformat(),
        "last_seen_at": end.isoformat(),
        "frames": FRAMES_OF_AN_EVENT,
        "best_frame_id": number * FRAMES_OF_AN_EVENT + 1,
        "speed": "walking",
        "path": path,
        "zones": [{**zone, "frames": 5, "loitering": False}],
        "crossings": [],
    }
    return {
        "id": number + 1,
        "camera_id": camera,
        "started_at": start,
        "last_detection_at": end,
        "ended_at": end + timedelta(seconds=30),
        "end_reason": "idle",
        "frame_count": FRAMES_OF_AN_EVENT,
        "best_frame_id": number * FRAMES_OF_AN_EVENT + 1,
        "best_confidence": 0.9,
        "tracks": [track, {**track, "label": "car"}],
        "score": 25,
        "assessment_id": number + 1,
        "evidence": json.dumps({"subjects": [{}, {}], "night": False}),
    }


def _assessment(number: int, at: datetime) -> dict[str, Any]:
    factors = [{"name": "person_seen", "points": 20, "evidence": "a person, confidence 0.90"}]
    text = {"summary": "A person at the entry", "reasoning": "Rules: person_seen +20.", "factors": factors}
    verdict = {"score": 25, "source": "rules", "verified": False, "assessed_at": at}
    return {"id": number + 1, "event_id": number + 1, **text, **verdict}


def _detections(number: int) -> list[dict[str, Any]]:
    found = {"event_id": number + 1, "confidence": 0.9, "y": 300.0, "width": 80.0, "height": 200.0}
    return [
        {
            **found,
            "frame_id": number * FRAMES_OF_AN_EVENT + ordinal + 1,
            "ordinal": 0,
            "label": "person",
            "x": 40.0 * ordinal,
        }
        for ordinal in range(FRAMES_OF_AN_EVENT)
    ]


async def judge(made: Bench, pictures: int, count: int) -> list[float]:
    """Return how many milliseconds each picture took from its detections to its assessment."""
    chance = random.Random(1)  # noqa: S311 - no secret
    took: list[float] = []
    for number in range(pictures):
        camera = f"camera_{number // PICTURES_OF_A_STAY % count}"
        made.clock.move(seconds=2)
        seen = [a_person(x=10 + number % PICTURES_OF_A_STAY)] + ([_CAR] if chance.random() < 0.5 else [])
        await made.take(made.picture(*seen, camera=camera))
        await made.work(made.detect)
        begun = time.perf_counter()
        await made.gather.consume(await made.broker.claim(StageName.GATHER, made.gather.batch_size))
        took.append((time.perf_counter() - begun) * 1000)
        await made.work(made.close)
    return took


async def commits(database: Database, number: int) -> list[float]:
    """Return how many milliseconds bare commits of one row take."""
    took = []
    for _ in range(number):
        begun = time.perf_counter()
        async with database.writing() as connection:
            await home_context.tell(connection, HomeContext(START, mode=Mode.HOME))
        took.append((time.perf_counter() - begun) * 1000)
    return took


async def measure(folder: Path, chosen: argparse.Namespace, stack: ExitStack) -> None:
    """Fill a database and judge pictures on it."""
    where = stack.enter_context(running_postgresql(durable=True)).migrated_database() if chosen.postgresql else None
    clock = MovableClock()
    async with bench(folder, clock, where=where, explaining=Explaining(lambda: True, 0)) as made:
        total = await fill(made.database, chosen.days, chosen.events, chosen.cameras)
        await judge(made, PICTURES_OF_A_STAY, chosen.cameras)
        took = await judge(made, chosen.pictures, chosen.cameras)
        bare = await commits(made.database, chosen.pictures)
    middle, late = statistics.median(took), statistics.quantiles(took, n=20)[-1]
    kind = "PostgreSQL" if chosen.postgresql else "SQLite"
    print(
        f"{kind}, {total} events of {chosen.days} days, {total * FRAMES_OF_AN_EVENT} frames, {chosen.cameras} cameras"
    )
    print(f"first assessment: median {middle:.1f} ms, p95 {late:.1f} ms (target {TARGET_MILLISECONDS:.0f} ms)")
    print(f"a bare commit: median {statistics.median(bare):.1f} ms; ratio {middle / statistics.median(bare):.1f}")


def main() -> None:
    """Print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--events", type=int, default=300, help="per day")
    parser.add_argument("--cameras", type=int, default=8)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--postgresql", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        asyncio.run(measure(Path(folder), chosen, stack))


if __name__ == "__main__":
    main()
