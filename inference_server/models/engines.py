# SPDX-License-Identifier: AGPL-3.0-or-later
"""TensorRT engines: built once for a model on a GPU, kept in the models folder, never half.

An engine works with the version of TensorRT and the kind of GPU that it was built with alone, so these are part of the
key that it is kept under. A build that failed is noted under its key with the reason and not tried again: with other
weights, another GPU, version, precision or size it has another key.
"""

import asyncio
import json
import sys
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from inference_server.models import engine_tool
from inference_server.models.digest import matches_note, note_digest, sha256_of
from inference_server.models.errors import ModelError
from inference_server.models.locking import exclusive
from inference_server.models.tool_process import Fraction, ToolError, run_tool

BUILD_SECONDS = 3600.0
"""The largest detector takes minutes on a slow GPU."""
_LOCK_SECONDS = BUILD_SECONDS + 60.0
_TOOL = engine_tool.__file__


class EngineBuildError(ModelError):
    """An engine could not be built. The message is the builder's reason."""


@dataclass(frozen=True, slots=True)
class EngineKey:
    """What an engine depends on. `size`: pixels a side; `most`: pictures in its largest batch."""

    weights: str
    """SHA-256 of the ONNX file."""
    gpu: str
    capability: str
    tensorrt: str
    precision: str
    size: int
    most: int

    @property
    def id(self) -> str:
        """A short name that only this key has."""
        return sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:24]


class EngineBuilder(Protocol):
    """Builds an engine on this machine's GPU."""

    async def build(self, weights: Path, target: Path, key: EngineKey, progress: Fraction) -> None:
        """Write the engine of an ONNX file to `target`. Raises EngineBuildError, OSError."""
        ...


class ToolBuilder:
    """Builds in a process of its own, which may take gigabytes and crash."""

    def __init__(self, python: str = sys.executable, tool: str = _TOOL) -> None:
        """Use an interpreter that has the extra `tensorrt`."""
        self._python = python
        self._tool = tool

    async def build(self, weights: Path, target: Path, key: EngineKey, progress: Fraction) -> None:
        """Write the engine of an ONNX file to `target`. Raises EngineBuildError, OSError."""
        arguments = (str(weights), str(target), key.precision, str(key.size), str(key.most))
        try:
            await run_tool((self._python, "-P", self._tool, *arguments), BUILD_SECONDS, progress)
        except ToolError as error:
            raise EngineBuildError(str(error)) from error
        if not target.is_file():
            raise EngineBuildError("the builder wrote no engine")


class EngineCache:
    """The engines below one folder."""

    def __init__(self, folder: Path) -> None:
        """Use a folder, which need not exist yet."""
        self._folder = folder

    def find(self, key: EngineKey) -> Path | None:
        """Return a key's engine, if it is there and whole."""
        engine = self._engine(key)
        return engine if matches_note(engine) else None

    def failure(self, key: EngineKey) -> str | None:
        """Return why a key's engine could not be built, if that was tried."""
        try:
            noted = json.loads(self._failure(key).read_text(encoding="utf-8"))
            return str(noted["reason"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def note_failure(self, key: EngineKey, reason: str) -> None:
        """Note that a key's engine cannot be built or used, so that this is not tried at each start. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        note = {"reason": reason, "of": asdict(key)}
        self._failure(key).write_text(json.dumps(note, indent=1), encoding="utf-8")

    async def build(self, weights: Path, key: EngineKey, builder: EngineBuilder, progress: Fraction) -> Path:
        """Return a key's engine, building it unless it is there. A failure is noted under the key.

        Raises EngineBuildError, OSError, and TimeoutError while another process builds for too long.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        engine = self._engine(key)
        half = engine.with_suffix(".part")
        async with exclusive(self._folder / f".{key.id}.lock", _LOCK_SECONDS):
            if await asyncio.to_thread(self.find, key):
                return engine
            try:
                await builder.build(weights, half, key, progress)
                digest = await asyncio.to_thread(sha256_of, half)
            except EngineBuildError as error:
                self.note_failure(key, str(error))
                raise
            else:
                half.replace(engine)
                note_digest(engine, digest)
            finally:
                half.unlink(missing_ok=True)
        return engine

    def _engine(self, key: EngineKey) -> Path:
        return self._folder / f"{key.id}.engine"

    def _failure(self, key: EngineKey) -> Path:
        return self._folder / f"{key.id}.failed.json"
