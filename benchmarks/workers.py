# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures per second of one, two and four workers on PostgreSQL and Redis, with a detector that costs nearly nothing.

    python -m benchmarks.workers [--pictures 600]

The first worker has the cameras as well. What is measured is admission, the queue and the database; with a real
detector each worker adds its own inference. On a machine with fewer cores than workers they share these.
"""

import argparse
import asyncio
import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import asyncpg
from sqlalchemy import URL

from benchmarks.stub import base_jpeg, different, stub_settings
from scripts.development.inference_server import HSI, InferenceServer
from scripts.development.process import Child, free_port
from scripts.development.repository import REPOSITORY
from tests.support.services import PostgreSql, Redis, running_postgresql, running_redis

WORKERS = (1, 2, 4)
CAMERAS = 16


async def measure(workers: int, pictures: int, folder: Path, postgresql: PostgreSql, redis: Redis) -> float:
    """Return the pictures per second that so many workers bring through."""
    url = postgresql.migrated_database()
    written = url.set(drivername="postgresql").render_as_string(hide_password=False)
    settings = stub_settings(folder) | {"HSI_DATABASE_URL": written, "HSI_REDIS_URL": redis.url}
    server = InferenceServer(folder / "data", port=free_port(), watch_root=folder / "cameras", settings=settings)
    others = [_worker(folder, settings, number) for number in range(1, workers)]
    await server.start()
    for other in others:
        await other.start()
    try:
        return await _through(server, pictures, url)
    finally:
        await asyncio.gather(server.stop(), *(other.stop() for other in others))


def _worker(folder: Path, settings: dict[str, str], number: int) -> Child:
    environment = settings | {
        "HSI_DATA_DIR": str(folder / "data"),
        "HSI_API__PORT": str(free_port()),
        "HSI_API__HOST": "127.0.0.1",
    }
    log = folder / f"worker-{number}.log"
    return Child(
        f"Worker {number}", [HSI, "serve", "--role", "pipeline"], log=log, directory=REPOSITORY, environment=environment
    )


async def _through(server: InferenceServer, pictures: int, url: URL) -> float:
    jpeg = base_jpeg()
    staged = []
    for number in range(pictures):
        camera = server.watch_root / f"camera_{number % CAMERAS}"
        camera.mkdir(exist_ok=True)
        upload = camera / f"{number}.part"
        upload.write_bytes(different(jpeg, number))
        staged.append(upload)
    connection = await asyncpg.connect(host=url.host, port=url.port, user=url.username, database=url.database)
    judged = "SELECT (SELECT count(*) FROM frames) - (SELECT count(*) FROM messages WHERE stage <> 'close')"
    started = time.perf_counter()
    for upload in staged:
        upload.rename(upload.with_suffix(".jpg"))
    while await connection.fetchval(judged) < pictures:  # noqa: ASYNC110 - other processes do what is waited for
        await asyncio.sleep(0.05)
    seconds = time.perf_counter() - started
    await connection.close()
    return pictures / seconds


async def compare(pictures: int) -> None:
    """Measure each number of workers and print the rates."""
    print(f"{os.cpu_count()} cores\nworkers  pictures/s  per worker  against one")
    alone = 0.0
    with ExitStack() as stack:
        postgresql, redis = stack.enter_context(running_postgresql(durable=True)), stack.enter_context(running_redis())
        for workers in WORKERS:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            rate = await measure(workers, pictures, folder, postgresql, redis)
            alone = alone or rate
            print(f"{workers:7} {rate:11.1f} {rate / workers:11.1f} {rate / alone:12.2f}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=600)
    asyncio.run(compare(parser.parse_args().pictures))


if __name__ == "__main__":
    main()
