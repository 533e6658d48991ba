# SPDX-License-Identifier: Apache-2.0
"""The blueprint, from a message of the server to what arrives at a phone."""

import logging
import shutil
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from freezegun.api import FrozenDateTimeFactory
from homeassistant.components.blueprint import BLUEPRINT_SCHEMA
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr
from homeassistant.setup import async_setup_component
from homeassistant.util.yaml import load_yaml_dict
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from tests.integration import samples
from tests.integration.fake_server import FakeServer
from tests.integration.waiting import until_state

NAME = "home_security_intelligence/notify_on_risk.yaml"
BLUEPRINT = Path(__file__).parents[2] / "blueprints/automation" / NAME
SCORE = "sensor.front_door_risk_score"

type Notification = dict[str, Any]


class Phone:
    """The push service that a companion app registers with."""

    def __init__(self) -> None:
        self.notifications: list[Notification] = []

    def take(self) -> list[Notification]:
        """Everything since the last look."""
        taken, self.notifications = self.notifications, []
        return taken

    async def push(self, request: web.Request) -> web.Response:
        self.notifications.append(await request.json())
        limits = {"successful": 1, "errors": 0, "maximum": 99, "resetsAt": "2030-01-01T00:00:00.000Z"}
        return web.json_response({"rateLimits": limits}, status=201)


@pytest.fixture
async def phone(
    hass: HomeAssistant, hass_client: ClientSessionGenerator, socket_enabled: None
) -> AsyncGenerator[Phone]:
    """A phone that is registered as the companion app does it."""
    phone = Phone()
    app = web.Application()
    app.router.add_post("/push", phone.push)
    service = TestServer(app, host="127.0.0.1")
    await service.start_server()
    assert await async_setup_component(hass, "notify", {})
    assert await async_setup_component(hass, "mobile_app", {})
    registration = {
        "app_id": "io.homeassistant.test",
        "app_name": "Companion",
        "app_version": "1",
        "app_data": {"push_token": "token", "push_url": str(service.make_url("/push"))},
        "device_id": "phone-1",
        "device_name": "Phone",
        "manufacturer": "Test",
        "model": "Test",
        "os_name": "Linux",
        "os_version": "1",
        "supports_encryption": False,
    }
    response = await (await hass_client()).post("/api/mobile_app/registrations", json=registration)
    assert response.status == 201
    await hass.async_block_till_done()
    yield phone
    await service.close()


async def automate(hass: HomeAssistant, **inputs: Any) -> None:
    """Make an automation of the blueprint."""
    [entry] = hass.config_entries.async_entries("mobile_app")
    [device] = dr.async_entries_for_config_entry(dr.async_get(hass), entry.entry_id)
    inputs = {"events": ["event.front_door_security_event"], "phone": device.id} | inputs
    automation = {"id": "hsi", "alias": "Tell me", "use_blueprint": {"path": NAME, "input": inputs}}
    assert await async_setup_component(hass, "automation", {"automation": [automation]})
    await hass.async_block_till_done()
    state = hass.states.get("automation.tell_me")
    assert state
    assert state.state == "on", state.attributes


@pytest.fixture
def config_dir(hass: HomeAssistant, tmp_path: Path) -> None:
    """A configuration folder of our own with the blueprint in it."""
    hass.config.config_dir = str(tmp_path)
    installed = tmp_path / "blueprints/automation" / NAME
    installed.parent.mkdir(parents=True)
    shutil.copy(BLUEPRINT, installed)


@pytest.fixture
def nothing_fails(caplog: pytest.LogCaptureFixture) -> Generator[None]:
    """Nothing that Home Assistant does for the automation may go wrong, up to the answer of the push service."""
    yield
    records = [record for record in caplog.get_records("call") if record.name.startswith("homeassistant.")]
    assert [record.getMessage() for record in records if record.levelno >= logging.ERROR] == []
    templates = [record for record in records if record.name.startswith("homeassistant.helpers.template")]
    assert [record.getMessage() for record in templates] == []


pytestmark = pytest.mark.usefixtures("config_dir", "nothing_fails")


class House:
    """Lets things happen and waits until Home Assistant knows."""

    def __init__(self, hass: HomeAssistant, server: FakeServer) -> None:
        self._hass = hass
        self._server = server

    async def happens(self, kind: str, score: int, level: str, event_id: int = 9, **changes: Any) -> None:
        event = samples.event(event_id, risk={"score": score, "level": level}, **changes)
        await self._server.event_happens(f"event_{kind}", event)
        await until_state(self._hass, SCORE, str(score))


def is_silent(notification: Notification) -> bool:
    """Whether a notification changes without a sound; one that does so halfway is a mistake."""
    data = notification["data"]
    silent: bool = data["alert_once"]
    assert silent is (data["push"] == {"interruption-level": "passive", "sound": "none"})
    return silent


@pytest.fixture
def house(hass: HomeAssistant, server: FakeServer) -> House:
    """The house."""
    return House(hass, server)


def test_is_a_valid_blueprint() -> None:
    blueprint = BLUEPRINT_SCHEMA(load_yaml_dict(BLUEPRINT))["blueprint"]
    assert blueprint["homeassistant"]["min_version"] == "2026.10.0"
    assert blueprint["source_url"].endswith(f"/blueprints/automation/{NAME}")


async def test_tells_the_phone(hass: HomeAssistant, loaded: MockConfigEntry, house: House, phone: Phone) -> None:
    await automate(hass)
    await house.happens("detected", 35, "medium", summary="A person at the door")

    [notification] = phone.take()
    assert notification["title"] == "Front door: medium risk (35)"
    assert notification["message"] == "A person at the door"
    data = notification["data"]
    assert data["image"] == f"/api/home_security_intelligence/{loaded.entry_id}/events/9/snapshot.jpg"
    assert data["tag"] == "hsi_event.front_door_security_event_9"
    assert data["clickAction"] == "entityId:event.front_door_security_event"
    assert data["url"] == "/?more-info-entity-id=event.front_door_security_event"
    assert data["alert_once"] is False
    assert data["push"] == {"interruption-level": "time-sensitive"}


async def test_one_notification_per_event_updated_in_place(
    hass: HomeAssistant, loaded: MockConfigEntry, house: House, phone: Phone
) -> None:
    await automate(hass)
    await house.happens("detected", 35, "medium")
    await house.happens("updated", 36, "medium")
    await house.happens("escalated", 70, "high")
    await house.happens("assessed", 15, "low", summary="The courier")
    detected, escalated, assessed = phone.take()

    assert detected["data"]["tag"] == escalated["data"]["tag"] == assessed["data"]["tag"]
    assert escalated["title"] == "Front door: high risk (70)"
    assert (assessed["title"], assessed["message"]) == ("Front door: low risk (15)", "The courier")
    assert [is_silent(each) for each in (detected, escalated, assessed)] == [False, False, True]

    await house.happens("detected", 40, "medium", event_id=10)
    [following] = phone.take()
    assert following["data"]["tag"] != detected["data"]["tag"]


async def test_stays_quiet_below_the_level(
    hass: HomeAssistant, loaded: MockConfigEntry, house: House, phone: Phone
) -> None:
    await automate(hass, minimum_level="high")
    await house.happens("detected", 35, "medium")
    await house.happens("assessed", 20, "low")
    assert not phone.take()


@pytest.mark.parametrize(
    ("before", "after", "silent"),
    [
        ("low", "medium", []),
        ("low", "high", [False]),
        ("medium", "critical", [False]),
        ("high", "critical", [False, False]),
        ("high", "high", [False, True]),
        ("critical", "high", [False, True]),
        ("high", "low", [False, True]),
    ],
)
async def test_an_assessment_is_announced_only_when_it_raises_the_level(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    house: House,
    phone: Phone,
    before: str,
    after: str,
    silent: list[bool],
) -> None:
    await automate(hass, minimum_level="high")
    await house.happens("detected", 50, before)
    await house.happens("assessed", 51, after)
    assert [is_silent(notification) for notification in phone.take()] == silent


async def test_an_assessment_that_raises_the_level_breaks_through_silence(
    hass: HomeAssistant, loaded: MockConfigEntry, house: House, phone: Phone
) -> None:
    await automate(hass, critical_alert=True)
    await house.happens("detected", 35, "medium")
    await house.happens("assessed", 95, "critical")
    assessed = phone.take()[-1]
    assert assessed["data"]["channel"] == "alarm_stream"
    assert assessed["data"]["push"]["interruption-level"] == "critical"


async def test_an_assessment_changes_the_notification_of_its_own_event(
    hass: HomeAssistant, loaded: MockConfigEntry, house: House, phone: Phone
) -> None:
    await automate(hass, minimum_level="high")
    await house.happens("detected", 70, "high", event_id=9)
    await house.happens("detected", 35, "medium", event_id=10)
    await house.happens("assessed", 10, "low", event_id=9)
    detected, assessed = phone.take()
    assert assessed["title"] == "Front door: low risk (10)"
    assert assessed["data"]["tag"] == detected["data"]["tag"]
    assert is_silent(assessed)

    await house.happens("assessed", 75, "high", event_id=10)
    [following] = phone.take()
    assert not is_silent(following)


async def test_an_unknown_level_counts_as_the_highest(
    hass: HomeAssistant, loaded: MockConfigEntry, house: House, phone: Phone
) -> None:
    await automate(hass, minimum_level="critical")
    await house.happens("detected", 99, "apocalyptic")
    [notification] = phone.take()
    assert notification["title"] == "Front door: unknown risk (99)"

    await house.happens("assessed", 98, "critical")
    [notification] = phone.take()
    assert not is_silent(notification)


@pytest.mark.parametrize(
    "text", ["None", "None # of them", "123", "1.50", "True", "...", "[1]", "{'a': 1}", "b'x'", "()"]
)
async def test_a_text_that_reads_like_a_value_stays_a_text(
    hass: HomeAssistant, loaded: MockConfigEntry, house: House, phone: Phone, text: str
) -> None:
    await automate(hass)
    await house.happens("detected", 35, "medium", summary=text)
    assert [notification["message"] for notification in phone.take()] == [f"“{text}”"]


@pytest.mark.parametrize(
    "text", ["A person", "", "'quoted'", "1 person", "{{ 1 }}", "{% if %}", "{# a #}", "<b>a</b>", '"}']
)
async def test_every_other_text_is_shown_as_it_is(
    hass: HomeAssistant, loaded: MockConfigEntry, house: House, phone: Phone, text: str
) -> None:
    await automate(hass)
    await house.happens("detected", 35, "medium", summary=text)
    assert [notification["message"] for notification in phone.take()] == [text]


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("None #", "“None #”: medium risk (35)"),
        ("[1] #", "“[1] #”: medium risk (35)"),
        ("Gate #1", "Gate #1: medium risk (35)"),
        ("{{ 1 }}", "{{ 1 }}: medium risk (35)"),
    ],
)
async def test_a_camera_may_have_any_name(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, phone: Phone, name: str, title: str
) -> None:
    await automate(hass)
    event = samples.event()
    await server.push("event_detected", event=event, camera=samples.busy_camera(event, name=name))
    await until_state(hass, SCORE, "35")
    assert [notification["title"] for notification in phone.take()] == [title]


@pytest.mark.parametrize("wanted", [True, False])
async def test_breaks_through_silence_when_wanted(
    hass: HomeAssistant, loaded: MockConfigEntry, house: House, phone: Phone, wanted: bool
) -> None:
    await automate(hass, critical_alert=wanted)
    await house.happens("detected", 35, "medium")
    await house.happens("escalated", 90, "critical")
    await house.happens("assessed", 91, "critical")
    first, loud, update = (notification["data"] for notification in phone.take())
    assert (loud["channel"] == "alarm_stream") is wanted
    assert (loud["push"]["interruption-level"] == "critical") is wanted
    for other in (first, update):
        assert other["channel"] == "Security events"
        assert other["push"]["interruption-level"] != "critical"


async def test_rests_between_events(
    hass: HomeAssistant, loaded: MockConfigEntry, house: House, phone: Phone, freezer: FrozenDateTimeFactory
) -> None:
    await automate(hass, cool_down=300)
    await house.happens("detected", 35, "medium", event_id=1)
    freezer.tick(100)
    await house.happens("detected", 36, "medium", event_id=2)
    assert [notification["title"] for notification in phone.take()] == ["Front door: medium risk (35)"]

    await house.happens("escalated", 70, "high", event_id=2)
    assert len(phone.take()) == 1
    freezer.tick(10)
    await house.happens("detected", 90, "critical", event_id=3)
    assert len(phone.take()) == 1
    freezer.tick(301)
    await house.happens("detected", 37, "medium", event_id=4)
    assert len(phone.take()) == 1


async def test_an_assessment_that_raises_the_level_does_not_wait_for_the_pause(
    hass: HomeAssistant, loaded: MockConfigEntry, house: House, phone: Phone
) -> None:
    await automate(hass, cool_down=300)
    await house.happens("detected", 35, "medium", event_id=1)
    await house.happens("detected", 36, "medium", event_id=2)
    await house.happens("assessed", 70, "high", event_id=2)
    first, assessed = phone.take()
    assert (first["title"], assessed["title"]) == ("Front door: medium risk (35)", "Front door: high risk (70)")
    assert not is_silent(assessed)


async def test_is_silent_while_nothing_happens(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, house: House, phone: Phone
) -> None:
    await automate(hass)
    await house.happens("detected", 35, "medium")
    assert len(phone.take()) == 1
    server.cut()
    await until_state(hass, SCORE, "unavailable")
    await until_state(hass, SCORE, "35")
    await hass.config_entries.async_reload(loaded.entry_id)
    await hass.async_block_till_done()
    assert not phone.take()
