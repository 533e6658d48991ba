# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files in, entities out: Home Assistant shows what the server's own lists say."""

from datetime import datetime
from pathlib import Path

from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.home_security_intelligence.client.fields import Fields
from custom_components.home_security_intelligence.client.models import Camera, Event
from scripts.development.inference_server import InferenceServer
from scripts.development.process import free_port
from tests.contract.conftest import PIPELINE_SETTINGS
from tests.contract.connection import Json, connected, get, has_picture, running_server
from tests.contract.security_events import SecurityEvents
from tests.integration.waiting import until, value
from tests.support import scenes
from tests.support.weights import models_folder

CAMERAS = ("pipeline_gate", "pipeline_yard")
HIGHEST_RISK = "sensor.home_security_intelligence_highest_open_risk"


async def test_entities_follow_an_event_from_its_first_picture_to_its_end(
    hass: HomeAssistant, server: InferenceServer, security_events: SecurityEvents
) -> None:
    entry = await connected(hass, server)
    gate, yard = CAMERAS
    scenes.drop(server.watch_root / gate, scenes.encode(scenes.one_person()))
    scenes.drop(server.watch_root / yard, scenes.encode(scenes.nobody()))
    await until(hass, lambda: security_events.of(gate) == ["detected"])
    scenes.drop(server.watch_root / gate, scenes.encode(scenes.bus()))
    await until(hass, lambda: security_events.of(gate) == ["detected", "escalated"])
    await until(hass, lambda: has_picture(hass, yard))

    await _assert_same(hass, server, entry)
    assert value(hass, f"binary_sensor.{gate}_person") == "on"
    escalated = security_events.fired[-1].attributes
    assert (escalated["previous_level"], escalated["level"]) == ("low", "medium")

    await until(hass, lambda: security_events.of(gate) == ["detected", "escalated", "ended"])
    await _assert_same(hass, server, entry)
    assert value(hass, f"sensor.{gate}_risk_score") == "0"
    assert security_events.of(yard) == []


async def test_a_server_that_comes_back_without_a_detector_calls_nothing_safe(
    hass: HomeAssistant, tmp_path: Path
) -> None:
    port = free_port()
    settings = PIPELINE_SETTINGS | {"HSI_MODELS_DIR": str(models_folder())}
    nonsense = tmp_path / "nonsense.onnx"
    nonsense.write_bytes(b"nonsense")

    async with running_server(tmp_path, port, settings) as server:
        await connected(hass, server)
        scenes.drop(server.watch_root / "path", scenes.encode(scenes.nobody()))
        await until(hass, lambda: has_picture(hass, "path"))
        assert value(hass, "sensor.path_risk_score") == "0"
    await until(hass, lambda: value(hass, "sensor.path_risk_score") == "unavailable")

    async with running_server(tmp_path, port, settings | {"HSI_DETECTOR__MODEL_FILE": str(nonsense)}):
        await until(hass, lambda: value(hass, "sensor.path_risk_score") != "unavailable")
        for entity_id in ("sensor.path_risk_score", "binary_sensor.path_person", HIGHEST_RISK):
            assert value(hass, entity_id) == "unknown"


async def _assert_same(hass: HomeAssistant, server: InferenceServer, entry: MockConfigEntry) -> None:
    """Compare what the integration knows, and what its entities show, with the server's lists."""
    cameras = {item["id"]: item for item in (await get(server, "/api/cameras"))["items"]}
    events = {item["id"]: item for item in (await get(server, "/api/events?limit=200"))["items"]}
    state = entry.runtime_data.data
    assert dict(state.cameras) == {id_: Camera.parse(Fields(item, "camera")) for id_, item in cameras.items()}
    for id_, event in state.events.items():
        assert event == Event.parse(Fields(events[id_], "event"))
    for camera in cameras.values():
        _assert_shown(hass, camera)
    devices = dr.async_entries_for_config_entry(dr.async_get(hass), entry.entry_id)
    assert {device.name for device in devices} == {camera["name"] for camera in cameras.values()} | {entry.title}


def _assert_shown(hass: HomeAssistant, camera: Json) -> None:
    id_ = camera["id"]
    assert value(hass, f"sensor.{id_}_risk_score") == str(camera["risk"]["score"])
    assert value(hass, f"sensor.{id_}_risk_level") == camera["risk"]["level"]
    for kind, seen in camera["occupancy"].items():
        assert value(hass, f"binary_sensor.{id_}_{kind}") == ("on" if seen else "off")
    last_picture = datetime.fromisoformat(value(hass, f"sensor.{id_}_last_picture"))
    assert last_picture == datetime.fromisoformat(camera["last_frame_at"]).replace(microsecond=0)
