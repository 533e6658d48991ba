# SPDX-License-Identifier: AGPL-3.0-or-later
"""All that needs an NVIDIA GPU, in one command: the tests marked `gpu`, then what runs the detector there, compared.

    python -m benchmarks.gpu [--model FILE.onnx] [--batches 1,2,4,8,16,32,64] [--seconds 2] [--no-tests]

docs/hardware.md says what to carry to a machine without network. What cannot be had is named with its reason, and the
rest is measured: PyTorch (eager, compiled, as a CUDA graph) where torch is, ONNX Runtime's CUDA and TensorRT providers
where onnxruntime-gpu is, our engines where TensorRT is. Each takes random pictures from the machine's memory and brings
its answer back there; the ratio is to PyTorch's eager mode with the same batch.
"""

import argparse
import asyncio
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from inference_server.detection.backends.network import Network
from inference_server.detection.backends.opening import default_loaders
from inference_server.detection.backends.tensorrt import engine_key
from inference_server.hardware.nvml import NoGpuError, Nvml
from inference_server.models.engines import EngineCache, EngineKey, ToolBuilder
from inference_server.settings import Backend, DetectorSettings, Device, Precision
from scripts.development.repository import REPOSITORY
from tests.support.weights import detector_model_path

CHOICES = (
    (Backend.ONNX, Precision.F32),
    (Backend.ONNX_TENSORRT, Precision.F32),
    (Backend.ONNX_TENSORRT, Precision.F16),
    (Backend.TENSORRT, Precision.F32),
    (Backend.TENSORRT, Precision.F16),
)
TESTS = REPOSITORY / "tests" / "server"
MARK = "pytest.mark.gpu"
EAGER = "torch eager"
WARM_UPS = 5


@dataclass(frozen=True, slots=True)
class Measured:
    """Pictures a second, or why there are none."""

    name: str
    batch: int
    rate: float | None
    note: str = ""


def tests() -> int:
    """Run the tests that need a GPU and return pytest's status. Others, which want more packages, are not even read."""
    print("== tests marked gpu", flush=True)
    files = [str(path) for path in sorted(TESTS.rglob("test_*.py")) if MARK in path.read_text(encoding="utf-8")]
    return subprocess.run([sys.executable, "-m", "pytest", "-m", "gpu", "-q", *files], check=False).returncode  # noqa: S603


def with_torch(model: Path, batches: Sequence[int], seconds: float) -> Iterator[Measured]:
    """Measure PyTorch, in a process of its own: its memory goes with it."""
    command = [sys.executable, "-m", "benchmarks.torch_graph", str(model), "--seconds", str(seconds)]
    command += ["--batches", ",".join(map(str, batches))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    for line in done.stdout.splitlines():
        told = json.loads(line)
        rate = told.get("batches_per_second")
        note = told.get("error") or f"differs by {told['difference']:.1e} at most"
        yield Measured(told["name"], told["batch"], rate and rate * told["batch"], note)
    if done.returncode != 0:
        yield Measured("torch", 0, None, (done.stderr.strip().splitlines() or ["it says nothing"])[-1])


def with_ours(model: Path, batches: Sequence[int], seconds: float, engines: Path) -> Iterator[Measured]:
    """Measure each backend of ours on the GPU."""
    for backend, precision in CHOICES:
        for batch in batches:
            name = f"{backend} {precision}"
            settings = DetectorSettings(backend=backend, device=Device.CUDA, precision=precision, max_batch=batch)
            try:
                network = _network(model, settings, engines)
                yield Measured(name, batch, _rate(network, batch, seconds), network.provider)
            except Exception as error:  # noqa: BLE001 - the next one may work
                yield Measured(name, batch, None, f"{error}".splitlines()[0])
                break


def _network(model: Path, settings: DetectorSettings, engines: Path) -> Network:
    if settings.backend is Backend.TENSORRT:
        _build(model, engine_key(model, settings), engines)
    return default_loaders(engines)[settings.backend](model, settings, Device.CUDA)


def _build(model: Path, key: EngineKey, engines: Path) -> None:
    asyncio.run(EngineCache(engines).build(model, key, ToolBuilder(), lambda _done: None))


def _rate(network: Network, batch: int, seconds: float) -> float:
    """Return pictures a second."""
    given = network.input
    pictures = np.random.default_rng(0).random((given.batch or batch, 3, given.size, given.size), np.float32)
    for _ in range(WARM_UPS):
        network.run(pictures)
    count, started = 0, perf_counter()
    while (took := perf_counter() - started) < seconds:
        network.run(pictures)
        count += len(pictures)
    return count / took


def report(found: Sequence[Measured], tell: Callable[[str], None] = print) -> None:
    """Tell all of it, with the ratio to PyTorch's eager mode."""
    base = {one.batch: one.rate for one in found if one.name == EAGER and one.rate}
    tell(f"{'':24} {'batch':>5} {'pictures/s':>10} {'ratio':>6}")
    for one in found:
        if one.rate is None:
            tell(f"{one.name:24} {one.batch or '':>5} not here: {one.note}")
            continue
        ratio = f"{one.rate / base[one.batch]:.2f}" if one.batch in base else "-"
        tell(f"{one.name:24} {one.batch:5} {one.rate:10.1f} {ratio:>6}  {one.note}")


def main() -> int:
    """Test, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=None, help="an ONNX file; else the small detector of the tests")
    parser.add_argument("--batches", default="1,2,4,8,16,32,64")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--no-tests", action="store_true")
    options = parser.parse_args()
    try:
        gpus = ", ".join(f"{gpu.name}, driver {gpu.driver}" for gpu in Nvml().devices())
    except NoGpuError as error:
        print(f"{error.why.message} {error.why.remedy or ''}".strip(), file=sys.stderr)
        return 1
    status = 0 if options.no_tests else tests()
    model = options.model or detector_model_path()
    batches = [int(batch) for batch in options.batches.split(",")]
    print(f"== {gpus}, Python {platform.python_version()}, {model.name}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        found = [
            *with_torch(model, batches, options.seconds),
            *with_ours(model, batches, options.seconds, Path(folder)),
        ]
    report(found)
    return status


if __name__ == "__main__":
    sys.exit(main())
