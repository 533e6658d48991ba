# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tokens that are wrong, that end, or that may too little."""

import pytest
from homeassistant.config_entries import SOURCE_REAUTH, ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from pytest_homeassistant_custom_component.common import MockConfigEntry

from inference_server.api.server import ApiServer
from inference_server.storage import tokens
from inference_server.storage.tokens import Scope
from tests.contract.connection import entry_for
from tests.integration.waiting import set_up, until, value
from tests.support.home import SERVER_ID, Home

DETECTOR = "sensor.test_home_detector"


@pytest.mark.parametrize("scope", [None, Scope.UPLOAD])
async def test_a_token_that_opens_nothing_starts_the_dialog_for_a_new_one(
    hass: HomeAssistant, api: ApiServer, a_home: Home, scope: Scope | None
) -> None:
    entry = entry_for(SERVER_ID, api.port, await a_home.token(scope) if scope else "wrong")
    await set_up(hass, entry)
    assert entry.state is ConfigEntryState.SETUP_ERROR
    flow_id = _reauth_flow(hass)

    answer = await hass.config_entries.flow.async_configure(flow_id, {"token": "wrong too"})
    assert answer["errors"] == {"base": "invalid_auth"}
    answer = await hass.config_entries.flow.async_configure(flow_id, {"token": await a_home.token()})
    assert (answer["type"], answer["reason"]) == (FlowResultType.ABORT, "reauth_successful")
    await hass.async_block_till_done()
    assert value(hass, DETECTOR) == "YOLO26n"


async def test_a_token_that_is_revoked_while_connected_starts_the_dialog(
    hass: HomeAssistant, entry: MockConfigEntry, a_home: Home
) -> None:
    await set_up(hass, entry)
    assert value(hass, DETECTOR) == "YOLO26n"

    async with a_home.database.writing() as connection:
        [token] = await tokens.list_all(connection)
        await tokens.revoke(connection, token.id, a_home.clock.now())
    await until(hass, lambda: bool(hass.config_entries.flow.async_progress()))
    assert value(hass, DETECTOR) == "unavailable"
    assert _reauth_flow(hass)


def _reauth_flow(hass: HomeAssistant) -> str:
    [flow] = hass.config_entries.flow.async_progress()
    assert flow["context"]["source"] == SOURCE_REAUTH
    return flow["flow_id"]
