# SPDX-License-Identifier: AGPL-3.0-or-later
"""The log: one line a record on standard error, times in UTC."""

import asyncio
import errno
import logging
import time
import warnings
from typing import Any

ACCEPT_SECONDS = 60.0
"""The event loop complains of each connection that it cannot accept; one line in this time is enough."""
_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_LOGGER = logging.getLogger(__name__)


def configure_logs(level: str) -> None:
    """Log from this level ("debug" to "error") up; libraries speak from warning up."""
    handler = logging.StreamHandler()
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("inference_server").setLevel(level.upper())
    # a hostile picture makes Pillow warn thousands of times, of what admission judges anyway
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


class LoopErrors:
    """The event loop's exception handler: as usual, but seldom where a lack of room would fill the log."""

    def __init__(self) -> None:
        """Start with nothing told."""
        self._silent_until = 0.0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log what no task took."""
        error = context.get("exception")
        if not ("socket" in context and isinstance(error, OSError) and error.errno in _NO_ROOM):
            loop.default_exception_handler(context)
        elif loop.time() >= self._silent_until:
            self._silent_until = loop.time() + ACCEPT_SECONDS
            _LOGGER.error(
                "Connections cannot be accepted: %s. Find who opens so many, or raise the limit of open files",
                error.strerror,
            )
