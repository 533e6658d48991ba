# SPDX-License-Identifier: AGPL-3.0-or-later
"""The plug is pulled at every boundary of every stage while pictures pour in: nothing is lost or happens twice."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from inference_server.core.worker import Role
from tests.faults import points
from tests.faults.house import House, house
from tests.faults.pictures import Kind
from tests.faults.points import Fault
from tests.faults.process import Run, Server
from tests.support.services import PostgreSql, Redis

PICTURES = 1000
KILLS = 100
LEASE_SECONDS = 3.0
HUNGRY_SECONDS = 0.7
"""When nobody was killed for so long, pictures of the kind that somebody waits for are sent."""
FLUSH_SECONDS = 3.0
STARVED_SECONDS = 180.0
"""One of four workers fills an emptied Redis: the chance that it is never the one that is to die then has to vanish."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass
class Killing:
    """Lets servers run into fault points until all kills are done."""

    house: House
    faults: list[Fault]
    random: random.Random
    redis: Redis | None = None
    done: Counter[str] = field(default_factory=Counter)
    _armed: dict[Server, Fault] = field(default_factory=dict)

    async def run(self) -> None:
        """Kill, send and check at the same time, until the last kill is done."""
        async with asyncio.TaskGroup() as tasks:
            around = [tasks.create_task(work()) for work in (self._send, self._check, self._flush)]
            await asyncio.gather(*(self._kill_again_and_again(server) for server in self.house.servers))
            for task in around:
                task.cancel()
        self.house.cameras.send(max(0, PICTURES - self.house.cameras.written))

    async def _kill_again_and_again(self, server: Server) -> None:
        while (fault := self._next(server)) is not None:
            while not await self._kill(server, fault):
                # what was to be taken back is gone: nothing had been claimed, or Redis was emptied
                await self._kill(server, Fault("detect.uncommitted"))
        server.start(Run(lease_seconds=LEASE_SECONDS))  # whoever is still to die needs somebody who admits pictures

    async def _kill(self, server: Server, fault: Fault) -> bool:
        self._armed[server] = fault
        slow = 1.2 * LEASE_SECONDS / 3 if fault.point in points.RENEWING else 0.0
        trap = None if fault.point == points.ANY_MOMENT else fault
        server.start(Run(trap, detector_seconds=slow, lease_seconds=LEASE_SECONDS))
        passed = await self._until_dead(server, fault)
        del self._armed[server]
        if not passed:
            return False
        self.done[fault.point] += 1
        return True

    async def _until_dead(self, server: Server, fault: Fault) -> bool:
        """Wait until a server has run into its fault. Return False if it had nothing to recover."""
        patience = {points.ANY_MOMENT: self.random.uniform(0.05, 1.0), **dict.fromkeys(points.RECOVERY, 3.0)}
        try:
            async with asyncio.timeout(patience.get(fault.point, STARVED_SECONDS)):
                code = await server.ended()
        except TimeoutError:
            await server.kill()
            assert fault.point in patience, f"{fault} was not passed; {self.house.last_words()}"
            return fault.point == points.ANY_MOMENT
        assert code == -9, (code, fault, self.house.last_words())
        return True

    def _next(self, server: Server) -> Fault | None:
        """Take the next fault that this server can run into."""
        for fault in self.faults:
            if server.role is Role.ALL or fault.point not in points.ADMITTING:
                self.faults.remove(fault)
                return fault
        return None

    async def _send(self) -> None:
        """Send ten pictures for each kill, and more while those who are to die starve."""
        per_kill, cameras = PICTURES / KILLS, self.house.cameras
        while True:
            before = self.done.total()
            if (missing := int(per_kill * (before + 1)) - cameras.written) > 0:
                cameras.send(missing)
            await asyncio.sleep(HUNGRY_SECONDS / 2)
            if self.done.total() == before:
                await asyncio.sleep(HUNGRY_SECONDS / 2)
            if self.done.total() == before:
                for kind in (Kind.PERSON, *self._wanted()):
                    cameras.send(2, kind)

    def _wanted(self) -> list[Kind]:
        waited_for = {fault.point.split(".")[0] for fault in self._armed.values()}
        leading_there = {"bury": Kind.UNJUDGEABLE, "retry": Kind.DIFFICULT}
        return [kind for name, kind in leading_there.items() if name in waited_for]

    async def _check(self) -> None:
        """Look at the ledger while servers die."""
        while True:
            await asyncio.sleep(1)
            if self.house.is_set_up:
                await self.house.balanced()

    async def _flush(self) -> None:
        """Empty Redis while somebody waits for that."""
        while self.redis is not None:
            await asyncio.sleep(FLUSH_SECONDS * self.random.uniform(0.5, 1.5))
            if any(fault.point in points.REBUILDING for fault in self._armed.values()):
                await asyncio.to_thread(self.redis.client, "flushall")


def _faults(names: Sequence[str], chance: random.Random) -> list[Fault]:
    """Return as many faults as there are kills: each point equally often, and the rest at any of them."""
    each = [name for name in names for _ in range(KILLS // len(names))]
    faults = [
        Fault(name, 1 if name in points.SELDOM else chance.randint(1, 3))
        for name in [*each, *chance.choices(names, k=KILLS - len(each))]
    ]
    chance.shuffle(faults)
    return faults


KINDS = {
    "sqlite": (1, (*points.ADMITTING, *points.STAGES, *points.FAILURES, *points.SQL, points.ANY_MOMENT)),
    "postgresql": (2, (*points.ADMITTING, *points.STAGES, *points.FAILURES, *points.SQL, points.ANY_MOMENT)),
    "redis": (4, (*points.ADMITTING, *points.STAGES, *points.FAILURES, *points.REDIS, points.ANY_MOMENT)),
}


@pytest.fixture(params=KINDS)
async def killing(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Killing]:
    """Give each kind of home with its kills to come."""
    workers, names = KINDS[request.param]
    postgresql: PostgreSql | None = None if request.param == "sqlite" else request.getfixturevalue("postgresql")
    redis: Redis | None = request.getfixturevalue("redis") if request.param == "redis" else None
    chance = random.Random(seed := random.randrange(1 << 32))
    print(f"seed {seed}")  # noqa: T201 - shown when the test fails
    url = postgresql.database() if postgresql else None
    async with house(
        tmp_path,
        database=url,
        redis_url=redis.url if redis else None,
        workers=workers,
        seed=seed,
        more={"HSI_SCENE__ENABLED": "true"},
    ) as made:
        yield Killing(made, _faults(names, chance), chance, redis)


async def test_a_hundred_kills_lose_nothing_and_repeat_nothing(killing: Killing) -> None:
    await killing.run()
    await killing.house.done()
    await killing.house.stopped()
    ledger = await killing.house.assert_balance()
    assert killing.done.total() >= KILLS
    assert len(ledger.arrived) >= PICTURES
    assert max(killing.house.pendings) > 0, "the ledger was never looked at while pictures waited"
    print(dict(killing.done), f"{ledger.judged} judged, {ledger.dead} dead, {ledger.refused} refused")  # noqa: T201
