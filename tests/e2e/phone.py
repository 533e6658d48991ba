# SPDX-License-Identifier: AGPL-3.0-or-later
"""A phone with the companion app, as far as Home Assistant can tell: a registration and a push service."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from scripts.development.home_assistant_client import HomeAssistantClient
from scripts.development.repository import INTEGRATION_DOMAIN

type Json = dict[str, Any]


class Phone:
    """Receives what is pushed to it."""

    def __init__(self) -> None:
        """Start with no message."""
        self._pushed: asyncio.Queue[Json] = asyncio.Queue()
        self.device_id = ""

    async def receive(self, timeout: float = 20) -> Json:
        """Wait for the next notification."""
        async with asyncio.timeout(timeout):
            return await self._pushed.get()

    @property
    def is_silent(self) -> bool:
        """Whether nothing waits to be read."""
        return self._pushed.empty()

    async def push(self, request: web.Request) -> web.Response:
        """Take a message as the push service of the app does."""
        self._pushed.put_nowait(await request.json())
        return web.json_response({}, status=201)

    async def register(self, client: HomeAssistantClient, url: str) -> None:
        """Introduce the phone to Home Assistant as the app does after the login."""
        await client.post(
            "/api/mobile_app/registrations",
            {
                "device_id": "e2e-phone",
                "app_id": "io.homeassistant.companion.android",
                "app_name": "Home Assistant",
                "app_version": "2026.11.1",
                "device_name": "Test phone",
                "manufacturer": "Example",
                "model": "One",
                "os_name": "Android",
                "os_version": "17",
                "supports_encryption": False,
                "app_data": {"push_token": "the-phones-token", "push_url": url},
            },
        )
        devices = await client.call("config/device_registry/list")
        [self.device_id] = [device["id"] for device in devices if device["name"] == "Test phone"]


@asynccontextmanager
async def phone(client: HomeAssistantClient) -> AsyncIterator[Phone]:
    """A registered phone."""
    made = Phone()
    app = web.Application()
    app.router.add_post("/push", made.push)
    async with TestServer(app, host="127.0.0.1") as service:
        await made.register(client, str(service.make_url("/push")))
        yield made


async def automate(client: HomeAssistantClient, name: str, **inputs: Any) -> None:
    """Make an automation from our blueprint, as the front end does."""
    blueprint = {"path": f"{INTEGRATION_DOMAIN}/notify_on_risk.yaml", "input": inputs}
    await client.post(f"/api/config/automation/config/{name}", {"alias": name, "use_blueprint": blueprint})
