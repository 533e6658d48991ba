# SPDX-License-Identifier: AGPL-3.0-or-later
"""One look at one subject: bounded in time, and failing alone."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from inference_server.core.clock import Clock
from inference_server.core.diagnosis import Diagnosis, Finding, warning

SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Check:
    """A look at a subject. What it raises, and when it takes longer than `seconds`, becomes a warning."""

    subject: str
    look: Callable[[], Awaitable[Iterable[Finding]]]
    seconds: float = SECONDS

    async def findings(self) -> tuple[Finding, ...]:
        """Return what was found; it never raises."""
        try:
            async with asyncio.timeout(self.seconds):
                return tuple(await self.look())
        except TimeoutError:
            text = f"it took longer than {self.seconds:.0f} s"
            remedy = "Try again when the machine is less busy; a disk or a network that does not answer takes long too."
        except Exception as error:  # noqa: BLE001 - one that fails must not hide what the others find
            text, remedy = f"{type(error).__name__}: {error}", "Report it."
        return (warning(self.subject, f"This could not be looked at: {text}.", remedy),)


def blocking(subject: str, look: Callable[[], Iterable[Finding]], seconds: float = SECONDS) -> Check:
    """Return a check that blocks, as a disk does that is away."""
    return Check(subject, lambda: apart(lambda: tuple(look())), seconds)


async def examine(checks: Sequence[Check], clock: Clock) -> Diagnosis:
    """Make all checks side by side and return what they found, in their order."""
    at, begun = clock.now(), time.monotonic()
    found = await asyncio.gather(*(check.findings() for check in checks))
    return Diagnosis(at, round(time.monotonic() - begun, 2), tuple(finding for each in found for finding in each))


async def apart[Made](work: Callable[[], Made]) -> Made:
    """Return what blocking work makes, on a thread of its own that nobody waits for at the end of the process.

    The event loop's own threads are waited for; one that hangs on a dead network mount would keep the process alive.
    """
    loop = asyncio.get_running_loop()
    made: asyncio.Future[Made] = loop.create_future()

    def settle(result: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(lambda: None if made.done() else result())

    def run() -> None:
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            failure = error
            settle(lambda: made.set_exception(failure))
        else:
            settle(lambda: made.set_result(result))

    threading.Thread(target=run, name="doctor", daemon=True).start()
    return await made
