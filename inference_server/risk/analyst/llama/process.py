# SPDX-License-Identifier: AGPL-3.0-or-later
"""The process of a model from the outside: started, asked, stopped, and killed when it does not answer."""

import asyncio
import contextlib
import logging
import os
import sys
from collections import deque
from collections.abc import Sequence
from typing import Any

from inference_server.risk.analyst.language_model import ModelDown, Refused, Told
from inference_server.risk.analyst.llama import frames

_LOGGER = logging.getLogger(__name__)

COMMAND = (sys.executable, "-P", "-m", "inference_server.risk.analyst.llama.worker")
STOP_SECONDS = 10.0
"""How long a process may take to give a request up, before it is killed."""
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "HOME", "TMPDIR", "LANG", "LC_ALL")
_PASSED_ON_STARTS = ("CUDA_", "NVIDIA_", "GGML_", "HIP_", "ROCR_", "VK_")
"""All that the process knows of ours: no secret."""
_LINES = 20
"""Of what the process complains of, kept at a time."""
_LINE = 500


class WorkerDiedError(Exception):
    """The process ended, hung or lied. Another one may work."""


class ModelProcess:
    """One process with a model in it. It is asked one thing at a time."""

    def __init__(self, process: asyncio.subprocess.Process, stall_seconds: float) -> None:
        """Take a running process; `start` makes one."""
        self._process = process
        self._stall_seconds = stall_seconds
        self._expected: int | None = None
        self._complaints: deque[str] = deque(maxlen=_LINES)
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def start(
        cls, setup: frames.Setup, *, stall_seconds: float, load_seconds: float, command: Sequence[str] = COMMAND
    ) -> tuple["ModelProcess", frames.Loaded]:
        """Return a process that has loaded the model. Raises Refused, ModelDown."""
        environment = {
            name: value
            for name, value in os.environ.items()
            if name in _PASSED_ON or name.startswith(_PASSED_ON_STARTS)
        }
        process = cls(
            await asyncio.create_subprocess_exec(
                *command,
                env=environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            ),
            stall_seconds,
        )
        try:
            return process, await process._loaded(setup, load_seconds)
        except BaseException:
            await process.kill()
            raise

    @property
    def pid(self) -> int:
        """The process' id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.returncode is None

    async def _loaded(self, setup: frames.Setup, seconds: float) -> frames.Loaded:
        try:
            async with asyncio.timeout(seconds):
                await self._send(setup)
                frame = await self._receive()
        except TimeoutError as error:
            raise ModelDown(
                f"Loading {setup.path} did not end within {seconds:g} s.",
                "Use a smaller model or a faster disk, or raise analyst.load_seconds.",
            ) from error
        except WorkerDiedError as error:
            raise ModelDown(
                f"The process of the model ended while it loaded {setup.path}: {error}.",
                "Perhaps there is not enough memory, or the file is damaged: hsi models verify tells.",
            ) from error
        if isinstance(frame, frames.Loaded):
            return frame
        said, remedy = (frame.error, frame.remedy) if isinstance(frame, frames.Failed) else ("it lied", "")
        raise Refused(
            f"{setup.path} cannot be loaded: {said.rstrip('.')}.",
            remedy or "Use another model file (GGUF), or fetch it again.",
        )

    async def ask(self, ask: frames.Ask, told: Told | None) -> frames.Done:
        """Return the answer. Cancelling this makes the process give the request up.

        Raises Refused, WorkerDiedError; the process is dead after the latter.
        """
        try:
            await self._send(ask)
            while True:
                async with asyncio.timeout(self._stall_seconds):
                    frame = await self._receive()
                if isinstance(frame, frames.Piece) and frame.number == ask.number and told is not None:
                    told(frame.text)
                elif isinstance(frame, frames.Done) and frame.number == ask.number:
                    return frame
                elif isinstance(frame, frames.Failed):
                    break
        except TimeoutError as error:
            await self.kill()
            raise WorkerDiedError(f"it gave no sign of life for {self._stall_seconds:g} s") from error
        except WorkerDiedError:
            await self.kill()
            raise
        except BaseException:
            await self._give_up(ask.number)
            raise
        raise Refused(frame.error, frame.remedy)

    async def _give_up(self, number: int) -> None:
        """Have the process stop, or kill it, whatever else is cancelled meanwhile."""
        giving_up = asyncio.ensure_future(self._stopped(number))
        while not giving_up.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({giving_up})

    async def _stopped(self, number: int) -> None:
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._send(frames.Stop(number))
                while not isinstance(await self._receive(), frames.Stopped | frames.Done | frames.Failed):
                    pass
        except (TimeoutError, WorkerDiedError):
            await self.kill()

    async def _send(self, frame: frames.ToWorker) -> None:
        writer = self._process.stdin
        if writer is None:
            raise WorkerDiedError("it has no input")
        try:
            writer.write(frames.packed(frame))
            await writer.drain()
        except OSError as error:
            raise WorkerDiedError(await self._why()) from error

    async def _receive(self) -> Any:
        reader = self._process.stdout
        if reader is None:
            raise WorkerDiedError("it has no output")
        try:
            if self._expected is None:  # else somebody was cancelled between a frame's length and its content
                self._expected = frames.length(await reader.readexactly(frames.HEAD.size))
            content = await reader.readexactly(self._expected)
            self._expected = None
            return frames.unpacked(content)
        except asyncio.IncompleteReadError as error:
            raise WorkerDiedError(await self._why()) from error
        except ValueError as error:
            raise WorkerDiedError(f"it said what makes no sense ({error})") from error

    async def _why(self) -> str:
        """Return how the process ended, once it has."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
                await asyncio.wait({self._listening})
        status = self._process.returncode
        ended = f"it ended with {status}" if status is None or status >= 0 else f"signal {-status} ended it"
        return f"{ended} ({self._complaints[-1]})" if self._complaints else ended

    async def _listen(self) -> None:
        """Keep the last of what the process complains of; its log tells it at the level debug."""
        reader = self._process.stderr
        while reader is not None and (piece := await reader.read(4096)):
            for line in piece.decode("utf-8", "replace").splitlines():
                if line.strip():
                    self._complaints.append(line.strip()[:_LINE])
                    _LOGGER.debug("llama.cpp: %s", line.strip()[:_LINE])

    async def kill(self) -> None:
        """End the process at once, and wait until it is gone."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        await self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        await asyncio.wait({self._listening}, timeout=1)
        self._listening.cancel()
