# SPDX-License-Identifier: AGPL-3.0-or-later
"""Each backend that is here, against the bare ONNX session, in the same run on the same pictures.

    python -m benchmarks.detectors [--pictures 64] [--rounds 5] [--model FILE.onnx] [--threads 0]

The bare session is the model alone on all cores, fed with finished tensors. A backend's time is that of the detector as
the pipeline calls it: from decoded pictures, with letterbox and post-processing, from as many threads as it likes. All
take turns in each round, so that they see the same machine; the ratios are of the rounds, the percentiles of single
pictures in all rounds. Whatever cannot be had here is named with its reason. The 8-bit form is made in the same run,
from the same pictures: what is measured is its time. `hsi models quantise` tells whether it sees the same.

Where HSI_EXPORT_PYTHON names an interpreter with ultralytics and onnxruntime, its `YOLO.predict` takes turns as well,
on the same ONNX file and the same JPEG files one after the other, and so does the detector from the JPEG on.
"""

import argparse
import asyncio
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import onnxruntime

from benchmarks.pictures import SIZE, different_jpegs
from inference_server.detection.backends import torch_tool
from inference_server.detection.backends.onnx import model_input
from inference_server.detection.backends.opening import default_loaders, open_detector
from inference_server.detection.detector import Detector, Picture
from inference_server.detection.errors import DetectorUnusable
from inference_server.detection.preprocess import decode_picture, empty_batch, place
from inference_server.detection.quantisation import LEAST_PICTURES, write_calibration
from inference_server.models.digest import sha256_of
from inference_server.models.quantised import Check, Form, Method, QuantisedModels, Report
from inference_server.models.quantising import quantise
from inference_server.models.store import ResolvedModel
from inference_server.settings import Backend, DetectorSettings, Device, Precision
from tests.support.detectors import detector_on
from tests.support.weights import detector_model_path

CHOICES = (
    (Backend.ONNX, Device.CPU, Precision.F32),
    (Backend.OPENVINO, Device.CPU, Precision.F32),
    (Backend.OPENVINO, Device.CPU, Precision.BF16),
    (Backend.ONNX, Device.CPU, Precision.INT8),
    (Backend.OPENVINO, Device.CPU, Precision.INT8),
    (Backend.OPENVINO, Device.GPU, Precision.F16),
    (Backend.ONNX, Device.CUDA, Precision.F32),
    (Backend.ONNX_TENSORRT, Device.CUDA, Precision.F16),
    (Backend.TENSORRT, Device.CUDA, Precision.F16),
)


@dataclass
class Runner:
    """Something that is measured: all pictures in one go, each one's seconds kept."""

    name: str
    infer: Callable[[Picture], object] | None
    parallel: int
    run_all: Callable[[], list[float]] | None = None
    """What infers all pictures by itself, where that is another process."""
    rates: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def run(self, pictures: Sequence[Picture]) -> None:
        """Infer every picture once."""

        if self.run_all is not None:
            seconds = self.run_all()
            self.seconds += seconds
            self.rates.append(len(seconds) / sum(seconds))
            return

        def timed(picture: Picture) -> float:
            started = time.perf_counter()
            if self.infer is not None:
                self.infer(picture)
            return time.perf_counter() - started

        with ThreadPoolExecutor(self.parallel) as threads:
            started = time.perf_counter()
            self.seconds += threads.map(timed, pictures)
            self.rates.append(len(pictures) / (time.perf_counter() - started))


def bare_session(model: Path, contents: Sequence[bytes], threads: int) -> tuple[Runner, list[Picture]]:
    """Return the model alone, one picture after the other on all cores, on tensors that are ready; and the pictures."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    size = given.shape[2] if isinstance(given.shape[2], int) else 640
    tensors = {}
    pictures = [decode_picture(content, size) for content in contents]
    for picture in pictures:
        batch = empty_batch(1, size)
        place(picture, batch[0])
        tensors[id(picture)] = batch
    return Runner("bare session", lambda picture: session.run(None, {given.name: tensors[id(picture)]}), 1), pictures


class Ultralytics:
    """`YOLO.predict` in a process of the interpreter that has it."""

    def __init__(self, python: str, model: Path, contents: Sequence[bytes], folder: Path, size: int) -> None:
        """Write the pictures and load the model."""
        for number, content in enumerate(contents):
            (folder / f"{number:04}.jpg").write_bytes(content)
        self._process = subprocess.Popen(  # noqa: S603 - named by whoever measures
            [python, "-c", _PREDICT, model, folder, str(size)],
            env={**os.environ, **torch_tool.ENVIRONMENT, "YOLO_CONFIG_DIR": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self) -> list[float]:
        """Return the seconds of each picture."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the process has no pipes")
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        while not (line := self._process.stdout.readline()).startswith("seconds "):
            if not line:
                raise RuntimeError("ultralytics ended; its messages above say why")
        return [float(value) for value in line.split()[1:]]

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


_PREDICT = """
import sys, time
from pathlib import Path
from ultralytics import YOLO
model, files = YOLO(sys.argv[1], task="detect"), sorted(Path(sys.argv[2]).glob("*.jpg"))
for _ in sys.stdin:
    seconds = []
    for file in files:
        started = time.perf_counter()
        model.predict(file, imgsz=int(sys.argv[3]), conf=0.35, device="cpu", verbose=False)
        seconds.append(time.perf_counter() - started)
    print("seconds", *seconds, flush=True)
"""


def quantised(model: Path, pictures: Sequence[bytes], folder: Path) -> QuantisedModels:
    """Return the model's form in 8-bit numbers, which every backend may use."""
    forms, half, values = QuantisedModels(folder), folder / "half.onnx", folder / "pictures.npy"
    folder.mkdir()
    size = model_input(model, DetectorSettings()).size
    enough = islice(cycle(pictures), max(len(pictures), LEAST_PICTURES))
    reads = [lambda content=content: content for content in enough]
    calibration = write_calibration(reads, size, values, silent)
    made = quantise(model, half, values, method=Method.MINMAX, form=Form.ASYMMETRIC, progress=silent)
    asyncio.run(made)
    checks = tuple(Check(runtime, 0, 0, 0, 0.0, 1.0, 1.0, 1.0) for runtime in (Backend.ONNX, Backend.OPENVINO))
    digest, count = sha256_of(model), calibration.written
    forms.keep(model.stem, half, Report(digest, size, Method.MINMAX, Form.ASYMMETRIC, count, 0, 0, checks))
    return forms


def silent(_done: float) -> None:
    """Tell nobody."""


def backends(model: Path, threads: int, engines: Path, forms: QuantisedModels) -> tuple[list[Runner], list[str]]:
    """Return what can be had here, and why the rest cannot."""
    runners, absent = [], []
    for backend, device, precision in CHOICES:
        settings = DetectorSettings(backend=backend, device=device, precision=precision, threads=threads)
        try:
            resolved = ResolvedModel(model, model.stem, model.name)
            opened = open_detector(resolved, settings, default_loaders(engines), quantised=forms)
        except DetectorUnusable as error:
            absent.append(str(error))
            continue
        if opened.shortfall is not None:
            absent.append(f"{opened.shortfall.wanted}: {opened.shortfall.reason}")
        else:
            runners.append(_runner(f"{backend} {device} {precision}", opened.detector))
    return runners, absent


def _runner(name: str, detector: Detector) -> Runner:
    return Runner(f"{name} ({detector.provider})", lambda picture: detector.detect([picture]), detector.parallel)


def _from_files(detector: Detector, theirs: Ultralytics, contents: Mapping[int, bytes]) -> list[Runner]:
    """Return the detector and Ultralytics, both from the JPEG on."""

    def ours(picture: Picture) -> object:
        return detector.detect([decode_picture(contents[id(picture)], detector.input_size)])

    return [
        Runner("onnx cpu f32, from the JPEG", ours, detector.parallel),
        Runner("Ultralytics' predict, from the JPEG", None, 1, run_all=theirs.run),
    ]


def _take_turns(runners: Sequence[Runner], pictures: Sequence[Picture], rounds: int) -> None:
    for runner in runners:
        runner.run(pictures[:8])
        runner.rates.clear()
        runner.seconds.clear()
    for _ in range(rounds):
        for runner in runners:
            runner.run(pictures)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    model = options.model or detector_model_path()
    contents = list(different_jpegs(options.pictures))
    bare, pictures = bare_session(model, contents, options.threads)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        forms = quantised(model, contents, folder / "quantised")
        runners, absent = backends(model, options.threads, folder / "engines", forms)
        if python := os.environ.get("HSI_EXPORT_PYTHON"):
            detector = detector_on(model, DetectorSettings(backend=Backend.ONNX, device=Device.CPU))
            theirs = Ultralytics(python, model, contents, folder, detector.input_size)
            stack.callback(theirs.stop)
            runners += _from_files(detector, theirs, dict(zip(map(id, pictures), contents, strict=True)))
        _take_turns([bare, *runners], pictures, options.rounds)
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {SIZE[0]}x{SIZE[1]} JPEG, {model.name}"
    )
    print(f"{'':52} {'pictures/s':>10} {'ratio':>6} {'p50 ms':>7} {'p95 ms':>7} {'p99 ms':>7}")
    for runner in (bare, *runners):
        ratio = statistics.median(rate / base for rate, base in zip(runner.rates, bare.rates, strict=True))
        middle, high, highest = np.percentile(runner.seconds, [50, 95, 99]) * 1000
        rate = statistics.median(runner.rates)
        print(f"{runner.name:52} {rate:10.1f} {ratio:6.2f} {middle:7.1f} {high:7.1f} {highest:7.1f}")
    for reason in absent:
        print(f"not here: {reason}")


if __name__ == "__main__":
    main()
