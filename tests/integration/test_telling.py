# SPDX-License-Identifier: Apache-2.0
"""What happened while Home Assistant, or the entry, was away is told when somebody can hear it."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import EVENT_HOMEASSISTANT_FINAL_WRITE, EVENT_HOMEASSISTANT_STARTED, EVENT_STATE_CHANGED
from homeassistant.core import CoreState, Event, EventStateChangedData, HomeAssistant, callback
from homeassistant.util import dt as dt_util
from pytest_homeassistant_custom_component.common import MockConfigEntry, async_fire_time_changed

from custom_components.home_security_intelligence import telling
from custom_components.home_security_intelligence.client import CannotConnect, HsiClient, HsiSession
from custom_components.home_security_intelligence.client.messages import Replay, Snapshot
from custom_components.home_security_intelligence.const import DOMAIN
from custom_components.home_security_intelligence.event import SecurityEventEntity
from tests.integration import samples
from tests.integration.fake_server import FakeServer
from tests.integration.waiting import until, until_state, value

SCORE = "sensor.front_door_risk_score"
EVENT = "event.front_door_security_event"
OVER = {"ended_at": samples.MORNING, "end_reason": "idle"}


@pytest.fixture
async def away(hass: HomeAssistant, loaded: MockConfigEntry) -> MockConfigEntry:
    """An entry that was followed before and is not now."""
    await hass.config_entries.async_unload(loaded.entry_id)
    return loaded


@pytest.fixture
def told(hass: HomeAssistant) -> list[tuple[str, str]]:
    """The cameras and types of all security events of which a trigger learns: it needs to know the state before."""
    told: list[tuple[str, str]] = []

    @callback
    def note(event: Event[EventStateChangedData]) -> None:
        old, new = event.data["old_state"], event.data["new_state"]
        if new and "event_id" in new.attributes and old and old.state not in ("unavailable", new.state):
            told.append((new.attributes["camera_name"], new.attributes["event_type"]))

    hass.bus.async_listen(EVENT_STATE_CHANGED, note)
    return told


def begins(server: FakeServer, event: samples.Json) -> None:
    """Let an event begin that nobody is told about."""
    server.record("event_detected", event=event, camera=samples.busy_camera(event))


async def come_back(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    """Follow the server again."""
    await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()


async def seconds_pass(hass: HomeAssistant, seconds: float) -> None:
    """Let timers of Home Assistant run."""
    async_fire_time_changed(hass, dt_util.utcnow() + timedelta(seconds=seconds))
    await hass.async_block_till_done()


async def test_an_event_that_began_meanwhile_is_told_once(
    hass: HomeAssistant, away: MockConfigEntry, server: FakeServer, event_types: list[str]
) -> None:
    begins(server, samples.event())
    await come_back(hass, away)
    assert event_types == ["detected"]
    assert value(hass, SCORE) == "35"
    assert server.subscriptions == [None, None, 10]

    await hass.config_entries.async_reload(away.entry_id)
    await hass.async_block_till_done()
    assert event_types == ["detected"]
    assert server.subscriptions == [None, None, 10, None]
    state = hass.states.get(EVENT)
    assert state
    assert state.attributes["event_id"] == 9


async def test_everything_is_told_in_order_except_of_removed_cameras(
    hass: HomeAssistant, away: MockConfigEntry, server: FakeServer, told: list[tuple[str, str]]
) -> None:
    begins(server, samples.event(1, "garden"))
    begins(server, samples.event(2))
    begins(server, samples.event(3, "cellar"))
    server.record("camera_updated", camera=samples.camera("yard"))
    server.record("event_ended", event=samples.event(1, "garden") | OVER, camera=samples.camera("garden"))
    server.record("event_ended", event=samples.event(2) | OVER, camera=samples.camera(last_event_id=2))
    server.record("camera_removed", camera_id="cellar")
    begins(server, samples.event(4))

    await come_back(hass, away)
    await server.push("camera_added", camera=samples.camera("cellar"))
    await until_state(hass, "sensor.cellar_risk_score", "0")
    assert told == [
        ("Garden", "detected"),
        ("Front door", "detected"),
        ("Garden", "ended"),
        ("Front door", "ended"),
        ("Front door", "detected"),
    ]


async def test_everything_is_told_of_a_camera_whose_entity_is_added_slowly(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: FakeServer,
    told: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def restore_slowly(entity: SecurityEventEntity) -> None:
        await asyncio.sleep(0.1)

    monkeypatch.setattr(SecurityEventEntity, "async_get_last_state", restore_slowly)
    await server.event_happens("event_detected", samples.event(1, "garden"))
    await server.event_happens("event_ended", samples.event(1, "garden") | OVER)
    await until(hass, lambda: len(told) == 2)
    assert told == [("Garden", "detected"), ("Garden", "ended")]


async def test_what_happens_while_looking_back_is_told_once(
    hass: HomeAssistant,
    away: MockConfigEntry,
    server: FakeServer,
    event_types: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begins(server, samples.event(9))
    connect = HsiClient.connect
    connections = 0

    async def connect_slowly(client: HsiClient, server_id: str | None = None) -> HsiSession:
        nonlocal connections
        connections += 1
        if connections == 2:
            await server.subscribed.wait()
            await server.event_happens("event_ended", samples.event(9) | OVER)
            await server.event_happens("event_detected", samples.event(10, risk={"score": 40, "level": "medium"}))
        return await connect(client, server_id)

    monkeypatch.setattr(HsiClient, "connect", connect_slowly)
    server.subscribed.clear()
    await come_back(hass, away)
    await until_state(hass, SCORE, "40")
    assert connections == 2
    assert event_types == ["detected", "ended", "detected"]


async def test_what_happens_while_unloading_is_told_the_next_time(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: FakeServer,
    event_types: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unload_platforms = hass.config_entries.async_unload_platforms
    coordinator = loaded.runtime_data

    async def unload_slowly(*args: Any) -> bool:
        unloaded = await unload_platforms(*args)
        heard = asyncio.Event()
        coordinator.async_add_listener(heard.set)
        await server.event_happens("event_detected", samples.event())
        await asyncio.wait_for(heard.wait(), 10)
        return unloaded

    monkeypatch.setattr(hass.config_entries, "async_unload_platforms", unload_slowly)
    await hass.config_entries.async_unload(loaded.entry_id)
    assert event_types == []
    await come_back(hass, loaded)
    assert event_types == ["detected"]


async def test_a_longer_absence_ends_quietly(
    hass: HomeAssistant, away: MockConfigEntry, server: FakeServer, event_types: list[str]
) -> None:
    begins(server, samples.event())
    server.oldest_replayable = server.sequence
    await come_back(hass, away)
    assert value(hass, SCORE) == "35"
    assert event_types == []

    await server.event_happens("event_ended", samples.event() | OVER)
    await until_state(hass, SCORE, "0")
    assert event_types == ["ended"]


async def test_an_unintelligible_past_keeps_nobody_from_the_present(
    hass: HomeAssistant,
    away: MockConfigEntry,
    server: FakeServer,
    event_types: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    begins(server, samples.event())
    server.log[-1]["data"].pop("event")
    await come_back(hass, away)
    assert value(hass, SCORE) == "35"
    assert event_types == []
    assert "What happened on Home Security Intelligence before cannot be told" in caplog.text


async def test_a_past_that_cannot_be_fetched_is_asked_for_again(
    hass: HomeAssistant,
    away: MockConfigEntry,
    server: FakeServer,
    event_types: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begins(server, samples.event())
    subscribe = HsiSession.subscribe

    async def subscribe_once(session: HsiSession, last_sequence: int | None) -> Snapshot | Replay:
        if last_sequence is not None:
            raise CannotConnect("gone")
        return await subscribe(session, last_sequence)

    with monkeypatch.context() as patches:
        patches.setattr(HsiSession, "subscribe", subscribe_once)
        await come_back(hass, away)
        assert away.state is ConfigEntryState.SETUP_RETRY
    await hass.config_entries.async_reload(away.entry_id)
    await hass.async_block_till_done()
    assert event_types == ["detected"]


async def test_nothing_is_told_before_automations_listen(
    hass: HomeAssistant, away: MockConfigEntry, server: FakeServer, event_types: list[str]
) -> None:
    begins(server, samples.event())
    hass.set_state(CoreState.not_running)
    await come_back(hass, away)
    await server.event_happens("event_ended", samples.event() | OVER)
    await until_state(hass, SCORE, "0")

    hass.set_state(CoreState.running)
    hass.bus.async_fire(EVENT_HOMEASSISTANT_STARTED)
    await hass.async_block_till_done()
    await server.event_happens("event_detected", samples.event(10))
    await until_state(hass, SCORE, "35")
    assert event_types == []

    await seconds_pass(hass, telling.AUTOMATIONS_READY_AFTER + 1)
    assert event_types == ["detected", "ended", "detected"]
    await server.event_happens("event_ended", samples.event(10) | OVER)
    await until_state(hass, SCORE, "0")
    assert event_types == ["detected", "ended", "detected", "ended"]


@pytest.mark.parametrize("started", [False, True])
async def test_what_was_not_told_before_unloading_is_told_the_next_time(
    hass: HomeAssistant, away: MockConfigEntry, server: FakeServer, event_types: list[str], started: bool
) -> None:
    hass.set_state(CoreState.not_running)
    await come_back(hass, away)
    await server.event_happens("event_detected", samples.event())
    await until_state(hass, SCORE, "35")
    if started:
        hass.set_state(CoreState.running)
        hass.bus.async_fire(EVENT_HOMEASSISTANT_STARTED)
        await hass.async_block_till_done()
    await hass.config_entries.async_unload(away.entry_id)
    hass.set_state(CoreState.running)
    hass.bus.async_fire(EVENT_HOMEASSISTANT_STARTED)
    await seconds_pass(hass, telling.AUTOMATIONS_READY_AFTER + 1)
    await seconds_pass(hass, telling.SAVE_NEWS_WITHIN + 1)
    assert event_types == []

    await come_back(hass, away)
    assert event_types == ["detected"]


async def test_progress_is_saved_soon_after_news_and_later_otherwise(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    server: FakeServer,
    hass_storage: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(telling, "SAVE_SILENCE_WITHIN", 20.0)
    key = f"{DOMAIN}.{entry.entry_id}"
    entry.add_to_hass(hass)
    await come_back(hass, entry)
    await server.push("camera_updated", camera=samples.unjudged_camera())
    await until_state(hass, SCORE, "unknown")
    await seconds_pass(hass, telling.SAVE_NEWS_WITHIN + 1)
    assert key not in hass_storage
    await seconds_pass(hass, 21)
    assert hass_storage[key]["data"] == {"last_sequence": 11}

    await server.event_happens("event_detected", samples.event())
    await until_state(hass, SCORE, "35")
    await server.push("camera_updated", camera=samples.unjudged_camera())
    await until_state(hass, SCORE, "unknown")
    await seconds_pass(hass, telling.SAVE_NEWS_WITHIN + 1)
    assert hass_storage[key]["data"] == {"last_sequence": 13}


async def test_progress_is_saved_when_home_assistant_stops(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, hass_storage: dict[str, Any]
) -> None:
    await server.push("camera_updated", camera=samples.unjudged_camera())
    await until_state(hass, SCORE, "unknown")
    hass.bus.async_fire(EVENT_HOMEASSISTANT_FINAL_WRITE)
    await hass.async_block_till_done()
    assert hass_storage[f"{DOMAIN}.{loaded.entry_id}"]["data"] == {"last_sequence": 11}


async def test_what_made_no_sense_is_not_saved_as_told(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, hass_storage: dict[str, Any]
) -> None:
    server.auth_answer = {"type": "auth_failed", "code": "unauthorized", "detail": "Revoked.", "remedy": ""}
    await server.send({"type": "message", "sequence": 99, "kind": "camera_removed", "data": {"camera_id": "x"}})
    await until_state(hass, SCORE, "unavailable")
    assert loaded.runtime_data.last_sequence is None
    await hass.config_entries.async_unload(loaded.entry_id)
    assert hass_storage[f"{DOMAIN}.{loaded.entry_id}"]["data"] == {"last_sequence": 10}
