# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the integration's tests."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from homeassistant.const import CONF_HOST, CONF_PORT, CONF_TOKEN, EVENT_STATE_CHANGED
from homeassistant.core import Event, EventStateChangedData, HomeAssistant, callback
from homeassistant.helpers.entity import Entity
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.syrupy import HomeAssistantSnapshotExtension
from syrupy.assertion import SnapshotAssertion

import custom_components.home_security_intelligence  # noqa: F401  (before Home Assistant mounts the harness's folder)
from custom_components.home_security_intelligence import backoff
from custom_components.home_security_intelligence.const import DOMAIN
from tests.integration import samples
from tests.integration.fake_server import FakeServer
from tests.integration.waiting import set_up


@pytest.fixture(autouse=True)
def auto_enable_custom_integrations(hass_storage: dict[str, Any], enable_custom_integrations: None) -> None:
    """Let Home Assistant find the integration; what it stores stays in memory."""


@pytest.fixture(autouse=True)
def quick_reconnects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not let tests wait."""
    monkeypatch.setattr(backoff, "FIRST_DELAY", 0.02)
    monkeypatch.setattr(backoff, "LONGEST_DELAY", 0.1)


@pytest.fixture(autouse=True)
def enable_all_entities(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Show also what is disabled until the owner enables it, except where a test asks for what a new owner sees."""
    if not request.node.get_closest_marker("new_owner"):
        monkeypatch.setattr(Entity, "entity_registry_enabled_default", True)


@pytest.fixture
def snapshot(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    """Snapshots that know the types of Home Assistant."""
    return snapshot.use_extension(HomeAssistantSnapshotExtension)


@pytest.fixture
async def server(socket_enabled: None) -> AsyncGenerator[FakeServer]:
    """A running server with one quiet camera."""
    fake = FakeServer()
    fake.cameras = {"front_door": samples.camera()}
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
def entry(server: FakeServer) -> MockConfigEntry:
    """A config entry for the running server."""
    return MockConfigEntry(
        domain=DOMAIN,
        title="Home Security Intelligence",
        unique_id=samples.SERVER_ID,
        data={CONF_HOST: "127.0.0.1", CONF_PORT: server.port, CONF_TOKEN: samples.TOKEN},
    )


@pytest.fixture
async def loaded(hass: HomeAssistant, entry: MockConfigEntry) -> MockConfigEntry:
    """The config entry, set up."""
    await set_up(hass, entry)
    return entry


@pytest.fixture
def event_types(hass: HomeAssistant) -> list[str]:
    """The types of all security events of the front door, in order."""
    types: list[str] = []

    @callback
    def note(event: Event[EventStateChangedData]) -> None:
        old, new = event.data["old_state"], event.data["new_state"]
        if event.data["entity_id"] != "event.front_door_security_event" or not new or "event_id" not in new.attributes:
            return
        if old is None or (old.state != new.state and "unavailable" not in (old.state, new.state)):
            types.append(new.attributes["event_type"])

    hass.bus.async_listen(EVENT_STATE_CHANGED, note)
    return types
