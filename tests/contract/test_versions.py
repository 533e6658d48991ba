# SPDX-License-Identifier: AGPL-3.0-or-later
"""Servers and integrations of different ages."""

from types import ModuleType

import pytest
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.home_security_intelligence.client import models, session
from custom_components.home_security_intelligence.const import DOMAIN
from inference_server.api import schema, websocket
from tests.integration.waiting import set_up


def test_both_sides_speak_the_same_versions_now() -> None:
    assert (models.SCHEMA_VERSION, models.MIN_SCHEMA_VERSION) == (schema.SCHEMA_VERSION, schema.MIN_SCHEMA_VERSION)


@pytest.mark.parametrize(
    ("module", "constant", "version", "issue"),
    [
        pytest.param(session, "SCHEMA_VERSION", 0, "server_too_new", id="the server refuses an old integration"),
        pytest.param(session, "SCHEMA_VERSION", 2, "server_too_old", id="the server refuses a new integration"),
        pytest.param(models, "MIN_SCHEMA_VERSION", 2, "server_too_old", id="the integration refuses an old server"),
        pytest.param(models, "SCHEMA_VERSION", 0, "server_too_new", id="the integration refuses a new server"),
        pytest.param(websocket, "MIN_SCHEMA_VERSION", 2, "server_too_new", id="a server that dropped the old format"),
    ],
)
async def test_what_does_not_fit_becomes_a_repair_issue_and_goes_when_it_fits(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    issue_registry: ir.IssueRegistry,
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    constant: str,
    version: int,
    issue: str,
) -> None:
    with monkeypatch.context() as other_age:
        other_age.setattr(module, constant, version)
        await set_up(hass, entry)
        assert entry.state is ConfigEntryState.SETUP_RETRY
        assert [key for key in issue_registry.issues if key[0] == DOMAIN] == [(DOMAIN, f"{issue}_{entry.entry_id}")]

    assert await hass.config_entries.async_reload(entry.entry_id)
    assert entry.state is ConfigEntryState.LOADED
    assert not [key for key in issue_registry.issues if key[0] == DOMAIN]
