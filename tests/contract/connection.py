# SPDX-License-Identifier: AGPL-3.0-or-later
"""Config entries of real servers, and requests to them beside the integration."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from homeassistant.const import CONF_HOST, CONF_PORT, CONF_TOKEN, STATE_UNAVAILABLE, STATE_UNKNOWN
from homeassistant.core import HomeAssistant
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.home_security_intelligence.const import DOMAIN
from scripts.development.inference_server import InferenceServer
from tests.integration.waiting import set_up

type Json = dict[str, Any]


@asynccontextmanager
async def running_server(folder: Path, port: int, settings: Mapping[str, str]) -> AsyncIterator[InferenceServer]:
    """A server process on a folder; it may be started there again with other settings."""
    server = InferenceServer(folder / "data", port=port, watch_root=folder / "cameras", settings=settings)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def entry_for(server_id: str, port: int, token: str) -> MockConfigEntry:
    """A config entry as the dialog would make it."""
    data = {CONF_HOST: "127.0.0.1", CONF_PORT: port, CONF_TOKEN: token}
    return MockConfigEntry(domain=DOMAIN, title="Home Security Intelligence", unique_id=server_id, data=data)


def session(server: InferenceServer) -> aiohttp.ClientSession:
    """Requests with the token of the first start."""
    return aiohttp.ClientSession(server.url, headers={"Authorization": f"Bearer {server.token}"})


async def get(server: InferenceServer, path: str) -> Json:
    """Ask the server directly."""
    async with session(server) as http, http.get(path) as answer:
        assert answer.ok, await answer.text()
        body: Json = await answer.json()
        return body


async def connected(hass: HomeAssistant, server: InferenceServer, port: int | None = None) -> MockConfigEntry:
    """Set up an entry for a server, through another port if there is one."""
    server_id = (await get(server, "/api/system/info"))["server_id"]
    entry = entry_for(server_id, port or server.port, server.token)
    await set_up(hass, entry)
    return entry


def has_picture(hass: HomeAssistant, camera: str) -> bool:
    """Whether the first picture of a camera has been judged: the camera itself is announced before."""
    state = hass.states.get(f"sensor.{camera}_last_picture")
    return state is not None and state.state not in {STATE_UNKNOWN, STATE_UNAVAILABLE}
