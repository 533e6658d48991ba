# SPDX-License-Identifier: AGPL-3.0-or-later
"""The analyst: a second opinion on a running event reaches Home Assistant, also when the analyst was away before."""

import asyncio
from dataclasses import replace
from pathlib import Path

from homeassistant.core import HomeAssistant
from pytest_homeassistant_custom_component.common import MockConfigEntry

from inference_server.core.announcement import Announcement, AnnouncementKind
from inference_server.core.assessment import AssessmentSource, LevelThresholds, risk_level
from inference_server.core.event import Event
from inference_server.storage import cameras, events
from inference_server.storage.events import EventChange
from scripts.development.process import free_port
from tests.contract.conftest import PIPELINE_SETTINGS
from tests.contract.connection import connected, get, running_server
from tests.contract.security_events import SecurityEvents
from tests.integration.waiting import set_up, until, value
from tests.support import scenes
from tests.support.home import Home, assessment
from tests.support.openai_server import scripted_server
from tests.support.weights import models_folder

CAMERA = "front_door"


async def test_a_verdict_of_the_model_fires_assessed(
    hass: HomeAssistant, entry: MockConfigEntry, a_home: Home, security_events: SecurityEvents
) -> None:
    event = await a_home.event(await a_home.camera(CAMERA), score=35)
    await set_up(hass, entry)
    assert value(hass, f"sensor.{CAMERA}_risk_score") == "35"

    await _assess(a_home, event, score=72)
    await until(hass, lambda: security_events.of(CAMERA) == ["assessed"])
    shown = security_events.fired[-1].attributes
    assert (shown["score"], shown["level"], shown["source"], shown["verified"]) == (72, "high", "model", True)
    assert shown["previous_level"] == "medium"
    assert shown["summary"] == "Somebody tries the door"
    assert value(hass, f"sensor.{CAMERA}_risk_score") == "72"
    assert value(hass, f"sensor.{CAMERA}_risk_level") == "high"


async def test_a_verdict_on_a_camera_that_was_removed_leaves_the_connection_alone(
    hass: HomeAssistant, entry: MockConfigEntry, a_home: Home, security_events: SecurityEvents
) -> None:
    event = await a_home.event(await a_home.camera("garden"))
    await a_home.camera(CAMERA)
    await set_up(hass, entry)
    async with a_home.database.writing() as connection:
        await cameras.remove(connection, "garden", a_home.clock.now())
    await a_home.announce(Announcement(AnnouncementKind.CAMERA_REMOVED, "garden", a_home.clock.now()))
    await _assess(a_home, event, score=72)

    await _burglary(a_home)
    await until(hass, lambda: security_events.of(CAMERA) == ["detected"])
    assert security_events.of("garden") == []
    assert entry.runtime_data.last_update_success


async def test_an_analyst_that_was_away_explains_what_happened_meanwhile(
    hass: HomeAssistant, tmp_path: Path, security_events: SecurityEvents
) -> None:
    """From a file in a camera's folder to the entities: first as the rules see it, then as the analyst does."""
    async with scripted_server(down=True) as analyst:
        settings = PIPELINE_SETTINGS | {
            "HSI_MODELS_DIR": str(models_folder()),
            "HSI_BATCH__IDLE_SECONDS": "50",
            "HSI_ANALYST__URL": analyst.url,
        }
        async with running_server(tmp_path, free_port(), settings) as server:
            await connected(hass, server)
            scenes.drop(server.watch_root / "gate", scenes.encode(scenes.one_person()))
            await until(hass, lambda: security_events.of("gate") == ["detected"])
            shown = security_events.fired[-1].attributes
            assert (shown["source"], shown["verified"]) == ("rules", False)
            before = int(value(hass, "sensor.gate_risk_score"))
            assert before == shown["score"]
            assert (await get(server, "/api/system/info"))["analyst"]["state"] == "down"

            analyst.down = False
            async with asyncio.timeout(100):  # it is looked for after 5 s, 10 s, 20 s and so on
                while security_events.of("gate") != ["detected", "assessed"]:  # noqa: ASYNC110 - another process tells
                    await asyncio.sleep(0.1)
            shown = security_events.fired[-1].attributes
            assert (shown["source"], shown["verified"], shown["score"]) == ("model", True, before + 15)
            assert shown["summary"] == "A person is there."
            assert "suspicious_pattern" in str(shown["factors"])
            assert value(hass, "sensor.gate_risk_score") == str(before + 15)


async def _assess(home: Home, event: Event, score: int) -> None:
    """Store a verdict of the model and announce it, in one transaction as a stage does."""
    verdict = replace(
        assessment(score, home.clock.move(seconds=1)),
        summary="Somebody tries the door",
        source=AssessmentSource.MODEL,
        verified=True,
    )
    change = EventChange(
        event.last_detection_at, event.frame_count, event.best_frame_id, event.best_confidence, event.tracks, verdict
    )
    async with home.database.writing() as connection:
        judged = await events.change(connection, event, change)
        state = await cameras.state(connection, event.camera_id, judged=True)
    before = risk_level(event.assessment.score, LevelThresholds())
    now = home.clock.now()
    await home.announce(
        Announcement(AnnouncementKind.EVENT_ASSESSED, event.camera_id, now, state, judged, previous_level=before)
    )


async def _burglary(home: Home) -> None:
    event = await home.event(CAMERA, score=90)
    async with home.database.reading() as connection:
        state = await cameras.state(connection, CAMERA, judged=True)
    await home.announce(Announcement(AnnouncementKind.EVENT_DETECTED, CAMERA, home.clock.now(), state, event))
