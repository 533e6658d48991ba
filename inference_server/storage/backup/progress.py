# SPDX-License-Identifier: AGPL-3.0-or-later
"""Telling how far a long work has come, and ending it early."""

from collections.abc import Callable

type Progress = Callable[[str, int, int], None]
"""Gets what is done, how much of it so far, and how much there is. What it raises ends the work."""


class Stopped(Exception):
    """The server stops, and the work with it."""


def silent(_what: str, _done: int, _total: int) -> None:
    """Tell nobody."""


def counting(what: str, total: int, progress: Progress) -> Callable[[int], None]:
    """Return a function that is told of each portion and tells the sum."""
    done = 0

    def advance(size: int) -> None:
        nonlocal done
        done += size
        progress(what, done, max(total, done))

    return advance
