# SPDX-License-Identifier: AGPL-3.0-or-later
"""Real PostgreSQL and Redis servers in temporary folders."""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psutil
import pytest
from sqlalchemy import URL

from inference_server.storage.database import Database
from scripts.development.process import free_port

_STARTS_SECONDS = 30.0
_numbers = count(1)


def _program(*names: str) -> str | None:
    found = next((path for name in names if (path := shutil.which(name))), None)
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{names[0]}"), reverse=True)
    return found or (str(debian[0]) if debian else None)


def _needed(*names: str) -> str:
    program = _program(*names)
    assert program is not None, names
    return program


class Service:
    """A server process that can be stopped, killed and started again on its data."""

    user: str | None = None

    def __init__(self, folder: Path) -> None:
        """Take a folder of its own; `start` starts it."""
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process and wait until it answers."""
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(self._command(), stdout=quiet, stderr=quiet, user=self.user, cwd="/")
        deadline = time.monotonic() + _STARTS_SECONDS
        while not self._answers():
            assert time.monotonic() < deadline, f"{type(self).__name__} does not start"
            time.sleep(0.02)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """End the process; SIGKILL pulls its plug."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
        self._process = None

    @property
    def running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Let the process and its children stand still: connections stay open, and nothing is answered."""
        assert self._process is not None
        process = psutil.Process(self._process.pid)
        stopped = [process, *process.children(recursive=True)]
        for one in stopped:
            one.suspend()
        try:
            yield
        finally:
            for one in stopped:
                one.resume()

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError


class PostgreSql(Service):
    """A PostgreSQL server without a password, reached over TCP on this machine alone."""

    durable = False
    """Whether what is committed survives a power cut: no test pulls the machine's plug."""
    _template: str | None = None

    def create(self) -> None:
        """Make the cluster; its server refuses to run as root."""
        if os.geteuid() == 0:
            known = {entry.pw_name for entry in pwd.getpwall()}
            self.user = "postgres" if "postgres" in known else "nobody"
            shutil.chown(self.folder, self.user)
        initdb = [_needed("initdb"), "-D", str(self.folder / "data"), "-U", "hsi", "-A", "trust", "-E", "UTF8"]
        subprocess.run(
            [*initdb, "--no-sync", "--no-locale"], check=True, stdout=subprocess.DEVNULL, user=self.user, cwd="/"
        )

    def database(self, template: str = "template0") -> URL:
        """Make an empty database and return its URL."""
        name = f"test_{next(_numbers)}"
        subprocess.run([_needed("createdb"), *self._address(), "-T", template, name], check=True)
        return URL.create("postgresql+asyncpg", username="hsi", host="127.0.0.1", port=self.port, database=name)

    def migrated_database(self) -> URL:
        """Make a database that has all tables already, which is quicker than to migrate each one."""
        if self._template is None:
            url = self.database()
            with ThreadPoolExecutor(1) as thread:  # beside the event loop of the test
                thread.submit(asyncio.run, _migrate(url)).result()
            self._template = url.database
        return self.database(self._template or "")

    def _address(self) -> list[str]:
        return ["-h", "127.0.0.1", "-p", str(self.port), "-U", "hsi"]

    def _command(self) -> list[str]:
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "port": self.port}
        settings["fsync"] = "on" if self.durable else "off"
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [_needed("postgres"), "-D", str(self.folder / "data"), *options]

    def _answers(self) -> bool:
        asked = [_needed("pg_isready"), *self._address(), "-q"]
        return subprocess.run(asked, check=False).returncode == 0


class Redis(Service):
    """A Redis or Valkey server; a durable one appends every command to a file and remembers across restarts."""

    durable = False

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self, *command: str) -> str:
        """Run a command and return the answer."""
        asked = [_needed("redis-cli", "valkey-cli"), "-p", str(self.port), *command]
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()

    def _command(self) -> list[str]:
        options = {"port": self.port, "bind": "127.0.0.1", "dir": self.folder, "save": ""}
        options["appendonly"] = "yes" if self.durable else "no"
        arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        return [_needed("redis-server", "valkey-server"), *arguments]

    def _answers(self) -> bool:
        return self.client("ping") == "PONG"


async def _migrate(url: URL) -> None:
    database = Database(url)
    await database.open()
    await database.close()


@contextmanager
def running_postgresql(*, durable: bool = False) -> Iterator[PostgreSql]:
    """Give a running PostgreSQL server; skip the test where there is none."""
    for name in ("postgres", "initdb", "createdb", "pg_isready"):
        if _program(name) is None:
            pytest.skip(f"PostgreSQL's {name} is not installed (Debian: postgresql)")
    with tempfile.TemporaryDirectory(prefix="hsi-postgresql-", ignore_cleanup_errors=True) as folder:
        server = PostgreSql(Path(folder))
        server.durable = durable
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def running_redis(*, durable: bool = False) -> Iterator[Redis]:
    """Give a running Redis server; skip the test where there is none."""
    if _program("redis-server", "valkey-server") is None or _program("redis-cli", "valkey-cli") is None:
        pytest.skip("Neither Redis nor Valkey is installed (Debian: redis-server)")
    with tempfile.TemporaryDirectory(prefix="hsi-redis-", ignore_cleanup_errors=True) as folder:
        server = Redis(Path(folder))
        server.durable = durable
        server.start()
        try:
            yield server
        finally:
            server.stop()
