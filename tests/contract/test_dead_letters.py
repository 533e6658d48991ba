# SPDX-License-Identifier: AGPL-3.0-or-later
"""A picture that fails for good is an issue in Home Assistant, whose owner lets the server try it again."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir
from homeassistant.setup import async_setup_component

from custom_components.home_security_intelligence.const import DOMAIN
from scripts.development.process import free_port
from tests.contract.conftest import PIPELINE_SETTINGS
from tests.contract.connection import connected, get, running_server
from tests.contract.security_events import SecurityEvents
from tests.integration.repair_dialog import Client, Dialog
from tests.integration.waiting import until, until_state, value
from tests.support import scenes
from tests.support.weights import models_folder

CAMERA = "porch"
DEAD_LETTERS = "sensor.home_security_intelligence_dead_letters"


async def test_a_picture_that_failed_for_good_is_judged_after_its_repair(
    hass: HomeAssistant,
    hass_client: Callable[[], Awaitable[Client]],
    issue_registry: ir.IssueRegistry,
    tmp_path: Path,
    security_events: SecurityEvents,
) -> None:
    assert await async_setup_component(hass, "repairs", {})
    port = free_port()
    settings = PIPELINE_SETTINGS | {"HSI_MODELS_DIR": str(models_folder())}
    nonsense = tmp_path / "nonsense.onnx"
    nonsense.write_bytes(b"nonsense")
    async with running_server(tmp_path, port, settings | {"HSI_DETECTOR__MODEL_FILE": str(nonsense)}) as server:
        entry = await connected(hass, server)
        scenes.drop(server.watch_root / CAMERA, scenes.encode(scenes.one_person()))
        await until_state(hass, f"sensor.{CAMERA}_risk_score", "unknown")
    (picture,) = (tmp_path / "data" / "media").rglob("*.jpg")
    content = picture.read_bytes()
    picture.write_bytes(b"damaged")

    issue = (DOMAIN, f"dead_letters_{entry.entry_id}")
    async with running_server(tmp_path, port, settings) as server:
        await until(hass, lambda: issue in issue_registry.issues)
        assert value(hass, DEAD_LETTERS) == "1"
        (letter,) = (await get(server, "/api/dead_letters"))["items"]
        assert "cannot be decoded" in letter["reason"]

        picture.write_bytes(content)
        dialog = Dialog(await hass_client(), issue[1])
        assert (await dialog.open())["description_placeholders"] == {"count": "1"}
        assert (await dialog.submit())["type"] == "create_entry"
        await until(hass, lambda: "detected" in security_events.of(CAMERA))
        await until_state(hass, DEAD_LETTERS, "0")
        assert issue not in issue_registry.issues
        (event,) = (await get(server, "/api/events"))["items"]
        assert (event["frame_count"], event["objects"]) == (1, {"person": 1})
