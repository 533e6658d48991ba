# SPDX-License-Identifier: AGPL-3.0-or-later
"""The real integration in a test Home Assistant, and two real servers: one with a pipeline, one that tests direct.

`server` is a process that watches folders and sees with a real detector; it serves all tests. `api` is the server's API
on a database that tests write into as the pipeline, and later the analyst, does; its patience is short.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_socket
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity import Entity
from pytest_homeassistant_custom_component.common import MockConfigEntry

import custom_components.home_security_intelligence  # noqa: F401  (before Home Assistant mounts the harness's folder)
from custom_components.home_security_intelligence import backoff
from inference_server.api.context import ApiLimits
from inference_server.api.server import ApiServer
from scripts.development.inference_server import InferenceServer
from scripts.development.process import free_port
from tests.contract.connection import entry_for
from tests.contract.security_events import SecurityEvents
from tests.support.home import SERVER_ID, Home, home
from tests.support.weights import models_folder

PIPELINE_SETTINGS = {
    "HSI_DETECTOR__MODEL": "yolov3-tiny",
    "HSI_MDNS": "false",
    "HSI_BATCH__IDLE_SECONDS": "2",
    "HSI_BATCH__WINDOW_SECONDS": "60",
    "HSI_RISK__NIGHT_STARTS_HOUR": "0",
    "HSI_RISK__NIGHT_ENDS_HOUR": "0",
    "HSI_RISK__MEDIUM": "25",  # three people by day
}


@pytest.fixture(autouse=True)
def auto_enable_custom_integrations(hass_storage: dict[str, Any], enable_custom_integrations: None) -> None:
    """Let Home Assistant find the integration; what it stores stays in memory."""


@pytest.fixture(autouse=True)
def enable_all_entities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show also what is disabled until the owner enables it: the time of the last picture tells what was judged."""
    monkeypatch.setattr(Entity, "entity_registry_enabled_default", True)


@pytest.fixture(autouse=True)
def allow_connections(socket_enabled: None) -> None:
    """Let both sides talk; other hosts than 127.0.0.1 stay out of reach."""


@pytest.fixture(autouse=True)
def quick_reconnects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not let tests wait."""
    monkeypatch.setattr(backoff, "FIRST_DELAY", 0.02)
    monkeypatch.setattr(backoff, "LONGEST_DELAY", 0.1)


@pytest.fixture
def expected_lingering_timers() -> bool:
    """Tolerate timers: aiohttp forgets the heartbeat of a connection that both ends close at the same time."""
    return True


@pytest.fixture(autouse=True)
def quiet_database() -> None:
    """Keep every single query out of the reports of failures."""
    logging.getLogger("sqlalchemy.engine").setLevel(logging.WARNING)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InferenceServer]:
    """A server process with the small real detector."""
    folder = tmp_path_factory.mktemp("server")
    pytest_socket.enable_socket()
    settings = PIPELINE_SETTINGS | {"HSI_MODELS_DIR": str(models_folder())}
    process = InferenceServer(folder / "data", port=free_port(), watch_root=folder / "cameras", settings=settings)
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(process.start())
        yield process
        runner.run(process.stop())


@pytest.fixture
async def a_home(tmp_path: Path) -> AsyncIterator[Home]:
    """What a server keeps, without cameras."""
    async with home(tmp_path) as made:
        yield made


@pytest.fixture
async def api(a_home: Home) -> AsyncIterator[ApiServer]:
    """The server's API over `a_home`."""
    limits = ApiLimits(token_check_seconds=0.1, close_seconds=0.2, server_interval_seconds=0.01)
    running = ApiServer(a_home.context(limits), "127.0.0.1", 0)
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def entry(api: ApiServer, a_home: Home) -> MockConfigEntry:
    """A config entry for `api`."""
    return entry_for(SERVER_ID, api.port, await a_home.token())


@pytest.fixture
def security_events(hass: HomeAssistant) -> SecurityEvents:
    """Every security event that Home Assistant shows, in order."""
    return SecurityEvents(hass)
