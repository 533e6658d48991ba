# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real Home Assistant with our integration, for development and for the end-to-end tests."""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

import aiohttp

from .home_assistant_client import HomeAssistantClient
from .home_assistant_config import prepare
from .home_assistant_login import Account, Login
from .process import Child


class HomeAssistant:
    """One Home Assistant process and its configuration directory."""

    def __init__(self, directory: Path, *, port: int, host: str = "127.0.0.1", account: Account | None = None) -> None:
        self.directory = directory
        self.url = f"http://{host}:{port}"
        self.account = account or Account()
        self.process = Child(
            "Home Assistant",
            [Path(sys.executable).with_name("hass"), "--config", directory],
            log=directory.parent / f"{directory.name}.log",
            directory=directory,
        )
        self._host = host
        self._port = port

    async def start(self, timeout: float = 180) -> None:
        """Prepare the directory, start the process and wait until it answers."""
        await asyncio.to_thread(prepare, self.directory, host=self._host, port=self._port)
        await self.process.start()
        async with aiohttp.ClientSession() as session:
            await self.process.until(lambda: _answers(session, f"{self.url}/manifest.json"), timeout=timeout)

    async def access_token(self) -> str:
        """Complete the onboarding or log in; the token is valid for half an hour."""
        async with aiohttp.ClientSession() as session:
            return await Login(self.url, self.account, session).access_token()

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[HomeAssistantClient]:
        """A client of the owner, once Home Assistant has finished its start."""
        async with HomeAssistantClient.connect(self.url, await self.access_token()) as client:

            async def is_running() -> bool:
                state: str = (await client.get("/api/core/state"))["state"]
                return state == "RUNNING"

            await self.process.until(is_running, timeout=180)
            yield client

    async def stop(self) -> None:
        """Stop the process cleanly."""
        await self.process.stop()


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as response:
            return response.status == HTTPStatus.OK
    except aiohttp.ClientError:
        return False
