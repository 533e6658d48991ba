# SPDX-License-Identifier: Apache-2.0
"""What the entities show."""

import asyncio
import json
from typing import Any

import pytest
from homeassistant.config_entries import ConfigEntryDisabler
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.json import json_dumps
from pytest_homeassistant_custom_component.common import MockConfigEntry
from syrupy.assertion import SnapshotAssertion

from custom_components.home_security_intelligence.client.messages import EventChanged, EventKind
from custom_components.home_security_intelligence.const import DOMAIN
from tests.integration import samples
from tests.integration.fake_server import FakeServer
from tests.integration.waiting import set_up, until, until_state, value

SCORE = "sensor.front_door_risk_score"
EVENT = "event.front_door_security_event"
DETECTOR = "sensor.home_security_intelligence_detector"
QUEUE = "sensor.home_security_intelligence_pictures_waiting"
DEAD_LETTERS = "sensor.home_security_intelligence_dead_letters"
LAST_PICTURE = "sensor.front_door_last_picture"
HIGHEST = "sensor.home_security_intelligence_highest_open_risk"
INCIDENTS = "sensor.home_security_intelligence_open_incidents"
VOLATILE = {"access_token", "entity_picture"}


def attributes(hass: HomeAssistant, entity_id: str) -> dict[str, Any]:
    state = hass.states.get(entity_id)
    assert state
    return dict(state.attributes)


@pytest.mark.freeze_time("2026-11-20T08:00:00+00:00")
async def test_all_entities(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    server: FakeServer,
    entity_registry: er.EntityRegistry,
    snapshot: SnapshotAssertion,
) -> None:
    event = samples.event()
    server.events = {9: event}
    server.cameras = {"front_door": samples.busy_camera(event)}
    await set_up(hass, entry)

    registered = er.async_entries_for_config_entry(entity_registry, entry.entry_id)
    assert {entity.entity_id: shown(hass, entity) for entity in sorted(registered, key=by_id)} == snapshot


def by_id(entity: er.RegistryEntry) -> str:
    return entity.entity_id


def shown(hass: HomeAssistant, entity: er.RegistryEntry) -> dict[str, Any]:
    """An entity in plain types, which do not depend on the version of Home Assistant."""
    state = hass.states.get(entity.entity_id)
    attributes = state and {name: v for name, v in state.attributes.items() if name not in VOLATILE}
    return {
        "unique_id": entity.unique_id,
        "category": entity.entity_category and str(entity.entity_category),
        "translation_key": entity.translation_key,
        "state": state and state.state,
        "attributes": json.loads(json_dumps(attributes)),
    }


@pytest.mark.new_owner
async def test_what_changes_with_every_picture_is_off_by_default(
    hass: HomeAssistant, loaded: MockConfigEntry, entity_registry: er.EntityRegistry
) -> None:
    registered = er.async_entries_for_config_entry(entity_registry, loaded.entry_id)
    assert {entity.entity_id for entity in registered if entity.disabled_by} == {QUEUE, DEAD_LETTERS, LAST_PICTURE}
    for entity_id in (QUEUE, DEAD_LETTERS, LAST_PICTURE):
        entity_registry.async_update_entity(entity_id, disabled_by=None)
    await hass.config_entries.async_reload(loaded.entry_id)
    await hass.async_block_till_done()
    assert value(hass, QUEUE) == "0"
    assert value(hass, DEAD_LETTERS) == "0"
    assert value(hass, LAST_PICTURE) == samples.MORNING


async def test_condition_of_the_server(hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer) -> None:
    await server.change_server(
        queue_depth=7, dead_letters=2, detector=samples.detector(state="down", message="No memory.")
    )

    await until_state(hass, QUEUE, "7")
    assert value(hass, DEAD_LETTERS) == "2"
    assert value(hass, DETECTOR) == "YOLO26 nano"
    seen = attributes(hass, DETECTOR)
    assert (seen["detector_state"], seen["fallback"], seen["message"]) == ("down", False, "No memory.")


async def test_a_detector_that_has_not_started_has_no_name(
    hass: HomeAssistant, entry: MockConfigEntry, server: FakeServer
) -> None:
    server.server["detector"] = samples.detector(state="starting", model=None, name=None, provider=None)
    await set_up(hass, entry)
    assert value(hass, DETECTOR) == "unknown"
    assert attributes(hass, DETECTOR)["detector_state"] == "starting"


async def test_substitute_weights_are_an_issue_while_in_use(
    hass: HomeAssistant, entry: MockConfigEntry, server: FakeServer, issue_registry: ir.IssueRegistry
) -> None:
    message = "YOLO26 is not downloaded: run hsi models download."
    server.server["detector"] = samples.detector(name="YOLOv3-tiny", fallback=True, message=message)
    await set_up(hass, entry)
    [issue] = issue_registry.issues.values()
    assert issue.translation_key == "detector_fallback"
    assert issue.severity is ir.IssueSeverity.WARNING
    assert not issue.is_fixable
    assert issue.translation_placeholders == {"model": "YOLOv3-tiny", "message": message}
    assert attributes(hass, DETECTOR)["fallback"] is True

    await server.change_server(queue_depth=1, detector=samples.detector(state="starting"))
    await until(hass, lambda: attributes(hass, DETECTOR)["detector_state"] == "starting")
    assert issue_registry.issues

    await server.change_server(detector=samples.detector())
    await until(hass, lambda: not issue_registry.issues)

    await server.change_server(detector=samples.detector(fallback=True))
    await until(hass, lambda: bool(issue_registry.issues))
    [(_, issue_id)] = issue_registry.issues
    ir.async_ignore_issue(hass, DOMAIN, issue_id, True)
    await hass.config_entries.async_reload(entry.entry_id)
    [issue] = issue_registry.issues.values()
    assert issue.dismissed_version
    await hass.config_entries.async_set_disabled_by(entry.entry_id, ConfigEntryDisabler.USER)
    assert not issue_registry.issues


async def test_a_detector_that_runs_elsewhere_than_it_should_is_an_issue_while_it_does(
    hass: HomeAssistant, entry: MockConfigEntry, server: FakeServer, issue_registry: ir.IssueRegistry
) -> None:
    message = "The driver is too old. Update it."
    wanted = "ONNX Runtime on an NVIDIA GPU (f32)"
    server.server["detector"] = samples.detector(wanted_provider=wanted, message=message)
    await set_up(hass, entry)
    [issue] = issue_registry.issues.values()
    assert (issue.translation_key, issue.severity) == ("detector_provider", ir.IssueSeverity.WARNING)
    assert issue.translation_placeholders == {
        "wanted": wanted,
        "provider": "CPUExecutionProvider",
        "message": message,
    }
    assert attributes(hass, DETECTOR)["wanted_provider"] == wanted

    await server.change_server(detector=samples.detector(provider="CUDAExecutionProvider"))
    await until(hass, lambda: not issue_registry.issues)


async def test_a_disabled_entry_has_no_issues(
    hass: HomeAssistant, entry: MockConfigEntry, server: FakeServer, issue_registry: ir.IssueRegistry
) -> None:
    server.first_frame = samples.hello(server_id=samples.OTHER_SERVER_ID)
    await set_up(hass, entry)
    assert issue_registry.issues
    await hass.config_entries.async_set_disabled_by(entry.entry_id, ConfigEntryDisabler.USER)
    await hass.async_block_till_done()
    assert not issue_registry.issues


async def test_life_of_an_event(hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer) -> None:
    assert value(hass, EVENT) == "unknown"
    await server.event_happens("event_detected", samples.event())
    await until_state(hass, SCORE, "35")
    assert value(hass, "sensor.front_door_risk_level") == "medium"
    assert value(hass, "binary_sensor.front_door_person") == "on"
    assert value(hass, "binary_sensor.front_door_vehicle") == "off"
    seen = attributes(hass, EVENT)
    detected_at = value(hass, EVENT)
    assert {name: seen[name] for name in ("event_type", "event_id", "score", "level", "verified", "source")} == {
        "event_type": "detected",
        "event_id": 9,
        "score": 35,
        "level": "medium",
        "verified": False,
        "source": "rules",
    }
    assert seen["summary"] == "A person"
    assert seen["objects"] == {"person": 1}
    assert seen["factors"] == [{"name": "person_seen", "points": 35}]
    assert seen["picture"] == f"/api/home_security_intelligence/{loaded.entry_id}/events/9/snapshot.jpg"
    assert "previous_level" not in seen

    await server.event_happens("event_updated", samples.event(risk={"score": 40, "level": "medium"}))
    await until_state(hass, SCORE, "40")
    assert value(hass, EVENT) == detected_at

    risen = samples.event(risk={"score": 70, "level": "high"})
    await server.event_happens("event_escalated", risen, previous_level="medium")
    await until_state(hass, SCORE, "70")
    seen = attributes(hass, EVENT)
    assert (seen["event_type"], seen["level"], seen["previous_level"]) == ("escalated", "high", "medium")

    judged = samples.event(risk={"score": 20, "level": "low"}, source="model", verified=True, summary="The courier")
    await server.event_happens("event_assessed", judged)
    await until_state(hass, SCORE, "20")
    seen = attributes(hass, EVENT)
    assert (seen["event_type"], seen["summary"], seen["verified"]) == ("assessed", "The courier", True)

    await server.event_happens("event_ended", judged | {"ended_at": samples.MORNING, "end_reason": "idle"})
    await until_state(hass, SCORE, "0")
    assert attributes(hass, EVENT)["event_type"] == "ended"
    assert value(hass, "binary_sensor.front_door_person") == "off"


async def test_what_cannot_be_judged_is_unknown_not_safe(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer
) -> None:
    assert value(hass, HIGHEST) == "0"
    await server.push("camera_updated", camera=samples.unjudged_camera())
    await until_state(hass, SCORE, "unknown")
    for entity_id in ("sensor.front_door_risk_level", "binary_sensor.front_door_person", HIGHEST):
        assert value(hass, entity_id) == "unknown"
    assert value(hass, LAST_PICTURE) == samples.MORNING


@pytest.mark.parametrize("state", ["starting", "down"])
async def test_without_a_detector_nothing_is_called_safe(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, state: str
) -> None:
    judged = (SCORE, "sensor.front_door_risk_level", "binary_sensor.front_door_person", HIGHEST)
    before = [value(hass, entity_id) for entity_id in judged]
    await server.change_server(detector=samples.detector(state=state))
    await until_state(hass, SCORE, "unknown")
    assert [value(hass, entity_id) for entity_id in judged] == ["unknown"] * 4
    await server.change_server(detector=samples.detector())
    await until_state(hass, SCORE, "0")
    assert [value(hass, entity_id) for entity_id in judged] == before


async def test_highest_risk_of_all_cameras(hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer) -> None:
    await server.event_happens("event_detected", samples.event(1, "garden", risk={"score": 80, "level": "high"}))
    await until_state(hass, HIGHEST, "80")
    await server.push("camera_updated", camera=samples.unjudged_camera())
    await until_state(hass, SCORE, "unknown")
    assert value(hass, HIGHEST) == "80"


async def test_open_incidents_are_counted(hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer) -> None:
    assert value(hass, INCIDENTS) == "0"
    for number in (4, 5):
        await server.push("incident_started", incident=samples.incident(number))
    await until_state(hass, INCIDENTS, "2")
    await server.push("incident_updated", incident=samples.incident(4, cameras=["driveway"]))
    await server.push("incident_ended", incident=samples.incident(5, ended_at=samples.MORNING))
    await until_state(hass, INCIDENTS, "1")
    await server.push("camera_updated", camera=samples.camera("garden"))
    await server.push("summary", summary=samples.summary())
    await server.push("incident_removed", incident_id=4)
    await until_state(hass, INCIDENTS, "0")


@pytest.mark.parametrize(("knows", "shown"), [(True, "1"), (False, "unknown")])
async def test_a_server_too_old_for_incidents_claims_none(
    hass: HomeAssistant, entry: MockConfigEntry, server: FakeServer, knows: bool, shown: str
) -> None:
    server.incidents = {4: samples.incident(), 5: samples.incident(5, ended_at=samples.MORNING)}
    server.knows_incidents = knows
    await set_up(hass, entry)
    assert value(hass, INCIDENTS) == shown


async def test_highest_risk_without_cameras(hass: HomeAssistant, entry: MockConfigEntry, server: FakeServer) -> None:
    server.cameras = {}
    await set_up(hass, entry)
    assert value(hass, HIGHEST) == "unknown"


async def test_events_wait_for_an_entity_that_is_still_being_added(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, entity_registry: er.EntityRegistry
) -> None:
    entity_registry.async_update_entity(EVENT, disabled_by=er.RegistryEntryDisabler.USER)
    await hass.async_block_till_done()
    await server.event_happens("event_detected", samples.event())
    await until_state(hass, SCORE, "35")

    received: list[EventChanged] = []
    loaded.runtime_data.teller.async_subscribe("front_door", received.append)
    await asyncio.sleep(0)
    assert [(change.kind, change.event.id) for change in received] == [(EventKind.DETECTED, 9)]
