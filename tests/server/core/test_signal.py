# SPDX-License-Identifier: AGPL-3.0-or-later
"""The wake-up call: none is lost, none is invented."""

import asyncio

from inference_server.core.signal import Signal
from tests.support.virtual_time import in_virtual_time


async def test_a_notification_before_the_wait_is_not_lost() -> None:
    signal = Signal()
    seen = signal.count
    signal.notify()
    await signal.wait(seen)


async def test_a_notification_wakes_everybody_who_waits() -> None:
    signal = Signal()
    waiting = [asyncio.create_task(signal.wait(signal.count)) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    signal.notify()
    await asyncio.gather(*waiting)


async def test_a_second_wait_needs_a_second_notification() -> None:
    signal = Signal()
    signal.notify()
    seen = signal.count
    waiting = asyncio.create_task(signal.wait(seen))
    await asyncio.sleep(0)
    assert not waiting.done()
    signal.notify()
    await waiting
    assert signal.count == seen + 1


def test_without_a_notification_the_wait_ends_at_its_timeout() -> None:
    async def wait() -> float:
        signal = Signal()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await signal.wait(signal.count, timeout=30)
        return loop.time() - begun

    assert in_virtual_time(wait()) == 30


async def test_a_waiting_task_can_be_cancelled() -> None:
    signal = Signal()
    waiting = asyncio.create_task(signal.wait(signal.count))
    await asyncio.sleep(0)
    waiting.cancel()
    assert isinstance((await asyncio.gather(waiting, return_exceptions=True))[0], asyncio.CancelledError)
    signal.notify()
    assert signal.count == 1
