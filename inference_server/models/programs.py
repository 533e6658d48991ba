# SPDX-License-Identifier: AGPL-3.0-or-later
"""Programs that are run for one job, within a time."""

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path


async def run_program(
    *command: str, seconds: float, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """Run a program and return its exit status and what it wrote to the error stream.

    `environment` is added to this process' own. When the time is over, or whoever waits is cancelled, the program is
    killed before this returns. Raises TimeoutError; OSError where it cannot be started.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(seconds):
            _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return process.returncode or 0, errors
