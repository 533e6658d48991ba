# SPDX-License-Identifier: AGPL-3.0-or-later
"""PyTorch: a checkpoint (.pt) of Ultralytics, run by a process of its own.

Neither library is imported here: together they take gigabytes, and a checkpoint is a program. The process loads it
without running what is in it, and has neither network nor installer (`torch_tool.py`). One that died is started again.
"""

import json
import os
import struct
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from inference_server.detection.backends import torch_tool
from inference_server.detection.backends.model import MOST_OUTPUT_BYTES, ModelInput, RawInput, read_input
from inference_server.detection.backends.network import Floats
from inference_server.detection.errors import BackendAbsent, BackendUnavailable, DetectorUnusable
from inference_server.settings import DetectorSettings, Device

_INSTALL = "Install the extra export: `uv pip install '.[export]'` (several gigabytes), or use the model's ONNX form."
_NEEDS_FILE = "Name a checkpoint with detector.model_file, or set detector.backend to auto."
_ON_PROCESSOR = (
    "Set detector.device to cpu and detector.precision to f32, or check with `nvidia-smi` that the driver works."
)
_MOST_HEADER = 1 << 20


class PytorchNetwork:
    """A checkpoint in a process."""

    def __init__(self, path: Path, settings: DetectorSettings, device: Device, python: str = sys.executable) -> None:
        """Start the process, with an interpreter that has ultralytics, and wait until it has loaded the model.

        Raises BackendUnavailable where PyTorch or the device cannot be had, DetectorUnusable for a file that cannot
        serve.
        """
        if path.suffix.lower() != ".pt":
            raise BackendUnavailable(f"PyTorch takes a checkpoint (.pt), found {path.name}", _NEEDS_FILE)
        if not path.is_file():
            raise DetectorUnusable("a checkpoint of Ultralytics was expected; found no such file")
        self._command = (python, "-P", torch_tool.__file__, str(path), device.value, settings.precision.value)
        self._lock = threading.Lock()
        self._process = _Process(self._command)
        said = self._process.said
        self._metadata: Mapping[str, str] = said.get("metadata", {})
        self._provider = str(said.get("provider", "PyTorch"))
        self._input = read_input(
            [RawInput("images", "float32", True, (None, 3, None, None))], self._metadata, settings.input_size
        )

    @property
    def input(self) -> ModelInput:
        """What the model takes."""
        return self._input

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the checkpoint says of itself."""
        return self._metadata

    @property
    def provider(self) -> str:
        """The device that PyTorch really uses, and the precision."""
        return self._provider

    @property
    def parallel(self) -> int:
        """How many calls of `run` are worth making at a time: the process has one line of work."""
        return 1

    def run(self, batch: Floats) -> Floats:
        """Return the output for float32 [N, 3, S, S]. Raises RuntimeError when the process fails or died."""
        with self._lock:
            if not self._process.is_alive:
                self._process = _Process(self._command)
            return self._process.run(batch)


class _Process:
    """The process, and what it said when it had loaded the model."""

    def __init__(self, command: tuple[str, ...]) -> None:
        # The library keeps its settings in a folder, and may share none with whoever uses it besides.
        folder = tempfile.TemporaryDirectory(prefix="pytorch-")
        self._process = subprocess.Popen(  # noqa: S603 - our own tool
            command,
            env={**os.environ, **torch_tool.ENVIRONMENT, "YOLO_CONFIG_DIR": folder.name},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._end = weakref.finalize(self, _end, self._process, folder)
        try:
            self.said = self._loaded()
        except BaseException:
            self._end()
            raise

    @property
    def is_alive(self) -> bool:
        return self._end.alive and self._process.poll() is None

    def run(self, batch: Floats) -> Floats:
        source, target = _pipes(self._process)
        try:
            target.write(struct.pack("<5I", 4, *batch.shape))
            target.write(np.ascontiguousarray(batch, np.float32).tobytes())
            target.flush()
            return _answer(source)
        except (OSError, EOFError) as error:
            self._end()
            raise RuntimeError(f"the process of PyTorch died ({error})") from error

    def _loaded(self) -> dict[str, Any]:
        line = _pipes(self._process)[0].readline(_MOST_HEADER)
        try:
            said = json.loads(line)
        except ValueError as error:
            status = self._process.wait() if not line else None
            raise BackendUnavailable(f"the process of PyTorch says nothing (status {status})", _INSTALL) from error
        match said.get("kind"):
            case None:
                return dict(said)
            case "absent":
                raise BackendAbsent(f"PyTorch or ultralytics is not installed ({said['error']})", _INSTALL)
            case "unavailable":
                raise BackendUnavailable(str(said["error"]), _ON_PROCESSOR)
            case _:
                raise DetectorUnusable(f"a checkpoint of Ultralytics was expected; found {said['error']}")


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    if process.stdout is None or process.stdin is None:
        raise RuntimeError("the process of PyTorch has no pipes")
    return process.stdout, process.stdin


def _answer(source: IO[bytes]) -> Floats:
    """Read one output. Raises EOFError where the process ended, RuntimeError with its reason."""
    (count,) = struct.unpack("<I", _exactly(source, 4))
    if count == torch_tool.ERROR:
        (length,) = struct.unpack("<I", _exactly(source, 4))
        raise RuntimeError(_exactly(source, min(length, _MOST_HEADER)).decode(errors="replace"))
    if count > torch_tool.MOST_SIDES:
        raise EOFError(f"an output with {count} sides")
    shape = struct.unpack(f"<{count}I", _exactly(source, 4 * count))
    size = 4 * int(np.prod([int(side) for side in shape], dtype=object))
    if size > MOST_OUTPUT_BYTES * max(1, shape[0] if shape else 1):
        raise EOFError(f"an output of {size} bytes")
    return np.frombuffer(_exactly(source, size), np.float32).reshape(shape)


def _exactly(source: IO[bytes], size: int) -> bytes:
    content = source.read(size)
    if len(content) < size:
        raise EOFError("it ended")
    return content


def _end(process: subprocess.Popen[bytes], folder: "tempfile.TemporaryDirectory[str]") -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):  # what it had not taken yet goes with it
                pipe.close()
    folder.cleanup()
