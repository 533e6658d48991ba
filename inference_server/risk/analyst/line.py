# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who is answered next: the highest priority, of equals the oldest; a newer request on a subject ends an older one."""

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from inference_server.risk.analyst.language_model import Busy, Cancelled, LanguageRequest, TimedOut

BUSY_SECONDS = 5.0
"""After how long somebody who found the line full may come back, where no answer was timed yet."""
LONGEST_SECONDS = 300.0


@dataclass(slots=True, eq=False)
class _Place:
    """A request that waits or is answered."""

    request: LanguageRequest
    turn: asyncio.Future[None]
    work: asyncio.Future[Any] | None = None
    superseded: bool = False
    done: bool = False


@dataclass(slots=True)
class Line:
    """The requests to one model, of which `parallel` are answered at a time and at most `most` wait."""

    most: int
    parallel: int = 1
    running: int = 0
    _heap: list[tuple[int, int, _Place]] = field(default_factory=list)
    _subjects: dict[str, _Place] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _typical_seconds: float = BUSY_SECONDS

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return sum(not place.done for _, _, place in self._heap)

    async def through[Answer](self, request: LanguageRequest, work: Callable[[], Awaitable[Answer]]) -> Answer:
        """Return what `work` gives when it is this request's turn. Cancelling this cancels the work.

        Raises Busy, Cancelled, TimedOut, and what `work` raises.
        """
        place = self._enter(request)
        deadline = asyncio.timeout(request.deadline_seconds)
        try:
            async with deadline:
                return await self._in_turn(place, work)
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise TimedOut(
                f"There was no answer within {request.deadline_seconds:g} s.",
                "Use a smaller model or a faster machine, or allow more time.",
            ) from error
        finally:
            self._leave(place)

    def _enter(self, request: LanguageRequest) -> _Place:
        older = self._subjects.get(request.subject) if request.subject is not None else None
        if older is not None:
            self._supersede(older)
        elif self.waiting >= self.most:
            raise Busy(
                f"{self.waiting} requests wait for the model already.",
                "Ask again later.",
                retry_after=min(LONGEST_SECONDS, self._typical_seconds * (self.waiting + 1) / self.parallel),
            )
        place = _Place(request, asyncio.get_running_loop().create_future())
        if request.subject is not None:
            self._subjects[request.subject] = place
        if len(self._heap) > 2 * self.most + 16:  # those that were superseded are still in it
            self._heap = [entry for entry in self._heap if not entry[2].done]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (-request.priority, next(self._numbers), place))
        self._call()
        return place

    def _supersede(self, older: _Place) -> None:
        older.superseded = True
        if older.work is not None:
            older.work.cancel()
        elif not older.turn.done():
            older.turn.cancel()
            older.done = True

    async def _in_turn[Answer](self, place: _Place, work: Callable[[], Awaitable[Answer]]) -> Answer:
        try:
            await place.turn
            begun = asyncio.get_running_loop().time()
            task = place.work = asyncio.ensure_future(work())
            if place.superseded:
                task.cancel()
            try:
                return await asyncio.shield(task)
            finally:
                await _ended(task)
                self._typical_seconds += (asyncio.get_running_loop().time() - begun - self._typical_seconds) / 4
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if place.superseded and not (current is not None and current.cancelling()):
                raise Cancelled("A newer request about the same took its place.") from None
            raise

    def _leave(self, place: _Place) -> None:
        if place.turn.done() and not place.turn.cancelled():
            self.running -= 1
        place.done = True
        place.turn.cancel()
        if place.request.subject is not None and self._subjects.get(place.request.subject) is place:
            del self._subjects[place.request.subject]
        self._call()

    def _call(self) -> None:
        """Give the next ones their turn."""
        while self.running < self.parallel and self._heap:
            _, _, place = heapq.heappop(self._heap)
            if not place.done:
                self.running += 1
                place.turn.set_result(None)


async def _ended(task: asyncio.Future[Any]) -> None:
    """Return once the task has ended, cancelling it; its error is raised where its result is wanted."""
    if not task.done():
        task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # now it counts as seen, should nobody want the result any more
