# SPDX-License-Identifier: AGPL-3.0-or-later
"""A video in a camera's folder can be played in Home Assistant from the event that it shows."""

from datetime import timedelta
from http import HTTPStatus

import numpy as np
from homeassistant.components.http.auth import async_sign_path
from homeassistant.core import HomeAssistant
from numpy.typing import NDArray
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from scripts.development.inference_server import InferenceServer
from tests.contract.connection import connected, get
from tests.contract.security_events import SecurityEvents
from tests.integration.waiting import until
from tests.support import scenes
from tests.support.videos import video

CAMERA = "clip_gate"


def passing_by(number: int) -> NDArray[np.uint8]:
    """Somebody comes after a second."""
    picture = scenes.one_person() if number >= 2 else scenes.nobody()
    return np.roll(np.asarray(picture), number, axis=1)


async def test_a_clip_is_judged_and_played(
    hass: HomeAssistant,
    server: InferenceServer,
    security_events: SecurityEvents,
    hass_client_no_auth: ClientSessionGenerator,
    hass_access_token: str,
) -> None:
    await connected(hass, server)
    content = video("mp4", size=scenes.SIZE, seconds=3, rate=2, scene=passing_by)
    scenes.drop(server.watch_root / CAMERA, content, ".mp4")
    await until(hass, lambda: "ended" in security_events.of(CAMERA))

    told = security_events.fired[-1].attributes
    (event,) = (await get(server, f"/api/events?camera_id={CAMERA}"))["items"]
    assert [clip["start_seconds"] for clip in event["clips"]] == [1.0]
    client = await hass_client_no_auth()
    assert (await client.get(told["clip"])).status == HTTPStatus.UNAUTHORIZED
    token = hass.auth.async_validate_access_token(hass_access_token)
    assert token
    signed = async_sign_path(hass, told["clip"], timedelta(minutes=5), refresh_token_id=token.id)
    whole = await client.get(signed)
    assert (whole.content_type, await whole.read()) == ("video/mp4", content)
    part = await client.get(signed, headers={"Range": "bytes=10-19"})
    assert (part.status, await part.read()) == (HTTPStatus.PARTIAL_CONTENT, content[10:20])
