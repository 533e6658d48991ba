# SPDX-License-Identifier: AGPL-3.0-or-later
"""Long work with the disk in a thread that ends before whoever cancelled it goes on."""

import asyncio
import threading
from collections.abc import Callable
from typing import Concatenate


class Stopped(Exception):
    """The work was cancelled halfway."""


class Stop:
    """Asked between two chunks of work whether somebody has cancelled it."""

    def __init__(self) -> None:
        """Begin with work that nobody has cancelled."""
        self._event = threading.Event()

    def check(self) -> None:
        """Raise Stopped when the work is wanted no more."""
        if self._event.is_set():
            raise Stopped

    def set(self) -> None:
        """Cancel the work."""
        self._event.set()


async def in_thread[**P, Result](
    work: Callable[Concatenate[Stop, P], Result], *arguments: P.args, **named: P.kwargs
) -> Result:
    """Do work that asks its `Stop`, in a thread.

    When the caller is cancelled the work is stopped, and the caller goes on only after it has: nobody else finds a
    file that a forgotten thread still writes.
    """
    stop = Stop()
    task = asyncio.create_task(asyncio.to_thread(work, stop, *arguments, **named))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # taken, so that nobody is told of it
        raise
