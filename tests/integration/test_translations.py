# SPDX-License-Identifier: Apache-2.0
"""Every text that the integration asks for exists, and every text that exists is asked for."""

import ast
from collections.abc import Iterator
from typing import Any

import pytest
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.translation import async_get_translations
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.home_security_intelligence.client import HsiError, WrongServer
from custom_components.home_security_intelligence.client.models import DetectorState, Level, Source
from custom_components.home_security_intelligence.const import DOMAIN
from custom_components.home_security_intelligence.event import EVENT_TYPES
from custom_components.home_security_intelligence.issues import (
    ANOTHER_VIEW,
    CONNECTION_ISSUES,
    DEAD_LETTERS,
    DETECTOR_FALLBACK,
    DETECTOR_PROVIDER,
)
from custom_components.home_security_intelligence.repairs import AcceptViewFlow, ReplayFlow
from tests.integration.hassfest import placeholders
from tests.integration.integration_files import INTEGRATION, load_json, sources, string_arguments

ONLY_IN_DIALOGS = {"invalid_address", "unknown", "not_found", "request_refused"}
NEVER_IN_DIALOGS = {"wrong_server"}


@pytest.fixture
def strings() -> dict[str, Any]:
    """All texts."""
    return load_json(INTEGRATION / "strings.json")


def error_keys() -> set[str]:
    """The keys of all errors of the client and the coordinator."""
    found, waiting = {HsiError.key}, [HsiError]
    while waiting:
        subclasses = waiting.pop().__subclasses__()
        found.update(subclass.key for subclass in subclasses)
        waiting.extend(subclasses)
    assert WrongServer.key in found
    return found


def test_errors_of_dialogs(strings: dict[str, Any]) -> None:
    assert set(strings["config"]["error"]) == error_keys() - NEVER_IN_DIALOGS


def test_exceptions(strings: dict[str, Any]) -> None:
    spelled_out = set(string_arguments("translation_key"))
    assert set(strings["exceptions"]) == (error_keys() - ONLY_IN_DIALOGS) | spelled_out


def test_exceptions_get_what_they_show(strings: dict[str, Any]) -> None:
    filled_in = {"disconnected": set(), "picture_unavailable": {"detail"}, "camera_not_deleted": {"detail"}}
    for key, text in strings["exceptions"].items():
        assert placeholders(text["message"]) <= filled_in.get(key, {"address", "detail"}), key


def test_issues(strings: dict[str, Any]) -> None:
    assert set(strings["issues"]) == {
        *CONNECTION_ISSUES,
        DETECTOR_FALLBACK,
        DETECTOR_PROVIDER,
        DEAD_LETTERS,
        ANOTHER_VIEW,
    }
    filled_in = {
        DETECTOR_FALLBACK: {"model", "message"},
        DETECTOR_PROVIDER: {"wanted", "provider", "message"},
        DEAD_LETTERS: {"count"},
        ANOTHER_VIEW: {"camera"},
    }
    for key, issue in strings["issues"].items():
        text = issue["title"] + issue.get("description", "")
        assert placeholders(text) <= filled_in.get(key, {"address", "detail"}), key


def test_repairs(strings: dict[str, Any]) -> None:
    reasons = set(string_arguments("reason", "repairs.py"))
    for key, flow_class, filled_in in ((DEAD_LETTERS, ReplayFlow, "count"), (ANOTHER_VIEW, AcceptViewFlow, "camera")):
        flow = strings["issues"][key]["fix_flow"]
        assert set(flow["step"]) == set(string_arguments("step_id", "repairs.py"))
        assert set(flow["abort"]) == {*reasons, flow_class.refused}
        assert placeholders(flow["step"]["confirm"]["description"]) == {filled_in}
        assert [placeholders(text) for text in flow["abort"].values()] == [set(), {"detail"}]


def test_steps_and_aborts(strings: dict[str, Any]) -> None:
    assert set(strings["config"]["step"]) == set(string_arguments("step_id", "config_flow.py"))
    assert set(strings["config"]["abort"]) == set(string_arguments("reason", "config_flow.py"))


def test_steps_get_what_they_show(strings: dict[str, Any]) -> None:
    for name, step in strings["config"]["step"].items():
        filled_in = {"user": {"url"}, "reconfigure": set(), "reauth_confirm": {"address", "name"}}
        assert placeholders(step.get("description", "")) <= filled_in.get(name, {"address"}), name


def test_fields_of_dialogs(strings: dict[str, Any]) -> None:
    [module] = [module for path, module in sources().items() if path.name == "config_flow.py"]
    schemas = {
        "user": "CONNECTION_SCHEMA",
        "reconfigure": "RECONFIGURE_SCHEMA",
        "zeroconf_confirm": "TOKEN_SCHEMA",
        "reauth_confirm": "TOKEN_SCHEMA",
    }
    fields = {
        node.target.id: set(field_names(node))
        for node in module.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    for step, texts in strings["config"]["step"].items():
        expected = fields[schemas[step]] if step in schemas else set()
        assert set(texts.get("data", {})) == expected, step


def field_names(schema: ast.AST) -> Iterator[str]:
    for node in ast.walk(schema):
        if isinstance(node, ast.Name) and node.id.startswith("CONF_"):
            yield node.id.removeprefix("CONF_").lower()


async def test_entities(
    hass: HomeAssistant, loaded: MockConfigEntry, entity_registry: er.EntityRegistry, strings: dict[str, Any]
) -> None:
    used: dict[str, set[str | None]] = {}
    for entity in er.async_entries_for_config_entry(entity_registry, loaded.entry_id):
        used.setdefault(entity.domain, set()).add(entity.translation_key)
    assert {platform: set(texts) for platform, texts in strings["entity"].items()} == used


def test_states(strings: dict[str, Any]) -> None:
    sensors = strings["entity"]["sensor"]
    assert list(sensors["risk_level"]["state"]) == list(Level)
    assert list(sensors["detector"]["state_attributes"]["detector_state"]["state"]) == list(DetectorState)
    attributes = strings["entity"]["event"]["security_event"]["state_attributes"]
    assert list(attributes["event_type"]["state"]) == list(EVENT_TYPES.values())
    assert list(attributes["level"]["state"]) == list(attributes["previous_level"]["state"]) == list(Level)
    assert list(attributes["source"]["state"]) == list(Source)


async def test_home_assistant_finds_the_texts(hass: HomeAssistant, loaded: MockConfigEntry) -> None:
    texts = await async_get_translations(hass, "en", "exceptions", {DOMAIN})
    assert f"component.{DOMAIN}.exceptions.cannot_connect.message" in texts
