# SPDX-License-Identifier: AGPL-3.0-or-later
"""Inference on worker threads, which may hang: nobody waits for such a thread for ever."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from inference_server.core.memory import return_free_memory

STOP_SECONDS = 3.0
"""How long a call may still take when the server stops; its pictures are judged after the next start."""
MOST_STUCK = 8
"""Threads that hang are left behind; with so many the service is not called any more until the next start."""

REST_SECONDS = 30.0
"""After so long without a call the memory goes back that the calls left behind; until then the next ones use it."""


class HungError(Exception):
    """A call did not come back in time."""


class InferenceThreads:
    """As many threads as the detector works on at a time. Threads that hang are replaced."""

    def __init__(
        self, threads: int, *, rest: Callable[[], None] = return_free_memory, rest_seconds: float = REST_SECONDS
    ) -> None:
        """Take how many, and what to do on a thread after so many seconds without a call."""
        self._threads = threads
        self._rest, self._rest_seconds = rest, rest_seconds
        self._resting: asyncio.TimerHandle | None = None
        self._executor = self._made()
        self._calls: set[Future[Any]] = set()
        self._left: set[Future[Any]] = set()

    @property
    def stuck(self) -> int:
        """Threads that were left behind and still hang. A process with such threads has to be ended the hard way."""
        return sum(not call.done() for call in self._left)

    async def run_all[Given, Made](
        self, work: Callable[[Given], Made], given: Sequence[Given], seconds: float
    ) -> list[Made]:
        """Do the work for each of the given, side by side. Raises HungError, and what the work raises."""
        if self.stuck >= MOST_STUCK:
            raise HungError("too many calls hang; restart the server")
        loop = asyncio.get_running_loop()
        self._rest_later(loop)
        calls = [self._executor.submit(work, item) for item in given]
        self._calls.update(calls)
        for call in calls:
            call.add_done_callback(self._calls.discard)
        futures = [asyncio.wrap_future(call, loop=loop) for call in calls]
        _, hanging = await asyncio.wait(futures, timeout=seconds)
        if hanging:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = self._made()
            self._leave(calls)
            raise HungError(f"no answer within {seconds:.0f} s")
        if any(future.cancelled() for future in futures):
            raise HungError("another call hangs on the same threads")
        return await asyncio.gather(*futures)

    def stop(self) -> None:
        """Take no more work; what does not end soon is left behind."""
        if self._resting is not None:
            self._resting.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)
        _, hanging = wait(self._calls, STOP_SECONDS)
        self._leave(hanging)

    def _rest_later(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._resting is not None:
            self._resting.cancel()
        self._resting = loop.call_later(self._rest_seconds, loop.run_in_executor, None, self._rest)

    def _leave(self, calls: Iterable[Future[Any]]) -> None:
        hanging = {call for call in calls if not call.done()}
        self._calls -= hanging
        self._left = {call for call in self._left if not call.done()} | hanging

    def _made(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, thread_name_prefix="inference")
