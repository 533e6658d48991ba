# SPDX-License-Identifier: Apache-2.0
"""Losing the server and getting it back."""

import logging
from collections.abc import Iterator
from unittest.mock import patch

import pytest
from homeassistant.config_entries import SOURCE_REAUTH, ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir
from homeassistant.setup import async_setup_component
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.home_security_intelligence import coordinator
from custom_components.home_security_intelligence.client import session
from tests.integration import samples
from tests.integration.fake_server import FakeServer
from tests.integration.waiting import set_up, until, until_state, value

SCORE = "sensor.front_door_risk_score"
EVENT = "event.front_door_security_event"
ALL_ENTITIES = (
    SCORE,
    EVENT,
    "sensor.front_door_risk_level",
    "binary_sensor.front_door_person",
    "image.front_door_last_event",
    "camera.front_door_latest_picture",
    "sensor.home_security_intelligence_detector",
)


async def _lose(hass: HomeAssistant, server: FakeServer) -> None:
    server.cut()
    await until_state(hass, SCORE, "unavailable")


async def test_everything_is_unavailable_at_once_and_comes_back(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await server.stop()
    await until_state(hass, SCORE, "unavailable")
    assert {value(hass, entity_id) for entity_id in ALL_ENTITIES} == {"unavailable"}

    await server.start()
    await until_state(hass, SCORE, "0")
    assert "unavailable" not in {value(hass, entity_id) for entity_id in ALL_ENTITIES}
    assert caplog.text.count("Error requesting Home Security Intelligence data") == 1
    assert caplog.text.count("The connection to Home Security Intelligence is back") == 1


@pytest.mark.parametrize("code", [1001, 4429])
async def test_comes_back_after_being_hung_up_on(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, code: int
) -> None:
    await server.hang_up(code)
    await until_state(hass, SCORE, "unavailable")
    await until_state(hass, SCORE, "0")
    assert server.subscriptions == [None, 10]


async def test_misses_nothing_while_away(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, event_types: list[str]
) -> None:
    await _lose(hass, server)
    first, risen = samples.event(), samples.event(risk={"score": 70, "level": "high"})
    server.record("event_detected", event=first, camera=samples.busy_camera(first))
    server.record("event_escalated", event=risen, camera=samples.busy_camera(risen), previous_level="medium")

    await until_state(hass, SCORE, "70")
    assert event_types == ["detected", "escalated"]
    assert server.subscriptions == [None, 10]


async def test_infers_from_a_snapshot_what_it_missed(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, event_types: list[str]
) -> None:
    event = samples.event()
    await server.event_happens("event_detected", event)
    await until_state(hass, SCORE, "35")
    assert event_types == ["detected"]

    await _lose(hass, server)
    ended = event | {"ended_at": samples.MORNING, "end_reason": "idle"}
    following = samples.event(10, risk={"score": 90, "level": "critical"})
    server.record("event_ended", event=ended, camera=samples.camera(last_event_id=9))
    server.record("event_detected", event=following, camera=samples.busy_camera(following))
    server.oldest_replayable = server.sequence
    await until_state(hass, SCORE, "90")
    assert event_types == ["detected", "detected"]

    await _lose(hass, server)
    ended = following | {"ended_at": samples.MORNING, "end_reason": "idle"}
    server.record("event_ended", event=ended, camera=samples.camera(last_event_id=10))
    server.oldest_replayable = server.sequence
    await until_state(hass, SCORE, "0")
    assert event_types == ["detected", "detected", "ended"]

    await _lose(hass, server)
    server.oldest_replayable = server.sequence + 1
    await until_state(hass, SCORE, "0")
    assert event_types == ["detected", "detected", "ended"]


async def test_infers_an_escalation_from_a_snapshot(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, event_types: list[str]
) -> None:
    await server.event_happens("event_detected", samples.event())
    await until_state(hass, SCORE, "35")
    await _lose(hass, server)
    risen = samples.event(risk={"score": 70, "level": "high"})
    server.record("event_escalated", event=risen, camera=samples.busy_camera(risen), previous_level="medium")
    server.oldest_replayable = server.sequence

    await until_state(hass, SCORE, "70")
    assert event_types == ["detected", "escalated"]
    state = hass.states.get(EVENT)
    assert state
    assert state.attributes["previous_level"] == "medium"


async def test_infers_everything_that_a_snapshot_shows_of_an_event(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, event_types: list[str]
) -> None:
    await server.event_happens("event_detected", samples.event())
    await until_state(hass, SCORE, "35")
    await _lose(hass, server)
    over = {"ended_at": samples.MORNING, "end_reason": "idle", "risk": {"score": 70, "level": "high"}}
    server.record("event_ended", event=samples.event() | over, camera=samples.camera(last_event_id=9))
    server.oldest_replayable = server.sequence
    await until_state(hass, SCORE, "0")
    assert event_types == ["detected", "escalated", "ended"]

    await _lose(hass, server)
    server.record("event_ended", event=samples.event(10) | over, camera=samples.camera(last_event_id=10))
    server.oldest_replayable = server.sequence
    await until_state(hass, SCORE, "0")
    assert event_types == ["detected", "escalated", "ended", "detected", "ended"]

    await _lose(hass, server)
    server.record("camera_updated", camera=samples.camera(last_event_id=8))
    server.events[8] = samples.event(8) | over
    server.oldest_replayable = server.sequence
    await until_state(hass, SCORE, "0")
    assert event_types == ["detected", "escalated", "ended", "detected", "ended"]


async def test_a_silent_server_counts_as_gone(
    hass: HomeAssistant, entry: MockConfigEntry, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "SILENCE", 0.2)
    await set_up(hass, entry)
    await until_state(hass, SCORE, "unavailable")
    await until_state(hass, SCORE, "0")


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(
            {"type": "message", "sequence": 99, "kind": "camera_removed", "data": {"camera_id": "x"}}, id="gap"
        ),
        pytest.param({"type": "message", "sequence": 11, "kind": "camera_added", "data": {}}, id="no camera"),
        pytest.param({"type": "error", "code": "invalid_request", "detail": "What?", "remedy": ""}, id="error"),
        pytest.param([], id="no object"),
    ],
)
async def test_starts_afresh_after_nonsense(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, frame: samples.Json
) -> None:
    await server.send(frame)
    await until_state(hass, SCORE, "unavailable")
    await until_state(hass, SCORE, "0")
    assert server.subscriptions == [None, None]


async def test_starts_afresh_after_what_is_not_json(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer
) -> None:
    await server.send_text("{")
    await until_state(hass, SCORE, "unavailable")
    await until_state(hass, SCORE, "0")
    await server.send_bytes(b"\0")
    await until_state(hass, SCORE, "unavailable")
    await until_state(hass, SCORE, "0")
    assert server.subscriptions == [None, None, None]


async def test_tolerates_what_a_newer_server_invents(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer
) -> None:
    await server.send({"type": "weather", "forecast": "rain"})
    await server.push("story_begun", story={"id": 1})
    event = samples.event(risk={"score": 99, "level": "apocalyptic"}, source="oracle", moon_phase="full")
    await server.event_happens("event_detected", event)

    await until_state(hass, SCORE, "99")
    assert value(hass, "sensor.front_door_risk_level") == "unknown"
    state = hass.states.get(EVENT)
    assert state
    assert state.attributes["level"] is None
    assert state.attributes["source"] is None
    assert server.subscriptions == [None]


@pytest.mark.parametrize("how", ["told", "close code", "refused on return"])
async def test_asks_for_a_new_token_when_the_old_one_is_revoked(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, how: str
) -> None:
    if how == "told":
        await server.send({"type": "auth_failed", "code": "unauthorized", "detail": "Revoked.", "remedy": ""})
    if how in ("told", "close code"):
        await server.hang_up(4401)
    else:
        server.token = "another"
        server.cut()
    await until_state(hass, SCORE, "unavailable")
    await until(hass, lambda: bool(hass.config_entries.flow.async_progress()))

    [flow] = hass.config_entries.flow.async_progress()
    assert flow["context"]["source"] == SOURCE_REAUTH
    assert loaded.state is ConfigEntryState.LOADED


async def test_comes_back_when_the_server_knows_the_token_again(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator, "REFUSED_DELAY", 0.1)
    server.token = "another"
    server.cut()
    await until(hass, lambda: bool(hass.config_entries.flow.async_progress()))
    server.token = samples.TOKEN
    await until_state(hass, SCORE, "0")


async def test_notices_another_server_in_the_same_place(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, issue_registry: ir.IssueRegistry
) -> None:
    server.first_frame = samples.hello(server_id=samples.OTHER_SERVER_ID)
    server.token = "that of the other server"
    server.tokens.clear()
    server.cut()
    await until(hass, lambda: bool(issue_registry.issues))
    assert value(hass, SCORE) == "unavailable"
    assert [key for _, key in issue_registry.issues] == [f"wrong_server_{loaded.entry_id}"]
    assert server.tokens == []
    assert not hass.config_entries.flow.async_progress()

    server.first_frame, server.token = samples.hello(), samples.TOKEN
    await until_state(hass, SCORE, "0")
    assert not issue_registry.issues


async def test_a_lasting_connection_is_tried_again_at_once(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    def only_at_once() -> Iterator[float]:
        started.append(True)
        yield 0.0

    monkeypatch.setattr(coordinator, "STABLE_AFTER", 0)
    monkeypatch.setattr(coordinator, "reconnect_delays", only_at_once)
    for _ in range(2):
        await _lose(hass, server)
        await until_state(hass, SCORE, "0")
    assert started == [True, True]


async def test_asking_for_an_update_changes_nothing(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer
) -> None:
    assert await async_setup_component(hass, "homeassistant", {})
    ask = ("homeassistant", "update_entity", {"entity_id": SCORE})
    await hass.services.async_call(*ask, blocking=True)
    assert value(hass, SCORE) == "0"

    await server.stop()
    await until_state(hass, SCORE, "unavailable")
    await loaded.runtime_data.async_refresh()
    assert value(hass, SCORE) == "unavailable"


async def test_a_mistake_of_ours_makes_nothing_look_safe(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    with patch.object(coordinator, "async_update_devices", side_effect=ZeroDivisionError):
        await server.push("camera_added", camera=samples.camera("garden"))
        await until_state(hass, SCORE, "unavailable")
    await until_state(hass, "sensor.garden_risk_score", "0")
    assert value(hass, SCORE) == "0"
    assert server.subscriptions[1] is None
    assert "ZeroDivisionError" in caplog.text
