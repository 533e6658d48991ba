# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures per second through the whole server, against the bare ONNX session on the same decoded pictures.

    python -m benchmarks.throughput [--pictures 128] [--rounds 5] [--model-file yolo26n.onnx] [--confidence 0.35]

The server runs as its own process, as a user's does. Its time is from the first picture's renaming into a camera's
folder until the last one is part of an event and nothing waits; the bare session's is for the same pictures, already
decoded and letterboxed. The two take turns, and each round gives a ratio.
"""

import argparse
import asyncio
import os
import platform
import sqlite3
import statistics
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import psutil
from numpy.typing import NDArray

from benchmarks.pictures import SIZE, different_jpegs
from inference_server.detection.preprocess import decode_picture, empty_batch, place
from scripts.development.inference_server import InferenceServer
from scripts.development.process import free_port
from tests.support.weights import detector_model_path, models_folder

TARGET = 0.8
CAMERAS = 4


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over some pictures: how many a second, and the milliseconds of processor time of each."""

    pictures_per_second: float
    processor_ms: float


@dataclass(frozen=True, slots=True)
class Round:
    """The same number of pictures through the bare session and through the server."""

    bare: Pass
    server: Pass

    @property
    def ratio(self) -> float:
        """The server's pictures per second in those of the bare session."""
        return self.server.pictures_per_second / self.bare.pictures_per_second


class BareSession:
    """The model alone, one picture after the other on all cores: what serves it best on a processor."""

    def __init__(self, model: Path) -> None:
        """Load the model."""
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0]

    @property
    def size(self) -> int:
        """The model's input size in pixels."""
        return int(self._input.shape[2])

    def letterboxed(self, pictures: list[bytes]) -> NDArray[np.float32]:
        """Return the pictures as the model takes them, float32 [N, 3, size, size]."""
        inputs = empty_batch(len(pictures), self.size)
        for slot, content in zip(inputs, pictures, strict=True):
            place(decode_picture(content, self.size), slot)
        return inputs

    def run(self, inputs: NDArray[np.float32]) -> Pass:
        """Return what one pass took."""
        processor, started = time.process_time(), time.perf_counter()
        for picture in inputs:
            self._session.run(None, {self._input.name: picture[np.newaxis]})
        seconds, used = time.perf_counter() - started, time.process_time() - processor
        return Pass(len(inputs) / seconds, used * 1000 / len(inputs))


async def through_server(server: InferenceServer, pictures: list[bytes], round_number: int) -> Pass:
    """Return what one burst took, spread over several cameras."""
    staged = []
    for number, content in enumerate(pictures):
        folder = server.watch_root / f"camera_{number % CAMERAS}"
        folder.mkdir(exist_ok=True)
        upload = folder / f"{round_number}-{number}.part"
        upload.write_bytes(content)
        staged.append(upload)
    with closing(sqlite3.connect(f"file:{server.directory / 'hsi.db'}?mode=ro", uri=True, timeout=30)) as database:
        wanted = _judged(database) + len(pictures)
        processor, started = _processor_seconds(server), time.perf_counter()
        for upload in staged:
            upload.rename(upload.with_suffix(".jpg"))
        while _judged(database) < wanted:  # noqa: ASYNC110 - another process does what is waited for
            await asyncio.sleep(0.02)
        seconds, used = time.perf_counter() - started, _processor_seconds(server) - processor
        return Pass(len(pictures) / seconds, used * 1000 / len(pictures))


def _processor_seconds(server: InferenceServer) -> float:
    times = psutil.Process(server.process.pid).cpu_times()
    return float(times.user + times.system)


def _judged(database: sqlite3.Connection) -> int:
    """Return how many frames passed every stage."""
    query = "SELECT (SELECT count(*) FROM frames) - (SELECT count(*) FROM messages WHERE stage <> 'close')"
    return int(database.execute(query).fetchone()[0])


async def measure(count: int, rounds: int, folder: Path, model_file: Path | None, confidence: float) -> list[Round]:
    """Return what each round gave."""
    bare = BareSession(model_file or detector_model_path())
    settings = {
        "HSI_MODELS_DIR": str(models_folder()),
        "HSI_DETECTOR__MODEL": "yolov3-tiny",
        "HSI_DETECTOR__CONFIDENCE": str(confidence),
        "HSI_DETECTOR__BACKEND": "onnx",
        "HSI_MDNS": "false",
        "HSI_LOG_LEVEL": "warning",
    }
    if model_file is not None:
        settings["HSI_DETECTOR__MODEL_FILE"] = str(model_file.resolve())
    server = InferenceServer(folder / "data", port=free_port(), watch_root=folder / "cameras", settings=settings)
    pictures = list(different_jpegs(count * (rounds + 1)))
    inputs = bare.letterboxed(pictures[:count])
    await server.start()
    results = []
    try:
        bare.run(inputs[:8])
        await through_server(server, pictures[:count], 0)
        for number in range(1, rounds + 1):
            burst = pictures[number * count : (number + 1) * count]
            results.append(Round(bare.run(inputs), await through_server(server, burst, number)))
    finally:
        await server.stop()
    return results


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model-file", type=Path, help="an ONNX file, in place of YOLOv3-tiny")
    parser.add_argument("--confidence", type=float, default=0.35, help="from which objects count")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rounds = asyncio.run(
            measure(options.pictures, options.rounds, Path(folder), options.model_file, options.confidence)
        )
    model = options.model_file.stem if options.model_file else "yolov3-tiny"
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {os.cpu_count()} cores, {SIZE[0]}x{SIZE[1]} JPEG, {model}")
    print(f"{'':5} {'pictures a second':^24} {'processor ms a picture':^23}")
    print(f"{'round':>5} {'bare':>8} {'server':>8} {'ratio':>6} {'bare':>11} {'server':>11}")
    for number, it in enumerate(rounds, 1):
        bare, server = it.bare, it.server
        print(f"{number:5} {bare.pictures_per_second:8.1f} {server.pictures_per_second:8.1f}", end=" ")
        print(f"{it.ratio:6.2f} {bare.processor_ms:11.1f} {server.processor_ms:11.1f}")
    ratio = statistics.median(it.ratio for it in rounds)
    print(f"median ratio {ratio:.2f}; the target is {TARGET}: {'met' if ratio >= TARGET else 'NOT met'}")


if __name__ == "__main__":
    main()
