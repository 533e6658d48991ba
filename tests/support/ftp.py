# SPDX-License-Identifier: AGPL-3.0-or-later
"""The FTP server on real files, sockets and a real database, for clients that block."""

import asyncio
import base64
import ftplib
import hashlib
import ssl
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import override

from inference_server.ingest.backpressure import Backpressure
from inference_server.ingest.ftp.names import UNFINISHED
from inference_server.ingest.ftp.server import FtpService
from inference_server.observability.health import ComponentHealth, HealthBoard, HealthState
from inference_server.pipeline.supervise import Supervisor
from inference_server.settings import FtpSettings
from inference_server.storage import ftp_accounts
from inference_server.storage.database import Database
from inference_server.storage.ftp_accounts import FtpAccount
from scripts.development.process import free_port
from tests.support.home import START, MovableClock
from tests.support.pictures import TINY_ALLOWED

PASSWORD = "correct horse"
PATIENCE_SECONDS = 10.0


class TellingBoard(HealthBoard):
    """A health board that other threads can wait for."""

    def __init__(self) -> None:
        """Start with no component."""
        super().__init__(MovableClock())
        self.changed = threading.Condition()

    @override
    def report(self, name: str, state: HealthState, **more: object) -> None:
        with self.changed:
            super().report(name, state, **more)  # type: ignore[arg-type]
            self.changed.notify_all()

    def until(self, *states: HealthState) -> ComponentHealth:
        """Wait until the FTP server is in one of these states and return what is said of it."""

        def told() -> ComponentHealth | None:
            return next((one for one in self.components if one.name == "ftp" and one.state in states), None)

        with self.changed:
            assert self.changed.wait_for(lambda: told() is not None, PATIENCE_SECONDS), self.components
        found = told()
        assert found is not None
        return found


@dataclass
class FtpHouse:
    """A folder in which an FTP server can run, and what its clients need."""

    folder: Path
    port: int = field(default_factory=free_port)
    settings: FtpSettings = field(default_factory=FtpSettings)
    clock: MovableClock = field(default_factory=MovableClock)
    backpressure: Backpressure = field(default_factory=Backpressure)

    def __post_init__(self) -> None:
        """Choose ports that are free."""
        self.root = self.folder / "cameras"
        file = self.folder / "hsi.db"
        file.write_bytes(_empty_database())
        self.database = Database(file)
        first = Random().randrange(21000, 30000)
        ports = f"{first}-{first + 9}"
        usual = {"host": "127.0.0.1", "port": self.port, "passive_ports": ports, "tls": "off"}
        self.settings = FtpSettings(**{**usual, **self.settings.model_dump(exclude_unset=True)})

    @contextmanager
    def running(self) -> Iterator["FtpHouse"]:
        """Serve during the block, supervised, in a thread with an event loop of its own."""
        ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self.health = TellingBoard()
        thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), name="ftp test")
        thread.start()
        self._loop, stop = ready.result(PATIENCE_SECONDS)
        try:
            self.health.until(*HealthState)
            yield self
        finally:
            self._loop.call_soon_threadsafe(stop.set)
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()

    async def _serve(self, ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
        stop = asyncio.Event()
        await self.database.open()
        service = FtpService(
            self.settings,
            pictures=TINY_ALLOWED,
            root=self.root,
            certificate=self.folder / "certificate.pem",
            database=self.database,
            backpressure=self.backpressure,
            health=self.health,
            clock=self.clock,
        )
        serving = asyncio.create_task(Supervisor(self.health).run("ftp", service.run))
        ready.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await self.database.close()

    def do[Result](self, work: Callable[[Database], Awaitable[Result]]) -> Result:
        """Do something with the database of the running server."""

        async def working() -> Result:
            return await work(self.database)

        return asyncio.run_coroutine_threadsafe(working(), self._loop).result(PATIENCE_SECONDS)

    def account(self, name: str, password: str = PASSWORD, folder: str | None = None) -> FtpAccount:
        """Add an account and return it."""
        account = FtpAccount(name, folder or name, quick_hash(password), START)

        async def add(database: Database) -> None:
            async with database.writing() as connection:
                assert await ftp_accounts.add(connection, account)

        self.do(add)
        return account

    def connected(self, *, host: str = "127.0.0.1", tls: bool = False, encoding: str = "utf-8") -> ftplib.FTP:
        """Return a client that has not logged in."""
        client = ftplib.FTP_TLS(context=_trusting(), encoding=encoding) if tls else ftplib.FTP(encoding=encoding)
        client.connect(host, self.port, timeout=PATIENCE_SECONDS)
        return client

    def client(self, name: str = "front_door", *, host: str = "127.0.0.1", tls: bool = False) -> ftplib.FTP:
        """Return a client that has logged in."""
        client = self.connected(host=host, tls=tls)
        client.login(name, PASSWORD)
        if isinstance(client, ftplib.FTP_TLS):
            client.prot_p()
        return client

    def camera(self, name: str = "front_door") -> Path:
        """Return the folder of a camera."""
        return self.root / name

    def part(self, file: str, name: str = "front_door") -> Path:
        """Return where the unfinished upload of a file lies."""
        return self.camera(name) / UNFINISHED / file

    def until(self, met: Callable[[], bool]) -> None:
        """Wait for something in the file system, which tells nobody."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not met():
            assert time.monotonic() < deadline
            time.sleep(0.01)


@cache
def _empty_database() -> bytes:
    """Return the file of a database with its tables, which take a while to make."""

    async def make(file: Path) -> None:
        database = Database(file)
        await database.open()
        await database.close()

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "hsi.db")
        asyncio.run(make(file))
        return file.read_bytes()


def quick_hash(password: str) -> str:
    """Return what is kept of a password, hashed so that tests need not wait."""
    digest = hashlib.scrypt(password.encode(), salt=b"salt", n=2, r=8, p=1)
    return f"scrypt$2$8$1${base64.b64encode(b'salt').decode()}${base64.b64encode(digest).decode()}"


def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
