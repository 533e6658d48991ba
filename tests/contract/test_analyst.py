# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the analyst will do, once it exists: a second opinion on a running event reaches the event entity."""

from dataclasses import replace

from homeassistant.core import HomeAssistant
from pytest_homeassistant_custom_component.common import MockConfigEntry

from inference_server.core.announcement import Announcement, AnnouncementKind
from inference_server.core.assessment import AssessmentSource, LevelThresholds, risk_level
from inference_server.core.event import Event
from inference_server.storage import cameras, events
from inference_server.storage.events import EventChange
from tests.contract.security_events import SecurityEvents
from tests.integration.waiting import set_up, until, value
from tests.support.home import Home, assessment

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
