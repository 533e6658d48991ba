# SPDX-License-Identifier: AGPL-3.0-or-later
"""Messages per second through the broker, and pictures through admission's transaction, against bare commits.

    python -m benchmarks.messages [--seconds 10]

Two baselines by the database's own driver, with no SQLAlchemy, no turns, no leases to look at and no checks: single
commits of one row each (with Redis: and one entry appended), and the same rows in the same groups. PostgreSQL and Redis
are started in temporary folders; every commit waits for the disk.
"""

import argparse
import asyncio
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import redis.asyncio
from sqlalchemy import URL, delete

from inference_server.core.camera import Camera
from inference_server.core.clock import SystemClock
from inference_server.core.message import StageName, Work
from inference_server.core.signal import Signal
from inference_server.ingest.admission import AdmittedFile
from inference_server.ingest.folder.area import GROUP
from inference_server.ingest.picture import Picture
from inference_server.observability.health import HealthBoard
from inference_server.pipeline.broker import Broker
from inference_server.pipeline.detect import BATCH
from inference_server.pipeline.intake import FrameIntake
from inference_server.pipeline.judging import Judging
from inference_server.pipeline.redis_broker import RedisBroker
from inference_server.pipeline.sql_broker import SqlBroker
from inference_server.pipeline.streams import Streams
from inference_server.storage import cameras
from inference_server.storage.arrivals import FileVersion
from inference_server.storage.database import Database
from inference_server.storage.tables import messages
from tests.support.services import running_postgresql, running_redis

MESSAGES = BATCH
"""Messages per transaction, as the stages have them."""
PICTURES = GROUP
"""Pictures per transaction, as the folder watch has them."""
ROUNDS = 5
_numbers = count(1)

type Step = Callable[[], Awaitable[int]]
"""Brings one group through; returns how many that were."""


async def rate(step: Step, seconds: float) -> float:
    """Return how many messages or pictures per second a step brings through."""
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        done += await step()
    return done / (time.perf_counter() - started)


def broker_step(broker: Broker) -> Step:
    """Return a step that publishes a group, claims it and completes it."""

    async def step() -> int:
        now = datetime.now(UTC)
        async with broker.transaction() as transaction:
            await transaction.publish(
                [Work(StageName.DETECT, next(_numbers), f"camera_{number % 4}", now) for number in range(MESSAGES)]
            )
        if isinstance(broker, RedisBroker):
            await broker.deliver()
        claimed = await broker.claim(StageName.DETECT, MESSAGES)
        async with broker.transaction() as transaction:
            await transaction.complete(claimed)
        return len(claimed)

    return step


def admission_step(intake: FrameIntake) -> Step:
    """Return a step that records a group of admitted pictures."""

    async def step() -> int:
        return len(await intake.take([_picture(next(_numbers)) for _ in range(PICTURES)]))

    return step


def _picture(number: int) -> AdmittedFile:
    camera, content_hash = f"camera_{number % 4}", f"{number:064}"
    file = FileVersion(f"{camera}/{number}.jpg", 1000, number)
    now = datetime.now(UTC)
    return AdmittedFile(
        file=file,
        folder=camera,
        camera_id=camera,
        picture=Picture(b"", content_hash, "jpg", 640, 480),
        media_path=f"{camera}/00/{content_hash}.jpg",
        arrived_at=now,
        captured_at=now,
    )


INSERT_MESSAGE = (
    "INSERT INTO messages (stage, subject_id, camera_id, available_at, enqueued_at, attempts, priority, turn)"
    " VALUES ({})"
)
INSERT_FRAME = (
    "INSERT INTO frames (camera_id, content_hash, media_path, captured_at, arrived_at, width, height) VALUES ({})"
    " RETURNING id"
)
INSERT_ARRIVAL = "INSERT INTO arrivals (path, size, modified_ns, arrived_at, camera_id, frame_id) VALUES ({})"


class BareSqlite:
    """The same commits with sqlite3 alone, in one worker thread."""

    def __init__(self, file: Path) -> None:
        """Take a file whose tables were made."""
        self._connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            self._connection.execute(f"PRAGMA {pragma}")

    async def commits(self) -> int:
        """Insert messages, each in a transaction of its own."""
        for _ in range(MESSAGES):
            await asyncio.to_thread(self._commit)
        return MESSAGES

    async def messages(self) -> int:
        """Insert, claim and delete a group."""
        await asyncio.to_thread(self._messages)
        return MESSAGES

    async def frames(self) -> int:
        """Insert a group of frames with their arrivals and messages."""
        await asyncio.to_thread(self._frames)
        return PICTURES

    def _commit(self) -> None:
        now = datetime.now(UTC).isoformat(sep=" ")
        row = ("commit", next(_numbers), "camera_0", now, now, 0, 0, 0)
        self._connection.execute(INSERT_MESSAGE.format(",".join("?" * 8)), row)

    def _messages(self) -> None:
        now, run = datetime.now(UTC).isoformat(sep=" "), self._connection
        rows = [("detect", next(_numbers), f"camera_{n % 4}", now, now, 0, 0, 0) for n in range(MESSAGES)]
        run.execute("BEGIN IMMEDIATE")
        run.executemany(INSERT_MESSAGE.format(",".join("?" * 8)), rows)
        run.execute("COMMIT")
        run.execute("BEGIN IMMEDIATE")
        claimed = run.execute(
            "UPDATE messages SET leased_until = ?, attempts = attempts + 1 WHERE id IN"
            " (SELECT id FROM messages WHERE stage = 'detect' ORDER BY id LIMIT ?) RETURNING id",
            (now, MESSAGES),
        ).fetchall()
        run.execute("COMMIT")
        run.execute("BEGIN IMMEDIATE")
        run.executemany("DELETE FROM messages WHERE id = ?", claimed)
        run.execute("COMMIT")

    def _frames(self) -> None:
        now, run = datetime.now(UTC).isoformat(sep=" "), self._connection
        run.execute("BEGIN IMMEDIATE")
        for number in (next(_numbers) for _ in range(PICTURES)):
            camera = f"camera_{number % 4}"
            frame = (camera, f"{number:064}", f"{camera}/00/{number:064}.jpg", now, now, 640, 480)
            frame_id = run.execute(INSERT_FRAME.format(",".join("?" * 7)), frame).fetchone()[0]
            arrival = (f"{camera}/{number}.jpg", 1000, number, now, camera, frame_id)
            run.execute(INSERT_ARRIVAL.format(",".join("?" * 6)), arrival)
            run.execute(INSERT_MESSAGE.format(",".join("?" * 8)), ("detect", frame_id, camera, now, now, 0, 0, 0))
        run.execute("COMMIT")


class BarePostgreSql:
    """The same commits with asyncpg alone, and with a Redis stream in between where there is one."""

    def __init__(self, connection: asyncpg.Connection, stream: Any = None) -> None:
        """Take a connection to a database whose tables were made."""
        self._connection = connection
        self._stream = stream

    async def commits(self) -> int:
        """Insert messages, each in a transaction of its own, and append each to the stream."""
        for _ in range(MESSAGES):
            now, number = datetime.now(UTC), next(_numbers)
            await self._connection.execute(
                INSERT_MESSAGE.format(_dollars(8)), "commit", number, "camera_0", now, now, 0, 0, 0
            )
            if self._stream:
                await self._stream.xadd("commits", {"id": number})
        return MESSAGES

    async def messages(self) -> int:
        """Insert, deliver and delete a group."""
        now, run = datetime.now(UTC), self._connection
        rows = [("detect", next(_numbers), f"camera_{n % 4}", now, now, 0, 0, 0) for n in range(MESSAGES)]
        async with run.transaction():
            await run.executemany(INSERT_MESSAGE.format(_dollars(8)), rows)
        ids = await (self._through_redis(self._stream, now) if self._stream else self._claimed(now))
        async with run.transaction():
            await run.execute("DELETE FROM messages WHERE id = ANY($1)", ids)
        return MESSAGES

    async def _claimed(self, now: datetime) -> list[int]:
        async with self._connection.transaction():
            claimed = await self._connection.fetch(
                "UPDATE messages SET leased_until = $1, attempts = attempts + 1 WHERE id IN (SELECT id FROM messages"
                " WHERE stage = 'detect' ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING id",
                now,
                MESSAGES,
            )
        return [row["id"] for row in claimed]

    async def _through_redis(self, stream: Any, now: datetime) -> list[int]:
        async with self._connection.transaction():
            rows = await self._connection.fetch(
                "SELECT id FROM messages WHERE stage = 'detect' AND sent_at IS NULL ORDER BY id LIMIT $1"
                " FOR UPDATE SKIP LOCKED",
                MESSAGES,
            )
            async with stream.pipeline(transaction=False) as pipeline:
                for row in rows:
                    pipeline.xadd("bare", {"id": row["id"]})
                await pipeline.execute()
            await self._connection.execute(
                "UPDATE messages SET sent_at = $1 WHERE id = ANY($2)", now, [row["id"] for row in rows]
            )
        ((_, entries),) = await stream.xreadgroup("workers", "one", {"bare": ">"}, count=MESSAGES)
        async with stream.pipeline() as pipeline:
            pipeline.xack("bare", "workers", *(entry for entry, _ in entries))
            pipeline.xdel("bare", *(entry for entry, _ in entries))
            await pipeline.execute()
        return [int(fields["id"]) for _, fields in entries]

    async def frames(self) -> int:
        """Insert a group of frames with their arrivals and messages."""
        now, run = datetime.now(UTC), self._connection
        async with run.transaction():
            numbers = [next(_numbers) for _ in range(PICTURES)]
            frames = [
                (f"camera_{n % 4}", f"{n:064}", f"camera_{n % 4}/00/{n:064}.jpg", now, now, 640, 480) for n in numbers
            ]
            rows = await run.fetchmany(INSERT_FRAME.format(_dollars(7)), frames)
            ids = [row["id"] for row in rows]
            pairs = list(zip(numbers, ids, strict=True))
            arrivals = [(f"camera_{n % 4}/{n}.jpg", 1000, n, now, f"camera_{n % 4}", id_) for n, id_ in pairs]
            await run.executemany(INSERT_ARRIVAL.format(_dollars(6)), arrivals)
            messages = [("detect", id_, f"camera_{n % 4}", now, now, 0, 0, 0) for n, id_ in pairs]
            await run.executemany(INSERT_MESSAGE.format(_dollars(8)), messages)
        return PICTURES


def _dollars(number: int) -> str:
    return ",".join(f"${place}" for place in range(1, number + 1))


async def compare(name: str, ours: Step, commits: Step, groups: Step, seconds: float) -> None:
    """Measure all in turns and print the medians and the ratios."""
    steps = (ours, commits, groups)
    for step in steps:
        await step()
    rounds = [[await rate(step, seconds / ROUNDS) for step in steps] for _ in range(ROUNDS)]
    medians = [statistics.median(rates) for rates in zip(*rounds, strict=True)]
    to_commits, to_groups = (statistics.median(rates[0] / rates[place] for rates in rounds) for place in (1, 2))
    print(
        f"{name:22} {medians[0]:7.0f} /s   bare commits {medians[1]:7.0f} /s, ratio {to_commits:5.2f}"
        f"   bare groups {medians[2]:7.0f} /s, ratio {to_groups:5.2f}",
        flush=True,
    )


async def _database(where: Path | URL) -> Database:
    database = Database(where)
    await database.open()
    async with database.writing() as connection:
        for number in range(4):
            await cameras.add(connection, Camera(f"camera_{number}", "Camera", datetime.now(UTC)))
    return database


def _intake(broker: Broker) -> FrameIntake:
    clock = SystemClock()
    return FrameIntake(broker, Signal(), clock, judging=Judging(HealthBoard(clock), Signal()))


async def main(seconds: float) -> None:
    """Print every comparison."""
    clock = SystemClock()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours, bare_file = await _database(folder / "ours.db"), folder / "bare.db"
        await (await _database(bare_file)).close()
        broker, bare = SqlBroker(ours, clock), BareSqlite(bare_file)
        await compare("broker, SQLite", broker_step(broker), bare.commits, bare.messages, seconds)
        await compare("admission, SQLite", admission_step(_intake(broker)), bare.commits, bare.frames, seconds)

        server = stack.enter_context(running_postgresql(durable=True))
        ours, url = await _database(server.migrated_database()), server.migrated_database()
        await (await _database(url)).close()
        connection = await asyncpg.connect(host=url.host, port=url.port, user=url.username, database=url.database)
        broker = SqlBroker(ours, clock, worker="one")
        bare_postgresql = BarePostgreSql(connection)
        await compare(
            "broker, PostgreSQL", broker_step(broker), bare_postgresql.commits, bare_postgresql.messages, seconds
        )
        intake = admission_step(_intake(broker))
        await compare("admission, PostgreSQL", intake, bare_postgresql.commits, bare_postgresql.frames, seconds)
        for table in ("messages", "arrivals", "frames"):
            await connection.execute(f"DELETE FROM {table}")  # noqa: S608
        async with ours.writing() as writing:
            await writing.execute(delete(messages))

        queue = stack.enter_context(running_redis())
        client = redis.asyncio.from_url(queue.url, decode_responses=True)
        await client.xgroup_create("bare", "workers", id="0", mkstream=True)
        streams = Streams(queue.url, prefix="ours", worker="one")
        broker = RedisBroker(ours, clock, streams=streams, health=HealthBoard(clock), worker="one")
        bare_redis = BarePostgreSql(connection, client)
        await compare("broker, Redis", broker_step(broker), bare_redis.commits, bare_redis.messages, seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="per side and comparison")
    asyncio.run(main(parser.parse_args().seconds))
