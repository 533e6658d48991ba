# SPDX-License-Identifier: AGPL-3.0-or-later
"""From files in two cameras' folders to one story: over the WebSocket, over REST and in Home Assistant."""

import asyncio

from homeassistant.core import HomeAssistant

from scripts.development.inference_server import InferenceServer
from tests.contract.connection import connected, get, session
from tests.integration.waiting import until, value
from tests.support import scenes
from tests.support.subscriber import Json, Subscriber

OPEN = "sensor.home_security_intelligence_open_incidents"
DRIVE, DOOR, ELSEWHERE = "story_drive", "story_door", "story_elsewhere"


async def test_who_goes_from_one_camera_to_the_next_is_one_incident(
    hass: HomeAssistant, server: InferenceServer
) -> None:
    await connected(hass, server)
    async with session(server) as http, http.ws_connect("/api/ws") as socket:
        subscriber = Subscriber(socket, server.token)
        await subscriber.subscribe(None)
        for camera_id in (DRIVE, DOOR, ELSEWHERE):
            scenes.drop(server.watch_root / camera_id, scenes.encode(scenes.nobody()))
            await _until(subscriber, "camera_added", camera_id)
        async with http.patch(f"/api/cameras/{DRIVE}", json={"leads_to": [DOOR]}) as answer:
            assert answer.ok, await answer.text()
        before = {one["id"] for one in (await get(server, "/api/incidents"))["items"]}
        scenes.drop(server.watch_root / DRIVE, scenes.encode(scenes.one_person()))
        started = await _until(subscriber, "incident_started", DRIVE)
        scenes.drop(server.watch_root / ELSEWHERE, scenes.encode(scenes.one_person()))
        await _until(subscriber, "incident_started", ELSEWHERE)
        scenes.drop(server.watch_root / DOOR, scenes.encode(scenes.one_person()))
        updated = await _until(subscriber, "incident_updated", DOOR)
    incident = updated["data"]["incident"]
    assert incident["id"] == started["data"]["incident"]["id"]
    assert incident["cameras"] == [DRIVE, DOOR]
    assert incident["title"] == "A person: Story drive, Story door"
    new = {one["id"]: one for one in (await get(server, "/api/incidents"))["items"] if one["id"] not in before}
    assert {tuple(one["cameras"]) for one in new.values()} == {(DRIVE, DOOR), (ELSEWHERE,)}
    whole = await get(server, f"/api/incidents/{incident['id']}")
    assert [event["camera_id"] for event in whole["events"]] == [DRIVE, DOOR]
    expected = str(len((await get(server, "/api/incidents?open=true&limit=200"))["items"]))
    await until(hass, lambda: value(hass, OPEN) == expected)


async def _until(subscriber: Subscriber, kind: str, camera_id: str) -> Json:
    """Return the first message of a kind that is about a camera."""
    async with asyncio.timeout(30):
        while True:
            message = await subscriber.receive()
            if message.get("kind") == kind and camera_id in _cameras_of(message["data"]):
                return message


def _cameras_of(data: Json) -> list[str]:
    if incident := data.get("incident"):
        cameras: list[str] = incident["cameras"]
        return cameras
    return [data["camera"]["id"]]
