# SPDX-License-Identifier: AGPL-3.0-or-later
"""A house with everything real: inference server, Home Assistant, the integration between them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from scripts.development.home_assistant import HomeAssistant
from scripts.development.home_assistant_client import HomeAssistantClient
from scripts.development.inference_server import InferenceServer
from scripts.development.process import free_port
from scripts.development.repository import INTEGRATION_DOMAIN
from tests.e2e.watch import Watch, watching
from tests.support import scenes
from tests.support.weights import models_folder

type Json = dict[str, Any]

E2E = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]
"""Every test of this folder runs in the event loop of the house."""

WANTED_MODEL = "a-better-model"
"""No such model exists: the server takes the small one instead and has to say so."""

IDLE_SECONDS = 4
SETTINGS = {
    "HSI_DETECTOR__MODEL": WANTED_MODEL,
    "HSI_MDNS": "false",
    "HSI_BATCH__IDLE_SECONDS": str(IDLE_SECONDS),
    "HSI_BATCH__WINDOW_SECONDS": "120",
    "HSI_RISK__NIGHT_STARTS_HOUR": "0",
    "HSI_RISK__NIGHT_ENDS_HOUR": "0",
    "HSI_RISK__MEDIUM": "25",  # three people by day
}


@dataclass
class House:
    """The two processes and what tests do with them."""

    server: InferenceServer
    home_assistant: HomeAssistant
    dialog: list[Json] = field(default_factory=list)
    """What the dialog answered, first to a wrong token, then to the right one."""
    losses: int = 0
    """How often Home Assistant was made to lose the server."""
    _client: AsyncExitStack = field(default_factory=AsyncExitStack)

    client: HomeAssistantClient = field(init=False)
    """The owner's connection."""

    async def start_home_assistant(self) -> None:
        """Start Home Assistant and connect as its owner."""
        await self.home_assistant.start()
        self.client = await self._client.enter_async_context(self.home_assistant.client())

    async def stop_home_assistant(self) -> None:
        """Disconnect and stop."""
        await self._client.aclose()
        await self.home_assistant.stop()

    async def add_integration(self) -> None:
        """Go through the dialog with a typing error, then without."""
        form = await self.client.start_config_flow(INTEGRATION_DOMAIN)
        entered = {"host": self.server.host, "port": self.server.port}
        for token in ("not the token", self.server.token):
            self.dialog.append(await self.client.continue_config_flow(form["flow_id"], entered | {"token": token}))

    async def entry(self) -> Json:
        """The config entry."""
        [entry] = await self.client.config_entries(INTEGRATION_DOMAIN)
        return entry

    async def devices(self) -> dict[str, Json]:
        """The integration's devices by name."""
        entry_id = (await self.entry())["entry_id"]
        devices = await self.client.call("config/device_registry/list")
        return {device["name"]: device for device in devices if entry_id in device["config_entries"]}

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[Watch]:
        """Listen to Home Assistant's states."""
        async with watching(self.client, self.report) as watch:
            yield watch

    def drop(self, camera: str, content: bytes) -> Path:
        """Let a camera write a picture."""
        return scenes.drop(self.server.watch_root / camera, content)

    def ask_server(self) -> aiohttp.ClientSession:
        """Requests to the server beside Home Assistant."""
        return aiohttp.ClientSession(self.server.url, headers={"Authorization": f"Bearer {self.server.token}"})

    def report(self) -> str:
        """The ends of both logs."""
        processes = (self.server.process, self.home_assistant.process)
        return "\n".join(f"{process.name}, the end of its log:\n{process.tail()}" for process in processes)


def house_in(folder: Path) -> House:
    """Build a house; nothing is started."""
    settings = SETTINGS | {"HSI_MODELS_DIR": str(models_folder())}
    return House(
        InferenceServer(folder / "server", port=free_port(), watch_root=folder / "cameras", settings=settings),
        HomeAssistant(folder / "home-assistant", port=free_port()),
    )
