# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures per second of the detector service, against the bare ONNX session, and its latencies under many callers.

    python -m benchmarks.service [--pictures 32] [--rounds 15] [--callers 16] [--max-batch 1]

The service runs as its own process, as a user's does, with the same weights and as many threads. One client sends
`/detect/batch` requests, two at a time so that one is read while the other is judged; its time is from the first byte
to the last answer, decoding included. The bare session's is for the same pictures, already decoded and letterboxed. The
two take turns, and each round gives a ratio; on a machine that does other work as well, the ratio of the times
that processors spend on a picture says more. Then the callers each send one picture after the other to `/detect`.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import batched
from pathlib import Path

import aiohttp
import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.pictures import SIZE, different_jpegs
from benchmarks.throughput import BareSession
from scripts.development.process import Child, free_port
from scripts.development.repository import REPOSITORY
from tests.support.weights import detector_model_path

TARGET = 0.9
PER_REQUEST = 16
AT_ONCE = 2
TOKEN = "benchmark-benchmark"  # noqa: S105 - of a process that lives for a minute


class Service:
    """One `hsi serve --role detector`."""

    def __init__(self, folder: Path, max_batch: int) -> None:
        """Take a folder for its log; nothing is started."""
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        settings = {
            "HSI_DATA_DIR": str(folder),
            "HSI_DETECTOR__MODEL_FILE": str(detector_model_path()),
            "HSI_DETECTOR__MAX_BATCH": str(max_batch),
            "HSI_DETECTOR_SERVICE__HOST": "127.0.0.1",
            "HSI_DETECTOR_SERVICE__PORT": str(port),
            "HSI_DETECTOR_SERVICE__TOKEN": TOKEN,
            "HSI_LOG_LEVEL": "warning",
        }
        command: list[str | Path] = [Path(sys.executable).with_name("hsi"), "serve", "--role", "detector"]
        self.process = Child(
            "Detector service", command, log=folder / "log", directory=REPOSITORY, environment=settings
        )

    async def start(self, session: aiohttp.ClientSession) -> None:
        """Start it and wait for its detector."""
        await self.process.start()
        await self.process.until(lambda: self._is_loaded(session), timeout=60)

    async def _is_loaded(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(f"{self.url}/health") as response:
                return bool((await response.json())["model_loaded"])
        except aiohttp.ClientError:
            return False


def _form(pictures: Sequence[bytes]) -> bytes:
    head = b'--picture\r\nContent-Disposition: form-data; name="files"; filename="picture.jpg"\r\n\r\n'
    return b"".join(head + content + b"\r\n" for content in pictures) + b"--picture--\r\n"


async def in_batches(service: Service, session: aiohttp.ClientSession, pictures: Sequence[bytes]) -> float:
    """Return the pictures per second of `/detect/batch`."""

    async def send(form: bytes, count: int) -> None:
        headers = {"Content-Type": "multipart/form-data; boundary=picture"}
        async with turns, session.post(f"{service.url}/detect/batch", data=form, headers=headers) as response:
            results = json.loads(await response.read())["results"]
        if any("problem" in result for result in results) or len(results) != count:
            raise RuntimeError(f"pictures were refused: {results}")

    forms = [(_form(part), len(part)) for part in batched(pictures, PER_REQUEST)]
    turns = asyncio.Semaphore(AT_ONCE)
    started = time.perf_counter()
    await asyncio.gather(*(send(form, count) for form, count in forms))
    return len(pictures) / (time.perf_counter() - started)


async def latencies(
    service: Service, session: aiohttp.ClientSession, pictures: Sequence[bytes], callers: int
) -> tuple[list[float], float]:
    """Return the milliseconds of each call, sorted, and the pictures per second of all callers together."""
    times: list[float] = []

    async def call(mine: Sequence[bytes]) -> None:
        for content in mine:
            started = time.perf_counter()
            async with session.post(
                f"{service.url}/detect", data=content, headers={"Content-Type": "image/jpeg"}
            ) as response:
                response.raise_for_status()
                await response.read()
            times.append((time.perf_counter() - started) * 1000)

    started = time.perf_counter()
    await asyncio.gather(*(call(pictures[number::callers]) for number in range(callers)))
    return sorted(times), len(pictures) / (time.perf_counter() - started)


@dataclass(frozen=True, slots=True)
class Round:
    """Pictures per second of both, and their milliseconds of processor time per picture."""

    bare: float
    served: float
    bare_cpu: float
    served_cpu: float

    @property
    def ratio(self) -> float:
        """Of the service's pictures per second to the bare session's."""
        return self.served / self.bare

    @property
    def cpu_ratio(self) -> float:
        """Of the bare session's processor time to the service's."""
        return self.bare_cpu / self.served_cpu


async def one_round(
    bare: BareSession,
    inputs: NDArray[np.float32],
    service: Service,
    session: aiohttp.ClientSession,
    pictures: Sequence[bytes],
) -> Round:
    """Let both judge the pictures, one after the other."""
    process = psutil.Process(service.process.pid)

    def spent(of: psutil.Process) -> float:
        times = of.cpu_times()
        return float(times.user + times.system) / len(pictures) * 1000

    alone = bare.run(inputs)
    begun = spent(process)
    served = await in_batches(service, session, pictures)
    return Round(alone.pictures_per_second, served, alone.processor_ms, spent(process) - begun)


async def measure(options: argparse.Namespace, folder: Path) -> None:
    """Measure and print."""
    bare = BareSession(detector_model_path())
    pictures = list(different_jpegs(options.pictures))
    inputs = bare.letterboxed(pictures)
    service = Service(folder, options.max_batch)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as session:
        await service.start(session)
        try:
            bare.run(inputs[:8])
            await in_batches(service, session, pictures[:16])
            rounds = [await one_round(bare, inputs, service, session, pictures) for _ in range(options.rounds)]
            times, rate = await latencies(service, session, pictures * 8, options.callers)
        finally:
            await service.process.stop()
    print(f"{'round':>5} {'bare/s':>8} {'batch/s':>8} {'ratio':>6} {'bare ms':>8} {'batch ms':>9} {'ratio':>6}")
    for number, it in enumerate(rounds, 1):
        print(
            f"{number:5} {it.bare:8.1f} {it.served:8.1f} {it.ratio:6.2f} "
            f"{it.bare_cpu:8.1f} {it.served_cpu:9.1f} {it.cpu_ratio:6.2f}"
        )
    ratio, cpu_ratio = statistics.median(it.ratio for it in rounds), statistics.median(it.cpu_ratio for it in rounds)
    print(f"median ratio {ratio:.2f}; the target is {TARGET}: {'met' if ratio >= TARGET else 'NOT met'}")
    print(f"median ratio of the processor times {cpu_ratio:.2f}")
    shown = ", ".join(
        f"p{share} {times[min(len(times) - 1, len(times) * share // 100)]:.0f}" for share in (50, 90, 95, 99)
    )
    print(f"{options.callers} callers of /detect: {shown}, longest {times[-1]:.0f} ms; {rate:.1f} pictures/s")


def main() -> None:
    """Read the command line, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--max-batch", type=int, default=1)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {SIZE[0]}x{SIZE[1]} JPEG")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(parser.parse_args(), Path(folder)))


if __name__ == "__main__":
    main()
