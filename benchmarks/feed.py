# SPDX-License-Identifier: AGPL-3.0-or-later
"""From a picture's file to its message on the WebSocket, with few and with more cameras, and what idleness costs.

    python -m benchmarks.feed [--pictures 30] [--idle 30]

Each camera sends one picture a second, with people in it. The time is from the writing of the file, which is then
renamed, to the message that tells of it; before that, bare inferences are timed in this process. Then 16 more cameras
send one picture each; when their events have ended, the server's processor time is read while nothing happens.
"""

import argparse
import asyncio
import itertools
import os
import platform
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from pathlib import Path

import aiohttp
import psutil

from benchmarks.pictures import SIZE, different_jpegs
from inference_server.detection.preprocess import decode_picture
from scripts.development.inference_server import InferenceServer
from scripts.development.process import free_port
from tests.support.detectors import detector_on
from tests.support.weights import detector_model_path, models_folder

CAMERAS = 1, 8
IDLE_CAMERAS = 16
WARM_UP = 2
LAST_SECONDS = 5.0
"""For the messages that tell of the last pictures."""
EVENT_SECONDS = 45.0
"""After the last picture, until the events have ended and nothing is left to do."""
TELLING = {"event_detected", "event_updated", "camera_updated"}


async def told(server: InferenceServer) -> AsyncGenerator[float]:
    """Give the seconds from a picture's arrival to its message, for each message that tells of a newer picture."""
    newest: dict[str, str] = {}
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{server.url}/api/ws") as socket:
        await socket.receive_json()
        await socket.send_json({"type": "auth", "token": server.token, "schema_version": 1})
        await socket.receive_json()
        await socket.send_json({"type": "subscribe", "last_sequence": None})
        async for received in socket:
            message = received.json()
            camera = message.get("data", {}).get("camera")
            if message.get("kind") not in TELLING or not camera or not camera["last_frame_at"]:
                continue
            if newest.get(camera["id"]) == camera["last_frame_at"]:
                continue
            newest[camera["id"]] = camera["last_frame_at"]
            yield time.time() - datetime.fromisoformat(camera["last_frame_at"]).timestamp()


async def latencies(server: InferenceServer, cameras: int, count: int) -> list[float]:
    """Return the seconds that each picture took, of `count` per camera; those that are told of together count once."""
    times: list[float] = []

    async def listen() -> None:
        async with aclosing(told(server)) as feed:
            async for seconds in feed:
                times.append(seconds)  # noqa: PERF401 - it ends by being cancelled, and what was seen is wanted

    async with asyncio.TaskGroup() as tasks:
        listening = tasks.create_task(listen())
        await send(server.watch_root, cameras, count + WARM_UP)
        await asyncio.sleep(LAST_SECONDS)
        listening.cancel()
    return times[cameras * WARM_UP :]


async def send(root: Path, cameras: int, count: int) -> None:
    """Rename one picture per camera and second into its folder, spread over the second."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    for number, content in enumerate(different_jpegs(cameras * count)):
        folder = root / f"{cameras}_camera_{number % cameras}"
        folder.mkdir(exist_ok=True)
        upload = folder / f"{number}.part"
        await asyncio.sleep(max(0.0, started + number / cameras - loop.time()))
        upload.write_bytes(content)
        upload.rename(upload.with_suffix(".jpg"))


async def idle(server: InferenceServer, seconds: float) -> float:
    """Return how much of one processor the server uses while nothing happens, 0 to 1."""
    for number in range(IDLE_CAMERAS):
        (server.watch_root / f"idle_{number}").mkdir(exist_ok=True)
    pictures = different_jpegs(IDLE_CAMERAS)
    for number, content in zip(range(IDLE_CAMERAS), pictures, strict=True):
        (server.watch_root / f"idle_{number}" / "only.jpg").write_bytes(content)
    await asyncio.sleep(EVENT_SECONDS)
    process = psutil.Process(server.process.pid)
    before = process.cpu_times()
    await asyncio.sleep(seconds)
    after = process.cpu_times()
    return float(after.user + after.system - before.user - before.system) / seconds


def bare_inferences(count: int) -> list[float]:
    """Return the seconds of each of some inferences in this process."""
    detector, times = detector_on(detector_model_path()), []
    for content in itertools.islice(different_jpegs(count), count):
        picture = decode_picture(content, detector.input_size)
        started = time.perf_counter()
        detector.detect([picture])
        times.append(time.perf_counter() - started)
    return times


async def measure(count: int, idle_seconds: float, folder: Path) -> None:
    """Measure and print."""
    settings = {
        "HSI_MODELS_DIR": str(models_folder()),
        "HSI_DETECTOR__MODEL": "yolov3-tiny",
        "HSI_MDNS": "false",
        "HSI_LOG_LEVEL": "warning",
    }
    server = InferenceServer(folder / "data", port=free_port(), watch_root=folder / "cameras", settings=settings)
    await server.start()
    try:
        print(f"{'ms':28} {'p50':>7} {'p95':>7}")
        _print("one bare inference", await asyncio.to_thread(bare_inferences, count))
        for cameras in CAMERAS:
            _print(f"file to message, {cameras} camera(s)", await latencies(server, cameras, count))
        share = await idle(server, idle_seconds)
        print(f"idle with {IDLE_CAMERAS} cameras more: {share * 100:.1f} % of one processor over {idle_seconds:.0f} s")
    finally:
        await server.stop()


def _print(name: str, times: list[float]) -> None:
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    print(f"{name:28} {cuts[49] * 1000:7.0f} {cuts[94] * 1000:7.0f}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=30, help="per camera")
    parser.add_argument("--idle", type=float, default=30.0, help="seconds")
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {SIZE[0]}x{SIZE[1]} JPEG")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(options.pictures, options.idle, Path(folder)))


if __name__ == "__main__":
    main()
