# SPDX-License-Identifier: AGPL-3.0-or-later
"""From a picture's file to Home Assistant's state, and what an idle server costs.

    python -m benchmarks.latency [--pictures 60]

A real server and a real Home Assistant run as processes of their own. Each picture's time is from the end of its
renaming into the camera's folder until the `state_changed` of the camera's "Last picture" sensor arrives on Home
Assistant's WebSocket: that entity, once enabled, changes with every judged picture, and risk, occupancy and event
entity change in the same step where they change at all. Between two pictures the detector runs bare in this process
on the same picture, so that both see the same machine. Memory is read 30 s after the start, with the detector loaded
and no picture yet.
"""

import argparse
import asyncio
import os
import platform
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.pictures import SIZE, different_jpegs
from inference_server.detection.detector import Detector
from inference_server.detection.preprocess import decode_picture
from scripts.development.connect import connect
from scripts.development.home_assistant import HomeAssistant
from scripts.development.home_assistant_client import HomeAssistantClient
from scripts.development.inference_server import InferenceServer
from scripts.development.process import free_port
from scripts.development.repository import INTEGRATION_DOMAIN
from tests.support.detectors import detector_on
from tests.support.weights import detector_model_path, models_folder

CAMERA = "front_door"
ENTITY = f"sensor.{CAMERA}_last_picture"
NOTHING = {"unknown", "unavailable"}
LATENCY_TARGET = 0.3
"""Seconds beyond one inference, at the 95th percentile."""
MEMORY_TARGET = 250
"""MB."""
IDLE_SECONDS = 30.0
WARM_UP = 3
PAUSE = 1.05
"""Seconds between two pictures: the sensor shows whole seconds."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What a process holds, in MB; PSS counts shared pages in part."""

    rss: float
    pss: float


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured; times in seconds."""

    latencies: list[float]
    inferences: list[float]
    memory: Memory
    input_size: int


async def measure(count: int, folder: Path) -> Result:
    """Start everything, read the memory, then send pictures one by one."""
    detector = detector_on(detector_model_path())
    server = _server(folder)
    home_assistant = HomeAssistant(folder / "home-assistant", port=free_port())
    try:
        await server.start()
        await asyncio.sleep(IDLE_SECONDS)
        memory = _memory(server.process.pid)
        await home_assistant.start()
        async with home_assistant.client() as client:
            await connect(client, server)
            latencies, inferences = await _send(client, server, detector, count)
    finally:
        await home_assistant.stop()
        await server.stop()
    return Result(latencies, inferences, memory, detector.input_size)


def _server(folder: Path) -> InferenceServer:
    settings = {
        "HSI_MODELS_DIR": str(models_folder()),
        "HSI_DETECTOR__MODEL": "yolov3-tiny",
        "HSI_MDNS": "false",
        "HSI_LOG_LEVEL": "warning",
    }
    return InferenceServer(folder / "data", port=free_port(), watch_root=folder / "cameras", settings=settings)


async def _send(
    client: HomeAssistantClient, server: InferenceServer, detector: Detector, count: int
) -> tuple[list[float], list[float]]:
    """Return the latency of each picture and the time of the bare inference on it."""
    camera = server.watch_root / CAMERA
    pictures = different_jpegs(count + WARM_UP + 1)
    camera.mkdir()
    (camera / "first.jpg").write_bytes(next(pictures))
    await _enable(client)
    latencies, inferences = [], []
    async with client.subscribe("state_changed") as changes:
        shown = _values(changes)
        for number, content in enumerate(pictures):
            latency = await _send_one(camera / f"{number:04}.part", content, shown)
            inference = await asyncio.to_thread(_infer, detector, content)
            if number >= WARM_UP:
                latencies.append(latency)
                inferences.append(inference)
            await asyncio.sleep(PAUSE)
    return latencies, inferences


async def _enable(client: HomeAssistantClient) -> None:
    """Enable the sensor, which the camera brings disabled."""
    entities: list[dict[str, Any]] = []
    async with asyncio.timeout(30):
        while not any(entity["entity_id"] == ENTITY for entity in entities):
            await asyncio.sleep(0.5)
            entities = await client.call("config/entity_registry/list")
    await client.call("config/entity_registry/update", entity_id=ENTITY, disabled_by=None)
    [entry] = await client.config_entries(INTEGRATION_DOMAIN)
    await client.post(f"/api/config/config_entries/entry/{entry['entry_id']}/reload")
    await client.wait_for_state(ENTITY, lambda state: state["state"] not in NOTHING)


async def _values(changes: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
    """Give each new time that the entity shows."""
    known = set(NOTHING)
    async for change in changes:
        state = change["data"]["new_state"]
        if change["data"]["entity_id"] == ENTITY and state["state"] not in known:
            known.add(state["state"])
            yield state["state"]


async def _send_one(upload: Path, content: bytes, shown: AsyncIterator[str]) -> float:
    upload.write_bytes(content)
    upload.rename(upload.with_suffix(".jpg"))
    started = time.perf_counter()
    async with asyncio.timeout(30):
        await anext(shown)
    return time.perf_counter() - started


def _infer(detector: Detector, content: bytes) -> float:
    """Return the seconds of one inference; decoding is the server's own affair."""
    picture = decode_picture(content, detector.input_size)
    started = time.perf_counter()
    detector.detect([picture])
    return time.perf_counter() - started


def _memory(pid: int) -> Memory:
    used = psutil.Process(pid).memory_full_info()
    return Memory(used.rss / 1e6, used.pss / 1e6)


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def report(result: Result) -> None:
    """Print the figures, the targets and whether they are met."""
    facts = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    print(f"{facts}, YOLOv3-tiny at {result.input_size} px, {SIZE[0]}x{SIZE[1]} JPEG, {len(result.latencies)} pictures")
    print(f"{'ms':24} {'p50':>7} {'p95':>7}")
    for name, values in (("file to state_changed", result.latencies), ("one bare inference", result.inferences)):
        print(f"{name:24} {_percentile(values, 50) * 1000:7.0f} {_percentile(values, 95) * 1000:7.0f}")
    allowed = LATENCY_TARGET + _percentile(result.inferences, 95)
    met = _percentile(result.latencies, 95) <= allowed
    print(f"target: p95 of {LATENCY_TARGET * 1000:.0f} ms and one inference = {allowed * 1000:.0f} ms: {_verdict(met)}")
    memory = result.memory
    print(f"idle server after {IDLE_SECONDS:.0f} s: RSS {memory.rss:.0f} MB, PSS {memory.pss:.0f} MB")
    print(f"target: RSS under {MEMORY_TARGET} MB: {_verdict(memory.rss < MEMORY_TARGET)}")


def _verdict(met: bool) -> str:
    return "met" if met else "NOT met"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report(asyncio.run(measure(options.pictures, Path(folder))))


if __name__ == "__main__":
    main()
