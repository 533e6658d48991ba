# SPDX-License-Identifier: Apache-2.0
"""What failed for good on the server is an issue, and its dialog makes the server try again."""

from collections.abc import Awaitable, Callable

import pytest
from homeassistant.config_entries import ConfigEntryDisabler
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir
from homeassistant.setup import async_setup_component
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.home_security_intelligence.const import DOMAIN
from tests.integration import samples
from tests.integration.fake_server import FakeServer, problem
from tests.integration.repair_dialog import Client, Dialog
from tests.integration.waiting import set_up, until, until_state

REPLAY = "/api/dead_letters/replay"


@pytest.fixture
async def broken(hass: HomeAssistant, entry: MockConfigEntry, server: FakeServer) -> MockConfigEntry:
    """A config entry whose server gave three pictures up."""
    assert await async_setup_component(hass, "repairs", {})
    server.server["dead_letters"] = 3
    await set_up(hass, entry)
    return entry


@pytest.fixture
async def dialog(hass_client: Callable[[], Awaitable[Client]], broken: MockConfigEntry) -> Dialog:
    """The dialog of the issue, as the frontend opens it."""
    return Dialog(await hass_client(), f"dead_letters_{broken.entry_id}")


async def test_dead_letters_are_an_issue_while_there_are_some(
    hass: HomeAssistant, broken: MockConfigEntry, server: FakeServer, issue_registry: ir.IssueRegistry
) -> None:
    [issue] = issue_registry.issues.values()
    assert (issue.translation_key, issue.severity) == ("dead_letters", ir.IssueSeverity.WARNING)
    assert issue.is_fixable
    assert issue.translation_placeholders == {"count": "3"}
    await server.change_server(dead_letters=4)
    await until(hass, lambda: issue_registry.issues[DOMAIN, issue.issue_id].translation_placeholders == {"count": "4"})
    await server.change_server(dead_letters=0)
    await until(hass, lambda: not issue_registry.issues)


async def test_the_dialog_makes_the_server_try_again(
    dialog: Dialog, server: FakeServer, issue_registry: ir.IssueRegistry
) -> None:
    form = await dialog.open()
    assert (form["type"], form["step_id"]) == ("form", "confirm")
    assert form["description_placeholders"] == {"count": "3"}
    assert REPLAY not in server.requests
    assert (await dialog.submit())["type"] == "create_entry"
    assert server.requests.count(REPLAY) == 1
    assert not issue_registry.issues


async def test_the_issue_does_not_come_back_before_the_server_has_spoken(
    hass: HomeAssistant, dialog: Dialog, broken: MockConfigEntry, server: FakeServer, issue_registry: ir.IssueRegistry
) -> None:
    server.tells_replays = False
    await dialog.open()
    await dialog.submit()
    await server.event_happens("event_detected", samples.event())
    await until_state(hass, "sensor.front_door_risk_score", "35")
    assert broken.runtime_data.data.server.dead_letters == 3
    assert not issue_registry.issues
    await server.change_server()
    await until(hass, lambda: bool(issue_registry.issues))


async def test_what_fails_again_is_an_issue_again(
    hass: HomeAssistant, dialog: Dialog, server: FakeServer, issue_registry: ir.IssueRegistry
) -> None:
    await dialog.open()
    await dialog.submit()
    await server.change_server(dead_letters=1)
    await until(hass, lambda: bool(issue_registry.issues))


@pytest.mark.parametrize(("status", "code"), [(403, "forbidden"), (404, "not_found"), (503, "not_ready")])
async def test_a_refusal_of_the_server_is_told_and_the_issue_stays(
    dialog: Dialog, server: FakeServer, issue_registry: ir.IssueRegistry, status: int, code: str
) -> None:
    await dialog.open()
    server.failure = problem(status, code)
    result = await dialog.submit()
    assert (result["type"], result["reason"]) == ("abort", "not_replayed")
    assert result["description_placeholders"] == {"detail": f"detail of {code}"}
    assert len(issue_registry.issues) == 1


async def test_without_a_loaded_entry_nobody_is_asked(
    hass: HomeAssistant,
    dialog: Dialog,
    broken: MockConfigEntry,
    server: FakeServer,
    issue_registry: ir.IssueRegistry,
) -> None:
    await dialog.open()
    await hass.config_entries.async_unload(broken.entry_id)
    result = await dialog.submit()
    assert (result["type"], result["reason"]) == ("abort", "not_loaded")
    assert REPLAY not in server.requests
    assert len(issue_registry.issues) == 1


async def test_the_dialog_of_an_issue_that_has_gone_says_so(
    hass: HomeAssistant, dialog: Dialog, server: FakeServer, issue_registry: ir.IssueRegistry
) -> None:
    await dialog.open()
    await server.change_server(dead_letters=0)
    await until(hass, lambda: not issue_registry.issues)
    assert (await dialog.submit())["type"] == "create_entry"


async def test_a_disabled_entry_has_no_issue(
    hass: HomeAssistant, broken: MockConfigEntry, issue_registry: ir.IssueRegistry
) -> None:
    assert issue_registry.issues
    await hass.config_entries.async_set_disabled_by(broken.entry_id, ConfigEntryDisabler.USER)
    assert not issue_registry.issues
