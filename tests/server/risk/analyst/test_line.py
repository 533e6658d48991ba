# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who is answered next, and what becomes of those who wait."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from inference_server.risk.analyst.language_model import Busy, Cancelled, LanguageRequest, TimedOut
from inference_server.risk.analyst.line import Line


class _Work:
    """Work that is done when it is told to."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.cancelled: list[str] = []
        self.gate = asyncio.Event()

    def of(self, name: str) -> Callable[[], Awaitable[str]]:
        async def work() -> str:
            self.begun.append(name)
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.cancelled.append(name)
                raise
            return name

        return work


def _asked(name: str, priority: int = 0, subject: str | None = None, seconds: float = 60) -> LanguageRequest:
    return LanguageRequest(prompt=name, priority=priority, subject=subject, deadline_seconds=seconds)


async def _enter(line: Line, work: _Work, request: LanguageRequest) -> asyncio.Task[str]:
    task = asyncio.create_task(line.through(request, work.of(request.prompt)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task


async def test_the_highest_priority_goes_first_and_of_equals_the_oldest() -> None:
    line, work = Line(10), _Work()
    tasks = [
        await _enter(line, work, _asked(name, priority)) for name, priority in (("a", 0), ("b", 1), ("c", 5), ("d", 1))
    ]
    assert (line.running, line.waiting) == (1, 3)
    work.gate.set()
    assert await asyncio.gather(*tasks) == ["a", "b", "c", "d"]
    assert work.begun == ["a", "c", "b", "d"]
    assert (line.running, line.waiting) == (0, 0)


async def test_a_full_line_says_when_to_come_back_and_takes_more_when_it_is_shorter() -> None:
    line, work = Line(1), _Work()
    running, waiting = [await _enter(line, work, _asked(name)) for name in "ab"]
    with pytest.raises(Busy) as busy:
        await line.through(_asked("c"), work.of("c"))
    assert busy.value.retry_after is not None
    assert busy.value.retry_after > 0
    work.gate.set()
    assert [await running, await waiting] == ["a", "b"]
    assert await line.through(_asked("c"), work.of("c")) == "c"


async def test_a_newer_request_about_the_same_ends_the_older_whether_it_waits_or_runs() -> None:
    line, work = Line(1), _Work()
    running = await _enter(line, work, _asked("old", subject="event 1"))
    newer = await _enter(line, work, _asked("newer", subject="event 1"))
    with pytest.raises(Cancelled):
        await running
    assert work.cancelled == ["old"]
    waiting = await _enter(line, work, _asked("waits", subject="event 2"))
    newest = await _enter(line, work, _asked("newest", subject="event 2"))
    with pytest.raises(Cancelled):
        await waiting
    work.gate.set()
    assert [await newer, await newest] == ["newer", "newest"]
    assert "waits" not in work.begun


async def test_many_that_are_superseded_leave_nothing_behind() -> None:
    line, work = Line(2), _Work()
    running = await _enter(line, work, _asked("a"))
    tasks = [await _enter(line, work, _asked(str(number), subject="x")) for number in range(200)]
    assert len(line._heap) < 30
    work.gate.set()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert await running == "a"
    assert ended[-1] == "199"
    assert all(isinstance(error, Cancelled) for error in ended[:-1])


async def test_waiting_counts_towards_the_deadline_and_the_place_is_free_then() -> None:
    line, work = Line(5), _Work()
    running = await _enter(line, work, _asked("a"))
    with pytest.raises(TimedOut):
        await line.through(_asked("b", seconds=0.01), work.of("b"))
    work.gate.set()
    assert await running == "a"
    assert work.begun == ["a"]
    assert (line.running, line.waiting) == (0, 0)


async def test_cancelling_ends_the_work_and_calls_the_next() -> None:
    line, work = Line(5), _Work()
    first, second = [await _enter(line, work, _asked(name)) for name in "ab"]
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert work.cancelled == ["a"]
    work.gate.set()
    assert await second == "b"


async def test_a_failure_is_the_callers_and_calls_the_next() -> None:
    line, work = Line(5), _Work()
    work.gate.set()

    async def fail() -> str:
        raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        await line.through(_asked("a"), fail)
    assert await line.through(_asked("b"), work.of("b")) == "b"
