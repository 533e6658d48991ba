# SPDX-License-Identifier: Apache-2.0
"""Setting an entry up, taking it down, and what can be wrong at the start."""

from typing import Any

import pytest
from aiohttp import web
from homeassistant.config_entries import SOURCE_REAUTH, ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.home_security_intelligence.const import DOMAIN
from tests.integration import samples
from tests.integration.fake_server import FakeServer
from tests.integration.waiting import set_up, value


async def test_loads_and_unloads(hass: HomeAssistant, loaded: MockConfigEntry) -> None:
    assert loaded.state is ConfigEntryState.LOADED
    assert value(hass, "sensor.front_door_risk_score") == "0"

    assert await hass.config_entries.async_unload(loaded.entry_id)
    assert loaded.state is ConfigEntryState.NOT_LOADED
    assert value(hass, "sensor.front_door_risk_score") == "unavailable"


async def test_reloads(hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer) -> None:
    assert await hass.config_entries.async_reload(loaded.entry_id)
    await hass.async_block_till_done()

    assert server.subscriptions == [None, None]
    assert value(hass, "sensor.front_door_risk_score") == "0"


async def test_retries_when_unreachable(hass: HomeAssistant, entry: MockConfigEntry, server: FakeServer) -> None:
    await server.stop()
    await set_up(hass, entry)

    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert entry.reason
    assert "cannot be reached" in entry.reason


async def test_asks_for_a_new_token(hass: HomeAssistant, entry: MockConfigEntry, server: FakeServer) -> None:
    server.token = "another"
    await set_up(hass, entry)

    assert entry.state is ConfigEntryState.SETUP_ERROR
    [flow] = hass.config_entries.flow.async_progress()
    assert flow["context"]["source"] == SOURCE_REAUTH


@pytest.mark.parametrize("refused_by_server", [True, False])
async def test_asks_for_a_token_that_may_read(
    hass: HomeAssistant, entry: MockConfigEntry, server: FakeServer, refused_by_server: bool
) -> None:
    server.scopes = ["upload"]
    if refused_by_server:
        server.auth_answer = {"type": "auth_failed", "code": "forbidden", "detail": "Upload only.", "remedy": ""}
    await set_up(hass, entry)

    assert entry.state is ConfigEntryState.SETUP_ERROR
    assert "scope" in (entry.reason or "")


@pytest.mark.parametrize(
    ("first_frame", "auth_answer", "issue"),
    [
        pytest.param(samples.hello(schema_version=0, min_schema_version=0), None, "server_too_old", id="old server"),
        pytest.param(samples.hello(schema_version=9, min_schema_version=9), None, "server_too_new", id="new server"),
        pytest.param(samples.hello(server_id=samples.OTHER_SERVER_ID), None, "wrong_server", id="other server"),
        pytest.param(
            samples.hello(),
            {"type": "auth_failed", "code": "client_too_old", "detail": "too old", "remedy": ""},
            "server_too_new",
            id="refused as too old",
        ),
        pytest.param(
            samples.hello(),
            {"type": "auth_failed", "code": "client_too_new", "detail": "too new", "remedy": ""},
            "server_too_old",
            id="refused as too new",
        ),
    ],
)
async def test_explains_what_waiting_does_not_cure(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    server: FakeServer,
    issue_registry: ir.IssueRegistry,
    first_frame: samples.Json,
    auth_answer: samples.Json | None,
    issue: str,
) -> None:
    server.first_frame = first_frame
    server.auth_answer = auth_answer
    await set_up(hass, entry)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert [key for _, key in issue_registry.issues] == [f"{issue}_{entry.entry_id}"]

    server.first_frame = samples.hello()
    server.auth_answer = None
    await hass.config_entries.async_reload(entry.entry_id)
    assert entry.state is ConfigEntryState.LOADED
    assert not issue_registry.issues


async def test_removal_leaves_no_issue(
    hass: HomeAssistant, entry: MockConfigEntry, server: FakeServer, issue_registry: ir.IssueRegistry
) -> None:
    server.first_frame = samples.hello(server_id=samples.OTHER_SERVER_ID)
    await set_up(hass, entry)
    assert issue_registry.issues

    await hass.config_entries.async_remove(entry.entry_id)
    assert not issue_registry.issues


async def test_removal_leaves_nothing_in_the_storage(
    hass: HomeAssistant, loaded: MockConfigEntry, hass_storage: dict[str, Any]
) -> None:
    key = f"{DOMAIN}.{loaded.entry_id}"
    await hass.config_entries.async_unload(loaded.entry_id)
    assert hass_storage[key]["data"] == {"last_sequence": 10}

    await hass.config_entries.async_remove(loaded.entry_id)
    assert key not in hass_storage


@pytest.mark.parametrize(
    ("first_frame", "reason"),
    [
        ("<html>", "not a Home Security Intelligence server"),
        ({"type": "welcome"}, "not a Home Security Intelligence server"),
        ({"type": "hello", "server_id": 5}, "cannot be understood"),
    ],
)
async def test_explains_another_service(
    hass: HomeAssistant, entry: MockConfigEntry, server: FakeServer, first_frame: samples.Json | str, reason: str
) -> None:
    server.first_frame = first_frame
    await set_up(hass, entry)

    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert reason in (entry.reason or "")


@pytest.mark.parametrize(("status", "reason"), [(404, "not a Home Security"), (503, "cannot be reached")])
async def test_explains_a_refused_handshake(
    hass: HomeAssistant, entry: MockConfigEntry, server: FakeServer, status: int, reason: str
) -> None:
    server.failure = web.Response(status=status)
    await set_up(hass, entry)

    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert reason in (entry.reason or "")


@pytest.mark.parametrize(
    "answer",
    [
        {"type": "replay", "sequence": 1, "server": samples.server(), "messages": []},
        {"type": "nonsense"},
        {"type": "snapshot", "sequence": 1, "server": samples.server(), "cameras": [{}], "events": []},
    ],
)
async def test_refuses_a_nonsensical_start(
    hass: HomeAssistant, entry: MockConfigEntry, server: FakeServer, answer: samples.Json
) -> None:
    server.subscribe_answer = answer
    await set_up(hass, entry)

    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert "cannot be understood" in (entry.reason or "")
