# SPDX-License-Identifier: AGPL-3.0-or-later
"""The blueprint tells a phone, once per event, with a picture."""

from tests.e2e.house import E2E, House
from tests.e2e.phone import automate, phone
from tests.e2e.watch import Watch
from tests.support import scenes

pytestmark = E2E

CAMERA = "driveway"
EVENTS = f"event.{CAMERA}_security_event"


async def test_the_phone_learns_of_an_event_and_gets_its_picture(house: House, watch: Watch) -> None:
    house.drop(CAMERA, scenes.encode(scenes.nobody()))
    await watch.until(EVENTS, lambda: watch.value(EVENTS))
    async with phone(house.client) as a_phone:
        await automate(house.client, "tell_the_phone", events=[EVENTS], phone=a_phone.device_id, minimum_level="medium")
        await watch.state("automation.tell_the_phone", "on")

        house.drop(CAMERA, scenes.encode(scenes.one_person()))
        await watch.fired(CAMERA, "detected")
        house.drop(CAMERA, scenes.encode(scenes.bus()))
        event = await watch.fired(CAMERA, "escalated")
        pushed = await a_phone.receive()
        assert pushed["push_token"] == "the-phones-token"
        assert pushed["title"] == f"Driveway: medium risk ({event['score']})"
        assert pushed["message"] == event["summary"] == "3 people and a bus by day"
        assert pushed["data"]["tag"] == f"hsi_{EVENTS}_{event['event_id']}"
        picture = await house.client.download(pushed["data"]["image"])
        assert picture.startswith(b"\xff\xd8")

        await watch.fired(CAMERA, "ended")
        assert a_phone.is_silent
        await house.client.delete("/api/config/automation/config/tell_the_phone")
