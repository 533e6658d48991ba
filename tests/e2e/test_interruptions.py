# SPDX-License-Identifier: AGPL-3.0-or-later
"""The server goes away and comes back; so does Home Assistant. Nobody has to do anything."""

import asyncio
import time
from contextlib import suppress

from tests.e2e.house import E2E, House, Json
from tests.e2e.phone import automate, phone
from tests.e2e.watch import UNAVAILABLE, UNKNOWN, Watch
from tests.support import scenes

pytestmark = E2E

CAMERA = "gate"
SCORE = f"sensor.{CAMERA}_risk_score"


async def test_a_stopped_server_is_seen_at_once_and_what_it_missed_is_made_up_for(house: House, watch: Watch) -> None:
    house.drop(CAMERA, scenes.encode(scenes.nobody()))
    await watch.until(SCORE, lambda: watch.value(SCORE) == "0")
    ours = await _our_entities(house)
    assert SCORE in ours

    changes: list[Json] = []
    following = asyncio.create_task(_follow_entry(house, changes))
    house.losses += 1
    stopped_at = time.monotonic()
    await house.server.stop()
    await watch.until("unavailability", lambda: {watch.value(entity) for entity in ours} == {UNAVAILABLE})
    assert watch.changes[-1].at - stopped_at < 2

    house.drop(CAMERA, scenes.encode(scenes.bus()))
    await house.server.start()
    detected = await watch.fired(CAMERA, "detected", timeout=30)
    assert detected["level"] == "medium"
    await watch.fired(CAMERA, "ended")
    await watch.state(SCORE, "0")
    judged = [value for value in watch.values(SCORE) if value != UNKNOWN]
    assert judged[-4:] == [UNAVAILABLE, "0", str(detected["score"]), "0"]
    assert UNAVAILABLE not in {watch.value(entity) for entity in ours}
    assert watch.event_types(CAMERA) == ["detected", "ended"]
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following
    assert {change["entry"]["state"] for change in changes} == {"loaded"}
    assert len(changes) == 1, "the entry was reloaded"


async def test_a_restarted_home_assistant_knows_what_is_going_on(house: House) -> None:
    events, name = "event.street_security_event", "tell_of_the_street"
    async with phone(house.client) as a_phone:
        async with house.watching() as watch:
            house.drop("street", scenes.encode(scenes.bus()))
            before = await watch.fired("street", "detected")
            await watch.fired("street", "ended")
            await automate(house.client, name, events=[events], phone=a_phone.device_id, minimum_level="medium")
            await watch.state(f"automation.{name}", "on")
        await house.stop_home_assistant()
        house.drop("street", scenes.encode(scenes.bus()))
        missed = await _next_event_that_is_over(house, "street", before["event_id"])
        await house.start_home_assistant()

        assert (await house.entry())["state"] == "loaded"
        async with house.watching() as watch:
            assert watch.value("sensor.street_risk_score") == "0"
            assert watch.value("sensor.home_security_intelligence_detector") == "YOLOv3-tiny"
            pushed = await a_phone.receive()
            assert pushed["data"]["tag"] == f"hsi_{events}_{missed['id']}"
            await watch.until(
                "the end of what was missed", lambda: _last_fired(watch, events) == ("ended", missed["id"])
            )

            house.drop("street", scenes.encode(scenes.bus()))
            pushed = await a_phone.receive()
            await watch.until("a new event", lambda: _last_fired(watch, events)[0] == "detected")
            _, event_id = _last_fired(watch, events)
            assert event_id > missed["id"]
            assert pushed["data"]["tag"] == f"hsi_{events}_{event_id}"
            score = watch.states[events]["attributes"]["score"]
            assert score >= 25, "people count each time, a bus that has been standing there does not"
            await watch.state("sensor.street_risk_score", str(score))
            assert a_phone.is_silent
        await house.client.delete(f"/api/config/automation/config/{name}")


def _last_fired(watch: Watch, entity_id: str) -> tuple[str, int]:
    """The type and the event that an event entity fired last."""
    attributes = watch.states[entity_id]["attributes"]
    return attributes["event_type"], attributes["event_id"]


async def _next_event_that_is_over(house: House, camera: str, after: int) -> Json:
    """Wait until the server has closed an event that began after another, without asking Home Assistant."""
    async with house.ask_server() as http, asyncio.timeout(30):
        while True:
            async with http.get("/api/events", params={"camera_id": camera}) as answer:
                newest: Json = (await answer.json())["items"][0]
            if newest["id"] > after and newest["ended_at"]:
                return newest
            await asyncio.sleep(0.2)


async def _our_entities(house: House) -> set[str]:
    """The entities of the integration that are enabled."""
    registry = await house.client.call("config/entity_registry/list")
    entry_id = (await house.entry())["entry_id"]
    return {
        entity["entity_id"]
        for entity in registry
        if entity["config_entry_id"] == entry_id and entity["disabled_by"] is None
    }


async def _follow_entry(house: House, changes: list[Json]) -> None:
    """Note every change of the config entry; the first one is how it is now."""
    entry_id = (await house.entry())["entry_id"]
    async with house.client.subscribe_command("config_entries/subscribe") as news:
        async for changed in news:
            some: list[Json] = list(changed)  # type: ignore[arg-type]  # this command sends lists
            changes += [change for change in some if change["entry"]["entry_id"] == entry_id]
