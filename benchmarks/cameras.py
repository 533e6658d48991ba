# SPDX-License-Identifier: AGPL-3.0-or-later
"""Many cameras for a long time: the time from file to message and the memory must not grow.

    python -m benchmarks.cameras [--cameras 64] [--minutes 10]

Each camera sends one picture a second, in which a stub detector sees a person. Latency is from the picture's arrival to
its message at a WebSocket client; memory is the server's resident set.
"""

import argparse
import asyncio
import itertools
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import aiohttp
import psutil

from benchmarks.stub import base_jpeg, different, stub_settings
from scripts.development.inference_server import InferenceServer
from scripts.development.process import free_port

GROWTH = 1.2
"""How much more the last third of the time may show than the second third; the first one warms up."""


@dataclass
class Minute:
    """What one minute showed: seconds and megabytes."""

    latencies: list[float] = field(default_factory=list)
    memory: float = 0.0
    processor: float = 0.0

    @property
    def p50(self) -> float:
        """The median latency in seconds."""
        return statistics.median(self.latencies)

    @property
    def p95(self) -> float:
        """The latency in seconds that one in twenty exceeds."""
        return statistics.quantiles(self.latencies, n=20)[-1]


async def send(root: Path, cameras: int, until: float) -> int:
    """Write one picture per camera and second, spread over the second; return how many."""
    jpeg, numbers = base_jpeg(), itertools.count()
    folders = [root / f"camera_{number}" for number in range(cameras)]
    for folder in folders:
        folder.mkdir(parents=True)
    loop, second = asyncio.get_running_loop(), 0
    started = loop.time()
    while loop.time() < until:
        for place, folder in enumerate(folders):
            due = started + second + place / cameras
            await asyncio.sleep(max(0.0, due - loop.time()))
            number = next(numbers)
            (folder / f"{number}.part").write_bytes(different(jpeg, number))
            (folder / f"{number}.part").rename(folder / f"{number}.jpg")
        second += 1
    return next(numbers)


async def listen(server: InferenceServer, minutes: list[Minute], until: float) -> None:
    """Note when each camera's newest picture was told."""
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{server.url}/api/ws") as socket:
        await socket.receive_json()
        await socket.send_json({"type": "auth", "token": server.token, "schema_version": 1})
        await socket.receive_json()
        await socket.send_json({"type": "subscribe", "last_sequence": None})
        async for received in socket:
            if loop.time() >= until:
                return
            message = received.json()
            camera = message.get("data", {}).get("camera")
            if camera and camera["last_frame_at"] and message["kind"] in {"event_detected", "event_updated"}:
                taken = datetime.fromisoformat(camera["last_frame_at"]).timestamp()
                minutes[-1].latencies.append(time.time() - taken)


async def sample(server: InferenceServer, minutes: list[Minute], count: int) -> None:
    """Begin a new minute each minute, after noting memory and processor time of the last one."""
    process = psutil.Process(server.process.pid)
    process.cpu_percent()
    for number in range(count):
        await asyncio.sleep(60)
        minutes[-1].memory = process.memory_info().rss / 1e6
        minutes[-1].processor = process.cpu_percent()
        print(
            f"{number + 1:6} {minutes[-1].p50 * 1000:8.0f} {minutes[-1].p95 * 1000:8.0f} {minutes[-1].memory:8.0f}"
            f" {minutes[-1].processor:6.0f}",
            flush=True,
        )
        minutes.append(Minute())


async def measure(cameras: int, count: int, folder: Path) -> list[Minute]:
    """Return what each minute showed."""
    server = InferenceServer(
        folder / "data", port=free_port(), watch_root=folder / "cameras", settings=stub_settings(folder)
    )
    await server.start()
    minutes = [Minute()]
    until = asyncio.get_running_loop().time() + 60 * count + 1
    print(f"{cameras} cameras, one picture a second each\nminute   p50 ms   p95 ms   RSS MB  CPU %")
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send(server.watch_root, cameras, until))
            tasks.create_task(listen(server, minutes, until))
            tasks.create_task(sample(server, minutes, count))
    finally:
        await server.stop()
    return [minute for minute in minutes if minute.memory]


def main() -> None:
    """Measure, print, and say whether anything grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, default=64)
    parser.add_argument("--minutes", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        minutes = asyncio.run(measure(options.cameras, options.minutes, Path(folder)))
    third = max(1, len(minutes) // 3)
    middle, last = minutes[third : 2 * third] or minutes, minutes[-third:]
    latency = statistics.median(m.p95 for m in last) / statistics.median(m.p95 for m in middle)
    memory = statistics.median(m.memory for m in last) / statistics.median(m.memory for m in middle)
    print(f"last third against the middle one: p95 latency x{latency:.2f}, memory x{memory:.2f}")
    print("no growth" if max(latency, memory) <= GROWTH else "GROWTH")


if __name__ == "__main__":
    main()
