# SPDX-License-Identifier: AGPL-3.0-or-later
"""From a file to entities: an event begins, its risk rises, it ends."""

from tests.e2e.house import E2E, House
from tests.e2e.watch import Watch
from tests.support import scenes

pytestmark = E2E


async def test_a_picture_becomes_an_event_that_ends(house: House, watch: Watch) -> None:
    house.drop("front_door", scenes.encode(scenes.bus()))
    detected = await watch.fired("front_door", "detected")
    points = {factor["name"]: factor["points"] for factor in detected["factors"]}
    assert (detected["score"], detected["level"]) == (sum(points.values()), "medium")
    assert detected["objects"] == {"person": 3, "bus": 1}
    assert detected["summary"] == "3 people and a bus by day"
    points.pop("after_dark", None)  # where the house is, the sun may be down
    assert points == {"person_seen": 20, "several_people": 6}
    assert (detected["source"], detected["verified"], detected["camera_name"]) == ("rules", False, "Front door")

    await watch.state("sensor.front_door_risk_score", str(detected["score"]))
    assert watch.value("sensor.front_door_risk_level") == "medium"
    assert watch.value("sensor.home_security_intelligence_highest_open_risk") == str(detected["score"])
    occupancy = {kind: watch.value(f"binary_sensor.front_door_{kind}") for kind in ("person", "vehicle", "animal")}
    assert occupancy == {"person": "on", "vehicle": "on", "animal": "off"}

    ended = await watch.fired("front_door", "ended")
    assert ended["event_id"] == detected["event_id"]
    await watch.state("sensor.front_door_risk_score", "0")
    assert watch.value("binary_sensor.front_door_person") == "off"
    assert watch.event_types("front_door") == ["detected", "ended"]


async def test_a_rising_level_is_told_once(house: House, watch: Watch) -> None:
    house.drop("back_door", scenes.encode(scenes.one_person()))
    detected = await watch.fired("back_door", "detected")
    assert (detected["level"], detected["objects"]) == ("low", {"person": 1})

    house.drop("back_door", scenes.encode(scenes.bus()))
    escalated = await watch.fired("back_door", "escalated")
    assert (escalated["previous_level"], escalated["level"]) == ("low", "medium")
    assert escalated["event_id"] == detected["event_id"]
    assert escalated["score"] > detected["score"]
    await watch.fired("back_door", "ended")
    assert watch.event_types("back_door") == ["detected", "escalated", "ended"]
