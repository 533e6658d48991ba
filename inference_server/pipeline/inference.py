# SPDX-License-Identifier: AGPL-3.0-or-later
"""Inference on worker threads, which may hang: nobody waits for such a thread for ever."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

MOST_STUCK = 8
"""Threads that hang are left behind; with so many the service is not called any more until the next start."""


class HungError(Exception):
    """A call did not come back in time."""


class InferenceThreads:
    """As many threads as the detector works on at a time. Threads that hang are replaced."""

    def __init__(self, threads: int) -> None:
        """Take how many."""
        self._threads = threads
        self._executor = self._made()
        self.stuck = 0
        """Threads that were left behind. A process with such threads has to be ended the hard way."""

    async def run_all[Given, Made](
        self, work: Callable[[Given], Made], given: Sequence[Given], seconds: float
    ) -> list[Made]:
        """Do the work for each of the given, side by side. Raises HungError, and what the work raises."""
        if self.stuck >= MOST_STUCK:
            raise HungError("too many calls hang; restart the server")
        loop = asyncio.get_running_loop()
        futures = [loop.run_in_executor(self._executor, work, item) for item in given]
        _, hanging = await asyncio.wait(futures, timeout=seconds)
        if hanging:
            self.stuck += len(hanging)
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = self._made()
            raise HungError(f"no answer within {seconds:.0f} s")
        return [future.result() for future in futures]

    def stop(self) -> None:
        """Take no more work; what hangs is left behind."""
        self._executor.shutdown(wait=self.stuck == 0, cancel_futures=True)

    def _made(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, thread_name_prefix="inference")
