# SPDX-License-Identifier: AGPL-3.0-or-later
"""Fault points: places, by name, at which a process ends as if its plug had been pulled.

Each stage boundary is the commit of a transaction; which one it is, the work around it tells. Nothing of this is in the
product: a process that is to die wraps the product's own methods before it starts.
"""

import functools
import itertools
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference_server.pipeline.close import CloseStage
from inference_server.pipeline.detect import DetectStage
from inference_server.pipeline.gather import GatherStage
from inference_server.pipeline.intake import FrameIntake
from inference_server.pipeline.redis_broker import RedisBroker
from inference_server.pipeline.sql_broker import SqlBroker
from inference_server.pipeline.streams import Streams
from inference_server.storage.database import Database
from inference_server.storage.media import MediaFolder

ADMITTING = ("media.unwritten", "media.unnamed", "media.written", "intake.uncommitted", "intake.committed")
"""Passed only by the worker that watches the folders."""
STAGES = tuple(
    f"{stage}.{moment}" for stage in ("detect", "gather", "close") for moment in ("uncommitted", "committed")
)
FAILURES = tuple(f"{work}.{moment}" for work in ("retry", "bury") for moment in ("uncommitted", "committed"))
RECOVERY = ("recover.uncommitted", "recover.committed")
SQL = ("claim.committed", "renew.uncommitted", "renew.committed", *RECOVERY)
REDIS = (
    *RECOVERY,
    "streams.read",
    "streams.added",
    "send.committed",
    "streams.unsettled",
    "streams.kept",
    "streams.emptied",
    "rebuild.uncommitted",
    "rebuild.committed",
)
REBUILDING = frozenset({"streams.emptied", "rebuild.uncommitted", "rebuild.committed"})
"""Passed only when Redis has lost its streams."""
RENEWING = frozenset({"renew.uncommitted", "renew.committed", "streams.kept"})
"""Passed only while work takes longer than a third of a lease."""
SELDOM = RENEWING | REBUILDING | frozenset((*RECOVERY, *FAILURES))
"""Passed once in a while, or once in a run."""
ANY_MOMENT = "any moment"
"""Not a place: the process is killed from outside after a random time."""

_ACTIVITIES: tuple[tuple[str, type, str], ...] = (
    ("intake", FrameIntake, "take"),
    ("detect", DetectStage, "consume"),
    ("gather", GatherStage, "consume"),
    ("close", CloseStage, "consume"),
    ("claim", SqlBroker, "claim"),
    ("retry", SqlBroker, "retry"),
    ("bury", SqlBroker, "bury"),
    ("recover", SqlBroker, "recover"),
    ("recover", RedisBroker, "recover"),
    ("renew", SqlBroker, "renew"),
    ("send", RedisBroker, "_send"),
    ("rebuild", RedisBroker, "_check"),
)
_doing: ContextVar[str] = ContextVar("doing", default="other")


@dataclass(frozen=True, slots=True)
class Fault:
    """Where a process ends, and at which pass of that place."""

    point: str
    passes: int = 1


class Trap:
    """Ends this process at the n-th pass of its point."""

    def __init__(self, fault: Fault) -> None:
        """Lay the trap: wraps what leads past fault points."""
        self._point = fault.point
        self._passes = itertools.count(1)
        self._last = fault.passes
        self._lock = threading.Lock()
        for name, owner, method in _ACTIVITIES:
            _wrap(owner, method, functools.partial(_named, name))
        _wrap(Database, "writing", self._committing)
        _wrap(MediaFolder, "write", lambda write: self._around(write, "media.unwritten", "media.written"))
        _wrap(Path, "replace", self._renaming)
        for method, point in (("add", "streams.added"), ("read", "streams.read")):
            _wrap(Streams, method, functools.partial(self._after, point))
        for method, point in (("settle", "streams.unsettled"), ("keep", "streams.kept")):
            _wrap(Streams, method, functools.partial(self._before, point))
        _wrap(Streams, "rebuild", functools.partial(self._after, "streams.emptied"))

    def passed(self, point: str) -> None:
        """Note that a point was passed."""
        if point == self._point:
            with self._lock:
                if next(self._passes) >= self._last:
                    os.kill(os.getpid(), signal.SIGKILL)

    def _committing(self, writing: Callable[..., Any]) -> Callable[..., Any]:
        @asynccontextmanager
        async def wrapped(database: Database) -> AsyncIterator[Any]:
            async with writing(database) as connection:
                yield connection
                self.passed(f"{_doing.get()}.uncommitted")
            self.passed(f"{_doing.get()}.committed")

        return wrapped

    def _around(self, function: Callable[..., Any], before: str, after: str) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            self.passed(before)
            result = function(*arguments, **named)
            self.passed(after)
            return result

        return wrapped

    def _renaming(self, replace: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(path: Path, target: Path) -> Any:
            if path.name.startswith(".") and path.suffix == ".part":
                self.passed("media.unnamed")
            return replace(path, target)

        return wrapped

    def _before(self, point: str, function: Callable[..., Any]) -> Callable[..., Any]:
        async def wrapped(*arguments: Any, **named: Any) -> Any:
            self.passed(point)
            return await function(*arguments, **named)

        return wrapped

    def _after(self, point: str, function: Callable[..., Any]) -> Callable[..., Any]:
        async def wrapped(*arguments: Any, **named: Any) -> Any:
            result = await function(*arguments, **named)
            if result is None or result:
                self.passed(point)
            return result

        return wrapped


def _wrap(owner: type, method: str, wrapper: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    setattr(owner, method, wrapper(getattr(owner, method)))


def _named(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return an async method during which every transaction counts as one of this activity."""

    async def wrapped(*arguments: Any, **named: Any) -> Any:
        token = _doing.set(name)
        try:
            return await function(*arguments, **named)
        finally:
            _doing.reset(token)

    return wrapped
