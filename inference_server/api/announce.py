# SPDX-License-Identifier: AGPL-3.0-or-later
"""Telling Home Assistant, through its Supervisor, that this server exists and how it is reached."""

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp

SUPERVISOR_URL = "http://supervisor"
SUPERVISOR_TOKEN_VARIABLE = "SUPERVISOR_TOKEN"  # noqa: S105 - the name of a variable
DISCOVERY_SERVICE = "home_security_intelligence"
ANSWER_TIMEOUT = aiohttp.ClientTimeout(total=10)
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 300.0
LONGEST_REASON = 300

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advertisement:
    """What a client has to know to find this server. The host is the address it listens on; 0.0.0.0 means all."""

    server_id: str
    name: str
    version: str
    schema_version: int
    host: str
    port: int


class DiscoveryRefused(Exception):
    """The Supervisor did not take the message; the text is its reason."""


class SupervisorDiscovery:
    """Hands host, port and token of this app to Home Assistant, trying until the Supervisor takes them."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        advertisement: Advertisement,
        *,
        token: str,
        supervisor_token: str,
        url: str = SUPERVISOR_URL,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Take the token that Home Assistant shall use, and the one that the Supervisor gave this app."""
        self._session = session
        self._advertisement = advertisement
        self._token = token
        self._supervisor_token = supervisor_token
        self._url = url
        self._sleep = sleep
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Announce in the background; call it when the server listens."""
        self._task = asyncio.create_task(self.announce(), name="supervisor discovery")

    async def stop(self) -> None:
        """Give up what is not done yet. The Supervisor keeps what it has: the entry outlives a restart."""
        if self._task is None:
            return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._task = None

    async def announce(self) -> None:
        """Post the discovery message, and again after a growing pause, until it is taken."""
        told: str | None = None
        for pause in _pauses():
            try:
                message_id = await self._post()
            except DiscoveryRefused as refusal:
                reason = str(refusal)
                level = logging.DEBUG if reason == told else logging.WARNING
                _LOGGER.log(level, "Home Assistant could not be told about this server: %s. Trying again.", reason)
                told = reason
            else:
                _LOGGER.info("Home Assistant has been told about this server (discovery %s)", message_id)
                return
            await self._sleep(pause)

    async def _post(self) -> str:
        config = {
            "host": await self._hostname(),
            "port": self._advertisement.port,
            "token": self._token,
            "server_id": self._advertisement.server_id,
        }
        answer = await self._request("POST", "/discovery", {"service": DISCOVERY_SERVICE, "config": config})
        return str(answer.get("uuid"))

    async def _hostname(self) -> str:
        """Return the name by which Home Assistant reaches this container, which is also the container's own."""
        try:
            answer = await self._request("GET", "/addons/self/info")
        except DiscoveryRefused as refusal:
            _LOGGER.debug("The Supervisor does not tell this app's host name: %s", refusal)
            return socket.gethostname()
        return str(answer.get("hostname") or socket.gethostname())

    async def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._supervisor_token}"}
        try:
            async with self._session.request(
                method, self._url + path, json=body, headers=headers, timeout=ANSWER_TIMEOUT
            ) as response:
                status, text = response.status, await response.text(errors="replace")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise DiscoveryRefused(self._without_secrets(f"{type(error).__name__}: {error}")) from None
        answer = _parsed(text)
        if status != 200 or answer.get("result") != "ok":
            reason = answer.get("message") or text
            raise DiscoveryRefused(self._without_secrets(f"HTTP {status}: {reason}"))
        data = answer.get("data")
        return data if isinstance(data, dict) else {}

    def _without_secrets(self, reason: str) -> str:
        """Return the reason for the log: the Supervisor quotes what it refuses, and that holds the token."""
        for secret in (self._token, self._supervisor_token):
            reason = reason.replace(secret, "***")
        return reason[:LONGEST_REASON]


def _parsed(text: str) -> dict[str, Any]:
    """Return the JSON object in an answer, or an empty one: the Supervisor's own refusals may be plain text."""
    try:
        answer = json.loads(text)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _pauses() -> Iterator[float]:
    pause = FIRST_PAUSE_SECONDS
    while True:
        yield pause
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
