# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whoever reads, whenever it comes and goes, sees every sequence number exactly once."""

import asyncio
from random import Random

import pytest

from inference_server.storage.tokens import Scope
from tests.server.api.conftest import Client, Connect
from tests.support.home import Home
from tests.support.subscriber import Json, Subscriber

WRITERS = 3
COMMITS = 40


async def write(a_home: Home, random: Random) -> int:
    """Announce at an uneven pace and return how much."""
    total = 0
    for _ in range(COMMITS):
        times = random.randint(1, 4)
        await a_home.announce_state(times=times)
        total += times
        for _ in range(random.randint(0, 5)):
            await asyncio.sleep(0)
    return total


def sequences(greeting: Json) -> list[int]:
    """Return what a replay holds; a snapshot stands for all up to its own number."""
    if greeting["type"] == "replay":
        numbers = [message["sequence"] for message in greeting["messages"]]
        assert not numbers or numbers[-1] == greeting["sequence"]
        return numbers
    return list(range(1, greeting["sequence"] + 1))


async def read(client: Client, token: str, random: Random, total: "asyncio.Future[int]") -> list[int]:
    """Connect, read some, leave, come back with the last sequence number, until all was seen."""
    seen: list[int] = []
    while not (total.done() and seen and seen[-1] >= total.result()):
        subscriber = Subscriber(await client.ws_connect("/api/ws"), token)
        seen += sequences(await subscriber.subscribe(seen[-1] if seen else None))
        for _ in range(random.randint(0, 12)):
            if total.done() and seen and seen[-1] >= total.result():
                break
            seen.append((await subscriber.receive())["sequence"])
        await subscriber.socket.close()
    return seen


@pytest.mark.parametrize("seed", range(4))
async def test_no_gap_and_no_duplicate(a_home: Home, connect: Connect, seed: int) -> None:
    await a_home.camera()
    client = await connect(scope=None)
    token = await a_home.token(Scope.READ)
    total = asyncio.get_running_loop().create_future()
    readers = [asyncio.create_task(read(client, token, Random(f"{seed} {n}"), total)) for n in range(3)]
    written = await asyncio.gather(*(write(a_home, Random(f"{seed} writer {n}")) for n in range(WRITERS)))
    total.set_result(sum(written))
    await a_home.announce_state()  # frees a reader that waits for one more
    for seen in await asyncio.wait_for(asyncio.gather(*readers), 60):
        assert seen == list(range(1, len(seen) + 1))
        assert len(seen) >= sum(written)
