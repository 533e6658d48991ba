# SPDX-License-Identifier: AGPL-3.0-or-later
"""A camera that is covered: from its pictures to the problem in Home Assistant, and back by accepting the view."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import numpy as np
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir
from homeassistant.setup import async_setup_component
from PIL import Image, ImageOps

from custom_components.home_security_intelligence.const import DOMAIN
from scripts.development.inference_server import InferenceServer
from scripts.development.samples import BUS, sample_path
from tests.contract.connection import connected, get, session
from tests.integration.repair_dialog import Client, Dialog
from tests.integration.waiting import until, until_state, value
from tests.support import days

CAMERA = "covered_gate"
SENSOR = f"binary_sensor.{CAMERA}_view_problem"


async def test_a_covered_camera_is_a_problem_until_its_view_is_accepted(
    hass: HomeAssistant,
    hass_client: Callable[[], Awaitable[Client]],
    issue_registry: ir.IssueRegistry,
    server: InferenceServer,
) -> None:
    assert await async_setup_component(hass, "repairs", {})
    entry = await connected(hass, server)
    with Image.open(sample_path(BUS)) as bus:
        street = ImageOps.fit(bus.convert("RGB"), days.SIZE)
    random, began = np.random.default_rng(1), datetime.now(UTC) - timedelta(hours=1)

    async def see(image: Image.Image, number: int) -> None:
        """Let the camera send a picture, 20 s after the one before, and wait until it is judged."""
        at = began + timedelta(seconds=20 * number)
        noisy = np.asarray(image, np.float32) + random.normal(0, 3, (image.height, image.width, 1))
        jpeg = days.encode(Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)), at)
        async with session(server) as http:
            path = f"/api/cameras/{CAMERA}/frames"
            async with http.post(path, data=jpeg, params={"captured_at": at.isoformat()}) as answer:
                frame_id = (await answer.json())["frame_id"]
        await until(hass, lambda: last_frame_id() == frame_id)

    def last_frame_id() -> int | None:
        camera = entry.runtime_data.data.cameras.get(CAMERA)
        return camera.last_frame_id if camera else None

    for number in range(8):
        await see(street, number)
    assert value(hass, SENSOR) == "off"
    for number in range(8, 13):
        await see(days.covered(street, random), number)
    await until_state(hass, SENSOR, "on")
    state = hass.states.get(SENSOR)
    assert state
    assert state.attributes["problems"] == ["blocked", "tampered"]
    assert datetime.fromisoformat(state.attributes["since"]) == began + timedelta(seconds=160)
    issue_id = f"another_view_{entry.entry_id}_{CAMERA}"
    await until(hass, lambda: (DOMAIN, issue_id) in issue_registry.issues)
    dialog = Dialog(await hass_client(), issue_id)
    await dialog.open()
    assert (await dialog.submit())["type"] == "create_entry"
    await until_state(hass, SENSOR, "off")
    for number in range(13, 20):
        await see(days.covered(street, random), number)
    assert value(hass, SENSOR) == "off", "the cloth is what it usually sees now"
    assert (await get(server, f"/api/cameras/{CAMERA}"))["view_problems"] == []
