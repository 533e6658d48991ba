# SPDX-License-Identifier: AGPL-3.0-or-later
"""Child processes that log to a file, are watched, and stop in order."""

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO


class ProcessEnded(Exception):
    """A child ended by itself; the message carries its last log lines."""


class Child:
    """One child process in its own session, so that Ctrl-C reaches only us and we stop children in order."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path | None,
        directory: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._command = [str(part) for part in command]
        self._directory = directory
        self._environment = {**os.environ, **(environment or {})}
        self._process: asyncio.subprocess.Process | None = None

    @property
    def running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """The process id, for tests that pull the plug."""
        return self._started().pid

    async def start(self) -> None:
        """Start the process; its output is added to the log file, or shown where there is none."""
        with ExitStack() as stack:
            output = stack.enter_context(_open_log(self.log)) if self.log else None
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                cwd=self._directory,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT if output else None,
                start_new_session=True,
            )

    async def wait(self) -> int:
        """Wait for the process to end by itself and return its exit code."""
        return await self._started().wait()

    async def until(self, ready: Callable[[], Awaitable[bool]], *, timeout: float, interval: float = 0.1) -> None:
        """Ask again and again until the process says it is ready; stop it when that takes too long."""
        try:
            async with asyncio.timeout(timeout):
                while not await ready():
                    if not self.running:
                        raise ProcessEnded(self.obituary())
                    await asyncio.sleep(interval)
        except TimeoutError:
            await self.stop()
            raise ProcessEnded(f"{self.name} was not ready within {timeout:.0f} s. {self._last_words()}") from None

    async def stop(self, timeout: float = 8) -> None:
        """Ask the process to end, and insist when it does not."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), timeout)
        except TimeoutError:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    async def kill(self) -> None:
        """End the process as a power cut would."""
        process = self._started()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()

    def tail(self, lines: int = 25) -> str:
        """The last lines of the log."""
        if self.log is None or not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def obituary(self) -> str:
        """Say that the process ended, and its last words."""
        code = self._started().returncode
        return f"{self.name} ended with exit code {code}. {self._last_words()}"

    def _last_words(self) -> str:
        return f"Its log ({self.log}) ends with:\n{self.tail()}"

    def _started(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port(host: str = "127.0.0.1") -> int:
    """A port nobody listens on."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port


def _open_log(path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("ab")
