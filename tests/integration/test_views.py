# SPDX-License-Identifier: Apache-2.0
"""What is wrong with the view of a camera is a problem sensor, and another view an issue that accepts it."""

from collections.abc import Awaitable, Callable

import pytest
from homeassistant.config_entries import ConfigEntryDisabler
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir
from homeassistant.setup import async_setup_component
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.home_security_intelligence.const import DOMAIN
from tests.integration import samples
from tests.integration.fake_server import FakeServer
from tests.integration.repair_dialog import Client, Dialog
from tests.integration.waiting import set_up, until, until_state, value

SENSOR = "binary_sensor.front_door_view_problem"
ACCEPT = "/api/cameras/front_door/view/accept"


async def see(server: FakeServer, *kinds: str) -> None:
    """Let the server tell what is wrong with the view."""
    problems = [samples.view_problem(kind) for kind in kinds]
    await server.push("camera_updated", camera=samples.camera(view_problems=problems))


async def test_problems_of_the_view(hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer) -> None:
    assert value(hass, SENSOR) == "off"
    await see(server, "blocked", "tampered", "upside_down")
    await until_state(hass, SENSOR, "on")
    state = hass.states.get(SENSOR)
    assert state
    assert state.attributes["problems"] == ["blocked", "tampered", "other"]
    assert state.attributes["since"] == samples.MORNING
    assert state.attributes["device_class"] == "problem"
    await see(server)
    await until_state(hass, SENSOR, "off")


async def test_a_view_is_watched_also_while_nothing_is_judged(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer
) -> None:
    await see(server, "too_dark")
    await until_state(hass, SENSOR, "on")
    await server.change_server(detector=samples.detector(state="down"))
    await until_state(hass, "sensor.front_door_risk_score", "unknown")
    assert value(hass, SENSOR) == "on"


async def test_an_older_server_tells_nothing_of_views(
    hass: HomeAssistant, entry: MockConfigEntry, server: FakeServer
) -> None:
    del server.cameras["front_door"]["view_problems"]
    await set_up(hass, entry)
    assert value(hass, SENSOR) == "off"


@pytest.mark.parametrize(("kind", "told"), [("moved", True), ("blurred", True), ("too_dark", False), ("frozen", False)])
async def test_another_view_is_an_issue_while_it_lasts(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: FakeServer,
    issue_registry: ir.IssueRegistry,
    kind: str,
    told: bool,
) -> None:
    await see(server, kind)
    await until_state(hass, SENSOR, "on")
    assert bool(issue_registry.issues) is told
    await see(server)
    await until_state(hass, SENSOR, "off")
    assert not issue_registry.issues


async def test_the_dialog_accepts_the_view(
    hass: HomeAssistant,
    hass_client: Callable[[], Awaitable[Client]],
    entry: MockConfigEntry,
    server: FakeServer,
    issue_registry: ir.IssueRegistry,
) -> None:
    assert await async_setup_component(hass, "repairs", {})
    server.cameras["front_door"]["view_problems"] = [samples.view_problem("moved")]
    await set_up(hass, entry)
    issue_id = f"another_view_{entry.entry_id}_front_door"
    assert issue_registry.issues[DOMAIN, issue_id].translation_placeholders == {"camera": "Front door"}
    dialog = Dialog(await hass_client(), issue_id)
    form = await dialog.open()
    assert form["description_placeholders"] == {"camera": "Front door"}
    assert ACCEPT not in server.requests
    assert (await dialog.submit())["type"] == "create_entry"
    assert server.requests.count(ACCEPT) == 1
    await until_state(hass, SENSOR, "off")


async def test_a_view_that_is_not_accepted_says_why(
    hass: HomeAssistant,
    hass_client: Callable[[], Awaitable[Client]],
    entry: MockConfigEntry,
    server: FakeServer,
) -> None:
    assert await async_setup_component(hass, "repairs", {})
    server.cameras["front_door"]["view_problems"] = [samples.view_problem("moved")]
    await set_up(hass, entry)
    dialog = Dialog(await hass_client(), f"another_view_{entry.entry_id}_front_door")
    await dialog.open()
    del server.cameras["front_door"]
    answer = await dialog.submit()
    assert (answer["type"], answer["reason"]) == ("abort", "not_accepted")


async def test_issues_go_with_the_entry(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, issue_registry: ir.IssueRegistry
) -> None:
    await see(server, "blocked")
    await until(hass, lambda: bool(issue_registry.issues))
    await hass.config_entries.async_set_disabled_by(loaded.entry_id, ConfigEntryDisabler.USER)
    await hass.async_block_till_done()
    assert not issue_registry.issues
