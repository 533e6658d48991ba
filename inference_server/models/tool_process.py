# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tools that work in a process of their own, which may take gigabytes and crash, and tell how far they are."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress

from inference_server.models.errors import ModelError

_MOST_LINE = 1 << 16

type Fraction = Callable[[float], None]
"""Told how much is done, from 0 to 1."""


class ToolError(ModelError):
    """A tool failed. The message is its own reason."""


async def run_tool(command: Sequence[str], seconds: float, progress: Fraction) -> None:
    """Run a tool to its end; lines `progress 0.25` that it prints are told. Raises ToolError, OSError.

    A tool is run as a file and with -P: it needs nothing of ours, and finds nothing of ours either.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=_MOST_LINE,
    )
    try:
        async with asyncio.timeout(seconds):
            errors, _ = await asyncio.gather(_last_line(process.stderr), _read_progress(process.stdout, progress))
            await process.wait()
    except TimeoutError as error:
        raise ToolError(f"it took more than {seconds / 60:.0f} minutes") from error
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0:
        raise ToolError(errors or f"it ended with the status {process.returncode}")


async def _read_progress(stream: asyncio.StreamReader | None, progress: Fraction) -> None:
    async for line in _lines(stream):
        word, _, number = line.partition(" ")
        if word == "progress":
            with suppress(ValueError):
                if 0 <= (done := float(number)) <= 1:
                    progress(done)


async def _last_line(stream: asyncio.StreamReader | None) -> str:
    last = ""
    async for line in _lines(stream):
        last = line or last
    return last


async def _lines(stream: asyncio.StreamReader | None) -> AsyncIterator[str]:
    while stream is not None:
        try:
            line = await stream.readline()
        except ValueError:  # longer than any line that is meant for us; what was read of it is gone
            continue
        if not line:
            return
        yield line.decode(errors="replace").strip()
