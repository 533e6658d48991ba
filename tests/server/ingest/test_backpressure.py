# SPDX-License-Identifier: AGPL-3.0-or-later
"""Closed while any cause lasts; old pictures wait for the live ones as well."""

import asyncio

from inference_server.ingest.backpressure import Backpressure


async def test_it_is_closed_until_the_last_cause_is_over() -> None:
    pressure = Backpressure()
    assert pressure.reason is None
    pressure.close("queue", "The queue is full.")
    pressure.close("disk", "The disk is full.")
    waiting = asyncio.create_task(pressure.until_open())
    pressure.open("queue")
    await asyncio.sleep(0)
    assert pressure.reason == "The disk is full."
    assert not waiting.done()
    pressure.open("disk")
    await asyncio.wait_for(waiting, 5)
    assert pressure.reason is None


async def test_old_pictures_wait_until_no_live_ones_do() -> None:
    pressure = Backpressure()
    pressure.set_busy(True)
    waiting = asyncio.create_task(pressure.until_idle())
    await asyncio.wait_for(pressure.until_open(), 5)
    await asyncio.sleep(0)
    assert not waiting.done()
    pressure.set_busy(False)
    await asyncio.wait_for(waiting, 5)
