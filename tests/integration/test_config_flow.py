# SPDX-License-Identifier: Apache-2.0
"""Every dialog, with every way it can go wrong and go on."""

from ipaddress import ip_address
from typing import Any
from unittest.mock import patch

import pytest
from aiohttp import web
from homeassistant.config_entries import (
    SOURCE_HASSIO,
    SOURCE_IGNORE,
    SOURCE_USER,
    SOURCE_ZEROCONF,
    ConfigEntryState,
    ConfigFlowResult,
)
from homeassistant.const import CONF_HOST, CONF_PORT, CONF_TOKEN
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers.service_info.hassio import HassioServiceInfo
from homeassistant.helpers.service_info.zeroconf import ZeroconfServiceInfo
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.home_security_intelligence.client import HsiClient
from custom_components.home_security_intelligence.const import DOMAIN
from tests.integration import samples
from tests.integration.fake_server import FakeServer, problem
from tests.integration.waiting import set_up, until_state

OLD_DATA = {CONF_HOST: "192.0.2.1", CONF_PORT: 1, CONF_TOKEN: "outdated"}


@pytest.fixture
def data(server: FakeServer) -> dict[str, Any]:
    """What leads to the server."""
    return {CONF_HOST: "127.0.0.1", CONF_PORT: server.port, CONF_TOKEN: samples.TOKEN}


@pytest.fixture
def old_entry(hass: HomeAssistant) -> MockConfigEntry:
    """An entry of the same server with an outdated connection, not loaded."""
    entry = MockConfigEntry(domain=DOMAIN, unique_id=samples.SERVER_ID, data=OLD_DATA)
    entry.add_to_hass(hass)
    return entry


async def start(hass: HomeAssistant, source: str, data: Any = None) -> ConfigFlowResult:
    return await hass.config_entries.flow.async_init(DOMAIN, context={"source": source}, data=data)


async def submit(hass: HomeAssistant, form: ConfigFlowResult, **user_input: Any) -> ConfigFlowResult:
    result = await hass.config_entries.flow.async_configure(form["flow_id"], user_input)
    await hass.async_block_till_done()
    return result


def app(data: dict[str, Any], **changes: Any) -> HassioServiceInfo:
    config = {**data, "server_id": samples.SERVER_ID} | changes
    return HassioServiceInfo(config=config, name="Home Security Intelligence", slug="hsi", uuid="1234")


def found(port: int | None, host: str = "127.0.0.1", **properties: str) -> ZeroconfServiceInfo:
    return ZeroconfServiceInfo(
        ip_address=ip_address(host),
        ip_addresses=[ip_address(host)],
        hostname="hsi.local.",
        name="hsi._hsi._tcp.local.",
        port=port,
        type="_hsi._tcp.local.",
        properties=properties,
    )


def found_server(port: int, host: str = "127.0.0.1") -> ZeroconfServiceInfo:
    return found(
        port, host, server_id=samples.SERVER_ID, version="0.1.0", schema_version="1", base_url=f"http://{host}:{port}"
    )


def misbehave(server: FakeServer, fault: str) -> None:
    match fault:
        case "invalid_auth":
            server.token = "another"
        case "missing_scope":
            server.scopes = ["upload"]
        case "not_hsi_server":
            server.failure = web.Response(status=404)
        case "cannot_connect":
            server.failure = problem(503, "not_ready")
        case "server_too_old":
            server.first_frame = samples.hello(schema_version=0, min_schema_version=0)
        case "server_too_new":
            server.first_frame = samples.hello(schema_version=9, min_schema_version=9)
        case "protocol_error":
            server.auth_answer = {"type": "maybe"}


def behave(server: FakeServer) -> None:
    well = FakeServer()
    server.token, server.scopes, server.failure = well.token, well.scopes, None
    server.first_frame, server.auth_answer = well.first_frame, None


FAULTS = (
    "invalid_auth",
    "missing_scope",
    "not_hsi_server",
    "cannot_connect",
    "server_too_old",
    "server_too_new",
    "protocol_error",
)


async def test_user(hass: HomeAssistant, data: dict[str, Any]) -> None:
    form = await start(hass, SOURCE_USER)
    assert (form["type"], form["step_id"], form["errors"]) == (FlowResultType.FORM, "user", {})

    result = await submit(hass, form, **data)
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["title"] == "Home Security Intelligence"
    assert result["data"] == data
    assert result["result"].unique_id == samples.SERVER_ID
    assert result["result"].state is ConfigEntryState.LOADED


@pytest.mark.parametrize("written", [" http://127.0.0.1:{port}/ ", "127.0.0.1:{port}", "http://127.0.0.1:{port}/api"])
async def test_user_pastes_an_address(
    hass: HomeAssistant, server: FakeServer, data: dict[str, Any], written: str
) -> None:
    form = await start(hass, SOURCE_USER)
    result = await submit(hass, form, host=written.format(port=server.port), port=8000, token=f" {samples.TOKEN}\n")
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["data"] == data


@pytest.mark.parametrize("fault", FAULTS)
async def test_user_recovers(hass: HomeAssistant, server: FakeServer, data: dict[str, Any], fault: str) -> None:
    misbehave(server, fault)
    form = await submit(hass, await start(hass, SOURCE_USER), **data)
    assert (form["type"], form["errors"]) == (FlowResultType.FORM, {"base": fault})

    behave(server)
    result = await submit(hass, form, **data)
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_user_recovers_from_a_wrong_address(hass: HomeAssistant, data: dict[str, Any]) -> None:
    form = await start(hass, SOURCE_USER)
    form = await submit(hass, form, **data | {CONF_HOST: "https://my server"})
    assert form["errors"] == {CONF_HOST: "invalid_address"}
    result = await submit(hass, form, **data)
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_user_recovers_when_nobody_is_there(
    hass: HomeAssistant, server: FakeServer, data: dict[str, Any]
) -> None:
    await server.stop()
    form = await submit(hass, await start(hass, SOURCE_USER), **data)
    assert form["errors"] == {"base": "cannot_connect"}
    await server.start()
    assert (await submit(hass, form, **data))["type"] is FlowResultType.CREATE_ENTRY


async def test_user_recovers_from_a_bug(hass: HomeAssistant, data: dict[str, Any]) -> None:
    form = await start(hass, SOURCE_USER)
    with patch.object(HsiClient, "connect", side_effect=ZeroDivisionError):
        form = await submit(hass, form, **data)
    assert form["errors"] == {"base": "unknown"}
    assert (await submit(hass, form, **data))["type"] is FlowResultType.CREATE_ENTRY


async def test_user_enters_a_known_server(
    hass: HomeAssistant, old_entry: MockConfigEntry, data: dict[str, Any]
) -> None:
    result = await submit(hass, await start(hass, SOURCE_USER), **data)
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "already_configured")
    assert old_entry.data == data
    assert old_entry.state is ConfigEntryState.LOADED


async def test_user_sets_up_an_ignored_server(hass: HomeAssistant, data: dict[str, Any]) -> None:
    MockConfigEntry(domain=DOMAIN, unique_id=samples.SERVER_ID, source=SOURCE_IGNORE).add_to_hass(hass)
    result = await submit(hass, await start(hass, SOURCE_USER), **data)
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_app(hass: HomeAssistant, data: dict[str, Any]) -> None:
    form = await start(hass, SOURCE_HASSIO, app(data))
    assert (form["type"], form["step_id"]) == (FlowResultType.FORM, "hassio_confirm")
    [progress] = hass.config_entries.flow.async_progress()
    assert progress["context"]["title_placeholders"] == {"name": "Home Security Intelligence"}

    result = await submit(hass, form)
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["data"] == data
    assert result["result"].unique_id == samples.SERVER_ID


async def test_app_recovers(hass: HomeAssistant, server: FakeServer, data: dict[str, Any]) -> None:
    await server.stop()
    form = await submit(hass, await start(hass, SOURCE_HASSIO, app(data)))
    assert (form["type"], form["errors"]) == (FlowResultType.FORM, {"base": "cannot_connect"})
    await server.start()
    assert (await submit(hass, form))["type"] is FlowResultType.CREATE_ENTRY


@pytest.mark.parametrize("changes", [{"token": None}, {"port": "8000"}, {"server_id": 7}])
async def test_app_announces_itself_badly(hass: HomeAssistant, data: dict[str, Any], changes: dict[str, Any]) -> None:
    result = await start(hass, SOURCE_HASSIO, app(data, **changes))
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "invalid_discovery_info")


@pytest.mark.parametrize("state", [ConfigEntryState.SETUP_ERROR, ConfigEntryState.SETUP_RETRY])
async def test_app_heals_an_entry(
    hass: HomeAssistant, old_entry: MockConfigEntry, data: dict[str, Any], state: ConfigEntryState
) -> None:
    old_entry.mock_state(hass, state)
    result = await start(hass, SOURCE_HASSIO, app(data))
    await hass.async_block_till_done()
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "already_configured")
    assert old_entry.data == data
    assert old_entry.state is ConfigEntryState.LOADED


async def test_app_wakes_an_entry_that_waits(
    hass: HomeAssistant, entry: MockConfigEntry, server: FakeServer, data: dict[str, Any]
) -> None:
    await server.stop()
    await set_up(hass, entry)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    await server.start()
    await start(hass, SOURCE_HASSIO, app(data))
    await hass.async_block_till_done()
    assert entry.state is ConfigEntryState.LOADED


async def test_app_leaves_a_working_entry_alone(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, data: dict[str, Any]
) -> None:
    result = await start(hass, SOURCE_HASSIO, app(data))
    await hass.async_block_till_done()
    assert result["reason"] == "already_configured"
    assert server.subscriptions == [None]


async def test_app_respects_being_ignored(hass: HomeAssistant, data: dict[str, Any]) -> None:
    ignored = MockConfigEntry(domain=DOMAIN, unique_id=samples.SERVER_ID, source=SOURCE_IGNORE)
    ignored.add_to_hass(hass)
    result = await start(hass, SOURCE_HASSIO, app(data))
    assert result["reason"] == "already_configured"
    assert not ignored.data


async def test_app_is_offered_although_zeroconf_found_it_first(
    hass: HomeAssistant, server: FakeServer, data: dict[str, Any]
) -> None:
    await start(hass, SOURCE_ZEROCONF, found_server(server.port))
    await start(hass, SOURCE_HASSIO, app(data))
    form = await start(hass, SOURCE_HASSIO, app(data))
    assert form["step_id"] == "hassio_confirm"
    assert len(hass.config_entries.flow.async_progress()) == 1
    assert (await submit(hass, form))["type"] is FlowResultType.CREATE_ENTRY
    assert not hass.config_entries.flow.async_progress()


async def test_zeroconf(hass: HomeAssistant, server: FakeServer, data: dict[str, Any]) -> None:
    form = await start(hass, SOURCE_ZEROCONF, found_server(server.port))
    assert (form["type"], form["step_id"]) == (FlowResultType.FORM, "zeroconf_confirm")

    server.token = "another"
    form = await submit(hass, form, token=samples.TOKEN)
    assert form["errors"] == {"base": "invalid_auth"}
    server.token = samples.TOKEN
    result = await submit(hass, form, token=f"{samples.TOKEN} ")
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["data"] == data


async def test_zeroconf_finds_it_twice(hass: HomeAssistant, server: FakeServer) -> None:
    await start(hass, SOURCE_ZEROCONF, found_server(server.port))
    result = await start(hass, SOURCE_ZEROCONF, found_server(server.port))
    assert result["reason"] == "already_in_progress"


@pytest.mark.parametrize("service", [found(8000), found(None, server_id=samples.SERVER_ID)])
async def test_zeroconf_announces_itself_badly(hass: HomeAssistant, service: ZeroconfServiceInfo) -> None:
    result = await start(hass, SOURCE_ZEROCONF, service)
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "invalid_discovery_info")


async def test_zeroconf_leads_an_entry_to_the_new_address(
    hass: HomeAssistant, server: FakeServer, data: dict[str, Any]
) -> None:
    entry = MockConfigEntry(domain=DOMAIN, unique_id=samples.SERVER_ID, data=OLD_DATA | {CONF_TOKEN: samples.TOKEN})
    entry.add_to_hass(hass)
    result = await start(hass, SOURCE_ZEROCONF, found_server(server.port))
    await hass.async_block_till_done()
    assert result["reason"] == "already_configured"
    assert entry.data == data
    assert entry.state is ConfigEntryState.LOADED


async def test_zeroconf_does_not_move_an_entry_that_is_connected(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, data: dict[str, Any]
) -> None:
    await start(hass, SOURCE_ZEROCONF, found_server(server.port, "192.0.2.9"))
    assert loaded.data == data

    await server.stop()
    await until_state(hass, "sensor.front_door_risk_score", "unavailable")
    result = await start(hass, SOURCE_ZEROCONF, found_server(1))
    await hass.async_block_till_done()
    assert result["reason"] == "already_configured"
    assert loaded.data == data


async def test_zeroconf_leads_no_entry_to_another_server(
    hass: HomeAssistant, server: FakeServer, old_entry: MockConfigEntry
) -> None:
    become_another(server)
    await start(hass, SOURCE_ZEROCONF, found_server(server.port))
    assert old_entry.data == OLD_DATA
    assert server.tokens == []


async def test_zeroconf_takes_the_address_that_the_server_knows_to_be_its_way_out(
    hass: HomeAssistant, server: FakeServer, data: dict[str, Any]
) -> None:
    properties = found_server(server.port).properties
    of_a_bridge = found(server.port, "172.17.0.1", **{key: value or "" for key, value in properties.items()})
    form = await start(hass, SOURCE_ZEROCONF, of_a_bridge)
    assert form["description_placeholders"] == {"address": f"127.0.0.1:{server.port}"}


async def test_zeroconf_leaves_apps_to_the_supervisor(
    hass: HomeAssistant, server: FakeServer, data: dict[str, Any]
) -> None:
    app = found_server(server.port, "127.0.0.9")
    app.properties["homeassistant_app"] = "true"
    assert (await start(hass, SOURCE_ZEROCONF, app))["reason"] == "announced_by_supervisor"

    entry = MockConfigEntry(domain=DOMAIN, unique_id=samples.SERVER_ID, data=data)
    server.failure = problem(503, "not_ready")
    await set_up(hass, entry)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    server.failure = None
    await start(hass, SOURCE_ZEROCONF, app)
    await hass.async_block_till_done()
    assert (entry.state, entry.data) == (ConfigEntryState.LOADED, data)


async def test_reauth(hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer) -> None:
    server.token = "renewed"
    form = await loaded.start_reauth_flow(hass)
    assert (form["type"], form["step_id"]) == (FlowResultType.FORM, "reauth_confirm")
    form = await submit(hass, form, token="mistyped")
    assert form["errors"] == {"base": "invalid_auth"}

    result = await submit(hass, form, token="renewed")
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "reauth_successful")
    assert loaded.data[CONF_TOKEN] == "renewed"
    assert loaded.state is ConfigEntryState.LOADED


async def test_reauth_refuses_another_server(hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer) -> None:
    become_another(server)
    result = await submit(hass, await loaded.start_reauth_flow(hass), token=samples.TOKEN)
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "wrong_server")


def become_another(server: FakeServer) -> None:
    server.first_frame = samples.hello(server_id=samples.OTHER_SERVER_ID)
    server.server = samples.server(server_id=samples.OTHER_SERVER_ID)


async def test_reconfigure(hass: HomeAssistant, old_entry: MockConfigEntry, data: dict[str, Any]) -> None:
    form = await old_entry.start_reconfigure_flow(hass)
    assert (form["type"], form["step_id"]) == (FlowResultType.FORM, "reconfigure")
    form = await submit(hass, form, host="?", port=8000)
    assert form["errors"] == {CONF_HOST: "invalid_address"}
    form = await submit(hass, form, host="127.0.0.1", port=data[CONF_PORT])
    assert form["errors"] == {"base": "invalid_auth"}

    result = await submit(hass, form, **data)
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "reconfigure_successful")
    assert old_entry.data == data
    assert old_entry.state is ConfigEntryState.LOADED


async def test_reconfigure_keeps_the_token(hass: HomeAssistant, loaded: MockConfigEntry, data: dict[str, Any]) -> None:
    form = await loaded.start_reconfigure_flow(hass)
    result = await submit(hass, form, host="127.0.0.1", port=data[CONF_PORT])
    assert result["reason"] == "reconfigure_successful"
    assert loaded.data == data


async def test_reconfigure_refuses_another_server(
    hass: HomeAssistant, old_entry: MockConfigEntry, server: FakeServer, data: dict[str, Any]
) -> None:
    become_another(server)
    result = await submit(hass, await old_entry.start_reconfigure_flow(hass), **data)
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "wrong_server")
    assert old_entry.data == OLD_DATA
