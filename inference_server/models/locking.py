# SPDX-License-Identifier: AGPL-3.0-or-later
"""A lock between processes, held while a model is being installed."""

import asyncio
import fcntl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO

_RETRY_SECONDS = 0.1


@asynccontextmanager
async def exclusive(path: Path, seconds: float) -> AsyncIterator[None]:
    """Hold the lock of this name; the kernel releases it when the process ends, however it ends.

    Raises TimeoutError when another holder has not let go after `seconds`.
    """
    with path.open("ab") as file:
        if not _acquired(file):
            async with asyncio.timeout(seconds):
                while not _acquired(file):  # noqa: ASYNC110 - the kernel tells no event loop of a release
                    await asyncio.sleep(_RETRY_SECONDS)
        yield


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock of a name that nobody else uses. Raises OSError."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_held(path: Path) -> bool:
    """Say whether somebody holds the lock of this name."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _acquired(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
