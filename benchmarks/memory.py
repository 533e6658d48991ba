# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a detector takes of the machine's memory: loaded, and while it infers two pictures at a time.

    python -m benchmarks.memory MODEL.onnx [--pictures 40]

Resident memory of this process, less what it had before the model was loaded, in MiB; the highest of many readings
counts. The libraries themselves are loaded before. The numbers of the catalogue that are called measured are these.
"""

import argparse
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import psutil

from inference_server.core.hardware import MIB
from inference_server.detection.backends.onnx import OnnxNetwork
from inference_server.detection.preprocess import empty_batch
from inference_server.settings import DetectorSettings

READ_SECONDS = 0.005


class Peak:
    """The highest resident memory of this process while the context lasts, in bytes."""

    def __init__(self) -> None:
        """Read nothing yet."""
        self.bytes = 0
        self._ended = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        """Begin to read."""
        self._reader.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """End."""
        self._ended.set()
        self._reader.join()

    def _read(self) -> None:
        while not self._ended.wait(READ_SECONDS):
            self.bytes = max(self.bytes, psutil.Process().memory_info().rss)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--pictures", type=int, default=40)
    options = parser.parse_args()
    before = psutil.Process().memory_info().rss
    with Peak() as peak:
        network = OnnxNetwork(options.model, DetectorSettings())
        loaded = psutil.Process().memory_info().rss
        batch = empty_batch(network.input.batch or 1, network.input.size)
        with ThreadPoolExecutor(network.parallel) as threads:
            list(threads.map(lambda _: network.run(batch), range(options.pictures)))
    print(f"{options.model.stem}: {(loaded - before) / MIB:.0f} MiB loaded, {(peak.bytes - before) / MIB:.0f} MiB busy")


if __name__ == "__main__":
    main()
