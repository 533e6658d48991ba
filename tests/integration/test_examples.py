# SPDX-License-Identifier: Apache-2.0
"""The automations that docs/integration.md shows do what it says."""

import logging
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from freezegun.api import FrozenDateTimeFactory
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from pytest_homeassistant_custom_component.common import MockConfigEntry, async_mock_service

from tests.integration import samples
from tests.integration.fake_server import FakeServer
from tests.integration.waiting import set_up, until_state

PAGE = Path(__file__).parents[2] / "docs/integration.md"
EXAMPLE = re.compile(r"^(?P<title>[^\n]+):\n\n```yaml\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)

LIGHT = "A light for people at night"
MESSAGE = "A message with what was seen when the risk of an event becomes high"

SCORE = "sensor.front_door_risk_score"
PERSON = "binary_sensor.front_door_person"


def examples() -> dict[str, Any]:
    """The automations of the page by the sentence above them."""
    return {match["title"]: yaml.safe_load(match["code"]) for match in EXAMPLE.finditer(PAGE.read_text())}


async def automate(hass: HomeAssistant, title: str) -> None:
    """Make an automation of an example."""
    automation = {"id": "example", "alias": "Example", **examples()[title]}
    assert await async_setup_component(hass, "automation", {"automation": [automation]})
    await hass.async_block_till_done()
    state = hass.states.get("automation.example")
    assert state
    assert state.state == "on", state.attributes


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What went wrong in Home Assistant."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("homeassistant.") and record.levelno >= logging.ERROR
    ]


def test_every_example_is_tried() -> None:
    assert set(examples()) == {LIGHT, MESSAGE}
    assert len(examples()) == PAGE.read_text().count("```yaml")


@pytest.mark.parametrize("expected_lingering_timers", [True])  # of the sun
@pytest.mark.parametrize(
    ("time", "calls"),
    [
        ("2026-11-20T20:00:00+00:00", 0),
        ("2026-11-21T04:00:00+00:00", 1),
        ("2026-11-21T10:00:00+00:00", 1),
    ],
    ids=["noon", "evening", "two_at_night"],
)
async def test_a_light_for_people_at_night(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    server: FakeServer,
    freezer: FrozenDateTimeFactory,
    caplog: pytest.LogCaptureFixture,
    time: str,
    calls: int,
) -> None:
    await hass.config.async_set_time_zone("America/Los_Angeles")
    freezer.move_to(time)
    assert await async_setup_component(hass, "sun", {})
    light = async_mock_service(hass, "light", "turn_on")
    await set_up(hass, entry)
    await automate(hass, LIGHT)
    await server.event_happens("event_detected", samples.event())
    await until_state(hass, PERSON, "on")
    assert [call.data["entity_id"] for call in light] == [["light.porch"]] * calls
    assert complaints(caplog) == []


async def test_a_message_when_the_risk_becomes_high(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    messages = async_mock_service(hass, "persistent_notification", "create")
    await automate(hass, MESSAGE)

    async def told(kind: str, event_id: int, score: int, level: str, summary: str) -> list[str]:
        messages.clear()
        event = samples.event(event_id, risk={"score": score, "level": level}, summary=summary)
        await server.event_happens(f"event_{kind}", event)
        await until_state(hass, SCORE, str(score))
        return [call.data["message"] for call in messages]

    assert await told("detected", 9, 35, "medium", "A person") == []
    assert await told("escalated", 9, 70, "high", "3 people") == ["Front door: 3 people"]
    assert await told("updated", 9, 71, "high", "4 people") == []
    assert await told("escalated", 9, 90, "critical", "5 people") == []
    assert await told("assessed", 9, 30, "medium", "A party") == []
    assert await told("assessed", 9, 72, "high", "A burglar") == ["Front door: A burglar"]
    assert await told("detected", 10, 80, "high", "None") == ["Front door: None"]
    assert complaints(caplog) == []
