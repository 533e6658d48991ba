# SPDX-License-Identifier: AGPL-3.0-or-later
"""Progress of long commands on standard error."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from inference_server.storage.backup.progress import Progress

_INTERVAL_SECONDS = 0.2


@contextmanager
def telling() -> Iterator[Progress]:
    """Give a function that shows how far a work is: a line that changes on a terminal, a line per step elsewhere."""
    teller = _Teller()
    try:
        yield teller
    finally:
        teller.end()


class _Teller:
    def __init__(self) -> None:
        self._step = ""
        self._shown_at = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        new = what != self._step
        terminal = sys.stderr.isatty()
        if not new and (not terminal or time.monotonic() - self._shown_at < _INTERVAL_SECONDS):
            return
        if new and self._step and terminal:
            print(file=sys.stderr)
        self._step, self._shown_at = what, time.monotonic()
        if terminal:
            print(f"\r{what}: {_of(done, total)}", end="", file=sys.stderr, flush=True)
        else:
            print(what, file=sys.stderr)

    def end(self) -> None:
        if self._step and sys.stderr.isatty():
            print(file=sys.stderr)


def _of(done: int, total: int) -> str:
    return f"{done:,}" if done >= total else f"{done / total:4.0%}"
