# SPDX-License-Identifier: AGPL-3.0-or-later
"""A home under faults: servers on one database, cameras that send, and the ledger of it all."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from sqlalchemy import URL

from inference_server.core.worker import Role
from inference_server.storage.database import Database
from scripts.development.process import free_port
from tests.faults.ledger import Ledger, draw_up
from tests.faults.pictures import Cameras
from tests.faults.process import Run, Server

PATIENCE_SECONDS = 90.0
_SETTINGS = {
    "HSI_INGEST__MIN_BYTES": "1",
    "HSI_INGEST__RESCAN_SECONDS": "2",
    "HSI_MDNS": "false",
    "HSI_API__HOST": "127.0.0.1",
    "HSI_TIME_ZONE": "UTC",
    "HSI_BATCH__IDLE_SECONDS": "0.5",
    "HSI_BATCH__WINDOW_SECONDS": "2",
    "HSI_SCENE__ENABLED": "false",
}
"""The pictures are one dark colour each, of which the watch over views would rightly complain."""


@dataclass
class House:
    """The servers (the first one does everything, the others judge), their database and the cameras."""

    folder: Path
    database: Database
    servers: list[Server]
    cameras: Cameras
    ports: list[int]
    pendings: list[int] = field(default_factory=list)
    """How much waited at each look at the ledger."""

    async def balanced(self) -> Ledger:
        """Draw up the ledger and check that it balances, whatever goes on."""
        ledger = await draw_up(self.database)
        assert not (complaints := ledger.complaints()), complaints[:10]
        self.pendings.append(ledger.pending)
        return ledger

    async def done(self) -> Ledger:
        """Wait until every picture has arrived, nothing waits and every event has ended."""
        files = self.cameras.files()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not ((ledger := await self.balanced()).is_done and files <= set(ledger.arrived)):  # noqa: ASYNC110
                    await asyncio.sleep(0.3)
        except TimeoutError:
            ledger = await draw_up(self.database)
            raise AssertionError(f"{ledger.final_complaints(files)[:10]}; {self.last_words()}") from None
        return ledger

    def start(self, **run: Any) -> None:
        """Start every server."""
        for server in self.servers:
            server.start(Run(**run))

    async def until_up(self) -> None:
        """Wait until every server tells how it is."""
        for index in range(len(self.servers)):
            await self.until_health(lambda told: "gather" in told, index)

    @asynccontextmanager
    async def pouring(self, pictures: int = 60, pause: float = 0.05) -> AsyncIterator[None]:
        """Send pictures beside whatever is done, at least so many."""

        async def send() -> None:
            for number in itertools.count():
                self.cameras.send(1)
                if number >= pictures - 1 and leave.is_set():
                    return
                await asyncio.sleep(pause)

        leave = asyncio.Event()
        sending = asyncio.create_task(send())
        try:
            yield
        finally:
            leave.set()
            await sending

    async def until_judged(self, more: int = 10) -> None:
        """Wait until so many more pictures were judged."""
        before: int | None = None
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                if self.is_set_up:
                    ledger = await self.balanced()
                    before = ledger.judged if before is None else before
                    if ledger.judged - before >= more:
                        return
                await asyncio.sleep(0.1)

    async def well_again(self) -> Ledger:
        """Wait until all is judged and every part says that it is well; then stop, and draw up the ledger."""
        await self.done()
        await self.until_ok()
        await self.stopped()
        return await self.assert_balance()

    async def stopped(self) -> None:
        """Stop every server; each has to end by itself and well."""
        codes = await asyncio.gather(*(server.stop() for server in self.servers if server.running))
        assert not any(codes), (codes, self.last_words())

    async def assert_balance(self) -> Ledger:
        """Check, with every server stopped, that each picture was judged once, refused or given up for a reason."""
        ledger = await draw_up(self.database)
        complaints = ledger.final_complaints(self.cameras.files())
        media = {path.relative_to(self.media).as_posix() for path in self.media.rglob("*.png")}
        complaints += [f"{path} belongs to no frame" for path in media - {frame.media_path for frame in ledger.frames}]
        complaints += [f"{frame.media_path} is gone" for frame in ledger.frames if frame.media_path not in media]
        assert not complaints, (complaints[:10], self.last_words())
        return ledger

    @property
    def is_set_up(self) -> bool:
        """Whether the first start got so far that the tables exist."""
        return (self.folder / "data" / "token").exists()

    @property
    def media(self) -> Path:
        """Where the server keeps the pictures."""
        return self.folder / "data" / "media"

    async def health(self, index: int = 0) -> dict[str, dict[str, Any]]:
        """Return the components of a server's full health, by name; nothing while it does not answer."""
        token = self.folder / "data" / "token"
        if not token.exists():
            return {}
        headers = {"Authorization": f"Bearer {token.read_text().strip()}"}
        url = f"http://127.0.0.1:{self.ports[index]}/api/system/health/full"
        try:
            async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
                components = (await answer.json()).get("components", ())
        except aiohttp.ClientError:
            return {}
        return {component["name"]: component for component in components}

    async def until_health(self, met: Callable[[dict[str, dict[str, Any]]], bool], index: int = 0) -> dict[str, Any]:
        """Wait until a server's health is so, and return it."""
        told: dict[str, dict[str, Any]] = {}
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not (told := await self.health(index)) or not met(told):  # noqa: ASYNC110 - other processes change it
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"{told}; {self.last_words()}") from None
        return told

    async def until_ok(self) -> None:
        """Wait until every component of every server is well again."""
        for index in range(len(self.servers)):
            await self.until_health(lambda told: all(_is_well(item) for item in told.values()), index)

    def last_words(self) -> str:
        """Return the ends of the logs."""
        logs = (server.log for server in self.servers if server.log.exists())
        return "\n".join(f"{log}:\n{'\n'.join(log.read_text().splitlines()[-15:])}" for log in logs)


def tells(component: Mapping[str, Any] | None, state: str = "down") -> bool:
    """Whether a component is in a bad state and says all that an owner wants to know."""
    if component is None or component["state"] != state:
        return False
    assert component["since"], component
    missing = [name for name in ("last_error", "still_works", "remedy") if not component[name]]
    assert not missing, component
    return True


def _is_well(component: Mapping[str, Any]) -> bool:
    """Whether a component is well; dead letters and past crashes are told of, and stay."""
    return component["state"] == "ok" or component["name"] in {"queue", "supervision"}


@asynccontextmanager
async def house(
    folder: Path,
    *,
    database: URL | Path | None = None,
    redis_url: str | None = None,
    workers: int = 1,
    seed: int | None = None,
    more: Mapping[str, str] | None = None,
) -> AsyncIterator[House]:
    """Give a home with so many servers, none of which runs yet; whatever runs at the end is killed."""
    settings = {**_SETTINGS, "HSI_DATA_DIR": str(folder / "data"), "HSI_WATCH_ROOT": str(folder / "cameras")}
    settings.update(more or {})
    if isinstance(database, Path):
        settings["HSI_DATABASE_URL"] = f"sqlite:///{database}"
    elif database is not None:
        settings["HSI_DATABASE_URL"] = database.set(drivername="postgresql").render_as_string(hide_password=False)
    if redis_url is not None:
        settings["HSI_REDIS_URL"] = redis_url
    (folder / "cameras").mkdir(parents=True)
    ports = [free_port() for _ in range(workers)]
    servers = [
        Server(
            {**settings, "HSI_API__PORT": str(port), "HSI_WORKER_NAME": f"worker-{number}"},
            folder / f"worker-{number}.log",
            Role.PIPELINE if number else Role.ALL,
        )
        for number, port in enumerate(ports)
    ]
    cameras = Cameras(folder / "cameras", random.Random(seed))
    made = House(folder, Database(database or folder / "data" / "hsi.db"), servers, cameras, ports)
    try:
        yield made
    finally:
        for server in servers:
            await server.kill()
        await made.database.close()
