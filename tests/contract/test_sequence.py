# SPDX-License-Identifier: AGPL-3.0-or-later
"""Connections that break while pictures pour in: no event is missed, none is fired twice."""

import asyncio

from homeassistant.core import HomeAssistant

from scripts.development.inference_server import InferenceServer
from tests.contract.connection import connected, get, has_picture
from tests.contract.proxy import cable
from tests.contract.security_events import SecurityEvents
from tests.integration.waiting import until
from tests.support import scenes

CAMERA = "broken_line"
CUTS = 5
EVENTS = 4


async def test_five_cut_connections_miss_nothing_and_repeat_nothing(
    hass: HomeAssistant, server: InferenceServer, security_events: SecurityEvents
) -> None:
    async with cable(server.port) as line:
        entry = await connected(hass, server, line.port)
        writing = asyncio.create_task(_write_events(server, security_events, hass))
        for _ in range(CUTS):
            before = line.connections
            scenes.drop(server.watch_root / "other_street", scenes.encode(scenes.bus()))
            await asyncio.sleep(0.3)  # somewhere in the middle of the pictures; any moment will do
            line.cut()
            await until(hass, lambda before=before: line.connections > before)  # type: ignore[misc]
        await writing

        told = [fired.attributes["event_id"] for fired in security_events.fired if fired.camera == CAMERA]
        assert security_events.of(CAMERA) == ["detected", "ended"] * EVENTS
        assert len(set(told)) == EVENTS
        assert line.connections > CUTS
        listed = (await get(server, f"/api/events?camera_id={CAMERA}"))["items"]
        assert sorted(set(told)) == sorted(event["id"] for event in listed)
        await hass.config_entries.async_unload(entry.entry_id)


async def _write_events(server: InferenceServer, seen: SecurityEvents, hass: HomeAssistant) -> None:
    """Begin the next event when Home Assistant has seen the end of the one before."""
    for number in range(1, EVENTS + 1):
        for _ in range(3):
            scenes.drop(server.watch_root / CAMERA, scenes.encode(scenes.bus()))
            await asyncio.sleep(0.1)
        await until(hass, lambda number=number: seen.of(CAMERA).count("ended") >= number)  # type: ignore[misc]


async def test_after_a_cut_only_what_was_missed_is_asked_for(hass: HomeAssistant, server: InferenceServer) -> None:
    async with cable(server.port) as line:
        entry = await connected(hass, server, line.port)
        coordinator = entry.runtime_data
        scenes.drop(server.watch_root / "quiet_street", scenes.encode(scenes.nobody()))
        await until(hass, lambda: has_picture(hass, "quiet_street"))
        camera, sequence = coordinator.data.cameras["quiet_street"], coordinator.last_sequence

        before = line.connections
        line.cut()
        await until(hass, lambda: line.connections > before and coordinator.last_update_success)
        assert coordinator.last_sequence >= sequence
        # a snapshot would have built a new camera object; a replay keeps the one it has
        assert coordinator.data.cameras["quiet_street"] is camera
        await hass.config_entries.async_unload(entry.entry_id)


async def test_what_happened_while_nobody_followed_is_told_once(
    hass: HomeAssistant, server: InferenceServer, security_events: SecurityEvents
) -> None:
    camera = "back_yard"
    entry = await connected(hass, server)
    scenes.drop(server.watch_root / camera, scenes.encode(scenes.bus()))
    await until(hass, lambda: security_events.of(camera) == ["detected", "ended"])
    await hass.config_entries.async_unload(entry.entry_id)

    scenes.drop(server.watch_root / camera, scenes.encode(scenes.bus()))
    await _until_over(server, camera, events=2)
    for _ in range(2):
        await hass.config_entries.async_setup(entry.entry_id)
        await hass.async_block_till_done()
        assert security_events.of(camera) == ["detected", "ended"] * 2
        await hass.config_entries.async_unload(entry.entry_id)
    first, _, second, last = [fired.attributes["event_id"] for fired in security_events.fired if fired.camera == camera]
    assert first < second == last


async def _until_over(server: InferenceServer, camera: str, events: int) -> None:
    """Wait until that many events of a camera have ended, without asking Home Assistant."""
    async with asyncio.timeout(20):
        while True:
            items = (await get(server, f"/api/events?camera_id={camera}"))["items"]
            if [bool(event["ended_at"]) for event in items] == [True] * events:
                return
            await asyncio.sleep(0.2)
