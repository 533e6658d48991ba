# SPDX-License-Identifier: AGPL-3.0-or-later
"""How fast a backup is made and restored, beside what the disk and SHA-256 alone take, and how much memory it needs.

python -m benchmarks.backup [--frames 50000] [--bytes 20000]
"""

import argparse
import asyncio
import hashlib
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

from sqlalchemy import insert

from inference_server.core.clock import SystemClock
from inference_server.storage.backup.create import Wanted, create
from inference_server.storage.backup.restore import Restoration, restore
from inference_server.storage.backup.verify import verify
from inference_server.storage.data_folder import DataFolder
from inference_server.storage.database import Database
from inference_server.storage.tables import cameras, detections, frames

CAMERA = "front_door"
CHUNK = 1 << 20
ROWS_AT_ONCE = 1000


async def fill(folder: DataFolder, count: int, size: int) -> None:
    """Write frames with a file of random bytes and two detections each."""
    folder.prepare()
    database = Database(folder.root / "hsi.db")
    await database.open()
    start = datetime(2026, 11, 1, tzinfo=UTC)
    async with database.writing() as connection:
        await connection.execute(insert(cameras).values(id=CAMERA, name="Front door", created_at=start))
        for first in range(0, count, ROWS_AT_ONCE):
            numbers = range(first, min(first + ROWS_AT_ONCE, count))
            await connection.execute(insert(frames), [_frame(folder.media, number, size, start) for number in numbers])
            found = [_detection(number, ordinal) for number in numbers for ordinal in range(2)]
            await connection.execute(insert(detections), found)
    await database.close()


def _frame(media: Path, number: int, size: int, start: datetime) -> dict[str, object]:
    name = hashlib.sha256(str(number).encode()).hexdigest()
    path = media / CAMERA / name[:2] / f"{name}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))
    at = start + timedelta(seconds=number)
    where = path.relative_to(media).as_posix()
    sizes = {"width": 1920, "height": 1080, "size_bytes": size}
    times = {"captured_at": at, "arrived_at": at}
    return {"id": number + 1, "camera_id": CAMERA, "content_hash": name, "media_path": where, **sizes, **times}


def _detection(number: int, ordinal: int) -> dict[str, object]:
    box = {"x": number / 7, "y": number / 9, "width": 80.5, "height": 160.25}
    return {"frame_id": number + 1, "ordinal": ordinal, "label": "person", "confidence": 0.9 - number % 60 / 100, **box}


def copy_and_hash(source: Path, target: Path) -> None:
    """Do what no backup can avoid: read every file, hash it, and write it into one durable file."""
    digest = hashlib.sha256()
    with target.open("wb") as out:
        for path in sorted(item for item in source.rglob("*") if item.is_file()):
            with path.open("rb") as file:
                while chunk := file.read(CHUNK):
                    digest.update(chunk)
                    out.write(chunk)
        out.flush()
        os.fsync(out.fileno())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=50_000)
    parser.add_argument("--bytes", type=int, default=20_000, help="of each picture")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".benchmark-") as folder:
        _measure(Path(folder), options.frames, options.bytes)


def _measure(folder: Path, count: int, size: int) -> None:
    data, restored = DataFolder(folder / "data"), DataFolder(folder / "restored")
    _alone(_fill, data, count, size)
    print(f"{count:,} frames, {2 * count:,} detections, {count * size / 1e6:,.0f} MB of pictures")
    bare = _alone(copy_and_hash, data.root, folder / "copy")
    _tell("bare copy with SHA-256", bare, bare)
    for name, passphrase in (("plain", None), ("encrypted", "correct horse battery staple")):
        backup = folder / name
        _tell(f"backup, {name}, read back", _alone(_save, data, backup, passphrase), bare)
        _tell(f"verify, {name}", _alone(verify, backup, passphrase), bare)
        _tell(f"restore, {name}", _alone(_restore, backup, restored, passphrase), bare)
        print(f"  {(backup.stat().st_size - size * count) / 1e6:,.0f} MB of the file are no pictures")
        shutil.rmtree(restored.root)


@dataclass(frozen=True)
class _Cost:
    seconds: float
    peak: float
    """MiB of memory."""


def _alone(work: Callable[..., object], *arguments: object) -> _Cost:
    """Do something in a process of its own and return what it cost."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(_cost, work, *arguments).result()


def _cost(work: Callable[..., object], *arguments: object) -> _Cost:
    started = time.perf_counter()
    work(*arguments)
    return _Cost(time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _fill(data: DataFolder, count: int, size: int) -> None:
    asyncio.run(fill(data, count, size))


def _save(data: DataFolder, backup: Path, passphrase: str | None) -> None:
    async def save() -> None:
        database = Database(data.root / "hsi.db")
        wanted = Wanted(target=backup, staging=data.root, media=data.media, passphrase=passphrase)
        await create(database, wanted, now=SystemClock().now())
        await database.close()

    asyncio.run(save())


def _restore(backup: Path, folder: DataFolder, passphrase: str | None) -> None:
    plan = Restoration(backup=backup, folder=folder, database=folder.root / "hsi.db", passphrase=passphrase)
    asyncio.run(restore(plan, SystemClock()))


def _tell(what: str, cost: _Cost, bare: _Cost) -> None:
    ratio = cost.seconds / bare.seconds
    print(f"{what:28} {cost.seconds:7.1f} s, {ratio:5.1f} times the bare copy; peak {cost.peak:4.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
