# SPDX-License-Identifier: AGPL-3.0-or-later
"""The FTP server: listens, says in health how it is, and ends sessions whose account has changed."""

import asyncio
import logging
import socket
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, override

from pyftpdlib.servers import FTPServer

from inference_server.core.clock import Clock
from inference_server.ingest.backpressure import Backpressure
from inference_server.ingest.ftp.bans import Bans
from inference_server.ingest.ftp.certificate import CertificateError, tls_context
from inference_server.ingest.ftp.filesystem import delete_old_parts
from inference_server.ingest.ftp.gate import Gate
from inference_server.ingest.ftp.house import House
from inference_server.ingest.ftp.io_thread import IoThread
from inference_server.ingest.ftp.session import CameraSession
from inference_server.observability.health import HealthBoard, HealthState
from inference_server.settings import FtpSettings, IngestSettings
from inference_server.storage.database import STORAGE_FAILURES, Database
from inference_server.storage.ftp_accounts import FtpAccount

_LOGGER = logging.getLogger(__name__)

RETRY_SECONDS = 10.0
ACCOUNTS_SECONDS = 5.0
"""How often it looks which accounts have changed, to end their sessions; logins ask each time."""
CLEANING_SECONDS = 3600.0
WORKERS = 2
"""Threads that hash passwords and bring uploads durably into their places."""
STOPPING = "421 The server stops; come back later."
CHANGED = "421 The account has changed; log in again."


class FtpService:
    """Runs one FTP server in a thread of its own."""

    def __init__(
        self,
        settings: FtpSettings,
        *,
        pictures: IngestSettings,
        root: Path,
        certificate: Path,
        database: Database,
        backpressure: Backpressure,
        health: HealthBoard,
        clock: Clock,
    ) -> None:
        """Take the parts; `certificate` is the file of the server's own one. Nothing listens yet."""
        self._settings = settings
        self._pictures = pictures
        self._root = root
        self._certificate = certificate
        self._database = database
        self._backpressure = backpressure
        self._health = health
        self._clock = clock
        self._bans = Bans(clock)

    async def run(self) -> None:
        """Serve until cancelled. Where it cannot listen, say so and try again."""
        while True:
            with (
                ThreadPoolExecutor(WORKERS, thread_name_prefix="ftp-worker") as workers,
                ThreadPoolExecutor(1, thread_name_prefix="ftp") as thread,
            ):
                try:
                    house, server = await asyncio.to_thread(self._open, workers, asyncio.get_running_loop())
                except CertificateError as error:
                    self._report_down(str(error), "Put right ftp.certificate_file and ftp.key_file, or leave them out.")
                except OSError as error:
                    reason = (error.strerror or str(error)).partition(" (")[0]  # Python adds the address
                    problem = f"FTP cannot listen on {self._settings.host}:{self._settings.port}: {reason}."
                    self._report_down(problem, "End the program that uses the port, or choose another with ftp.port.")
                else:
                    await self._serve(house, server, thread)
            await asyncio.sleep(RETRY_SECONDS)

    def _open(self, workers: Executor, loop: asyncio.AbstractEventLoop) -> tuple[House, "CameraServer"]:
        """Return a server that listens, and what its sessions share. Raises OSError, CertificateError."""
        tls = tls_context(self._settings, self._certificate, self._clock.now())
        listener = _listening(self._settings.host, self._settings.port)
        house = House(
            settings=self._settings,
            pictures=self._pictures,
            tls=tls,
            gate=Gate(self._database, self._root, workers),
            bans=self._bans,
            backpressure=self._backpressure,
            thread=IoThread(),
            loop=loop,
            workers=workers,
        )
        return house, CameraServer(house, listener)

    async def _serve(self, house: House, server: "CameraServer", thread: Executor) -> None:
        """Serve until cancelled or until something goes wrong, which it raises."""
        _LOGGER.info("FTP listens on %s:%d, TLS %s", self._settings.host, self._settings.port, self._settings.tls)
        serving = asyncio.get_running_loop().run_in_executor(thread, house.thread.run)
        looking = asyncio.create_task(self._look_after(house, server), name="ftp accounts")
        try:
            await asyncio.wait((serving, looking), return_when=asyncio.FIRST_COMPLETED)
        finally:
            looking.cancel()
            house.thread.post(lambda: server.end_sessions(STOPPING))
            house.thread.stop()
            await asyncio.wait((serving, looking))
        await serving
        await looking

    async def _look_after(self, house: House, server: "CameraServer") -> None:
        """End the sessions of changed accounts, and delete what nobody resumes."""
        passed = CLEANING_SECONDS
        while True:
            try:
                accounts = await house.gate.accounts()
            except STORAGE_FAILURES as error:
                _LOGGER.debug("The FTP accounts cannot be read now: %s", error)
            else:
                house.thread.post(partial(server.end_changed, accounts))
                self._report_ok(len(accounts))
                if passed >= CLEANING_SECONDS:
                    passed = 0.0
                    house.thread.post(partial(delete_old_parts, self._root.resolve(), house.uploads))
            await asyncio.sleep(ACCOUNTS_SECONDS)
            passed += ACCOUNTS_SECONDS

    def _report_ok(self, accounts: int) -> None:
        settings = self._settings
        self._health.report("ftp", HealthState.OK, port=settings.port, tls=settings.tls, accounts=accounts)

    def _report_down(self, problem: str, remedy: str) -> None:
        _LOGGER.warning("%s %s", problem, remedy)
        self._health.report(
            "ftp",
            HealthState.DOWN,
            last_error=problem,
            still_works="All other ways in; cameras keep their pictures and send them later, if they can.",
            remedy=f"{remedy} It is tried again by itself.",
        )


class CameraServer(FTPServer):
    """Accepts clients. Lives in the thread of its sockets, once that runs."""

    def __init__(self, house: House, listener: socket.socket) -> None:
        """Take a socket that listens."""
        super().__init__(listener, partial(CameraSession, house), ioloop=house.thread.ioloop)
        self.max_cons = house.settings.max_connections
        self.max_cons_per_ip = house.settings.max_connections_per_address

    @override
    def _map_len(self) -> int:
        """Return how many clients there are; their data connections do not count."""
        return len(self.ip_map)

    @property
    def sessions(self) -> list[CameraSession]:
        """The open sessions."""
        return [one for one in self.ioloop.socket_map.values() if isinstance(one, CameraSession)]

    def end_sessions(self, reply: str) -> None:
        """End all sessions."""
        for session in self.sessions:
            session.end(reply)

    def end_changed(self, accounts: Mapping[str, FtpAccount]) -> None:
        """End the sessions whose account is not what it was at their login."""
        for session in self.sessions:
            if session.account is not None and accounts.get(session.account.name) != session.account:
                session.end(CHANGED)


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens; on `::` for IPv4 too. Raises OSError."""
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    both = family == socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
    where: Any = address[:2]
    return socket.create_server(where, family=family, dualstack_ipv6=both)
