# SPDX-License-Identifier: Apache-2.0
"""Clips: the attribute of the event entity, and the view that players ask."""

from datetime import timedelta
from http import HTTPStatus

import pytest
from aiohttp import ClientError, web
from homeassistant.components.http.auth import async_sign_path
from homeassistant.core import HomeAssistant
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from tests.integration import samples
from tests.integration.fake_server import FakeServer, problem
from tests.integration.waiting import until

EVENT = "event.front_door_security_event"
CLIP = "/api/clips/3/video"


def path(entry: MockConfigEntry, clip_id: object = 3) -> str:
    return f"/api/home_security_intelligence/{entry.entry_id}/clips/{clip_id}/video"


def clip(content: bytes = b"a burglar moves", status: int = 200, **headers: str) -> web.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.Response(body=content, status=status, content_type="video/mp4", headers={"ETag": '"c3"', **sent})


async def test_an_event_of_a_clip_names_its_path(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer
) -> None:
    clips = [{"clip_id": 3, "start_seconds": 4.2}, {"clip_id": 4, "start_seconds": 0}]
    await server.event_happens("event_detected", samples.event(clips=clips))
    await until(hass, lambda: "clip" in hass.states.get(EVENT).attributes)  # type: ignore[union-attr]
    state = hass.states.get(EVENT)
    assert state
    assert state.attributes["clip"] == path(loaded)


@pytest.mark.parametrize("clips", [{"clips": []}, {}])
async def test_an_event_of_pictures_names_none(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, clips: samples.Json
) -> None:
    event = samples.event()
    del event["clips"]  # a server of before there were clips
    await server.event_happens("event_detected", event | clips)
    await until(hass, lambda: hass.states.get(EVENT).attributes.get("event_id") == 9)  # type: ignore[union-attr]
    state = hass.states.get(EVENT)
    assert state
    assert "clip" not in state.attributes


async def test_the_view_hands_on_the_clip(
    loaded: MockConfigEntry, server: FakeServer, hass_client: ClientSessionGenerator
) -> None:
    server.clip = clip(Accept_Ranges="bytes")
    response = await (await hass_client()).get(path(loaded))
    assert (response.status, response.content_type) == (HTTPStatus.OK, "video/mp4")
    assert await response.read() == b"a burglar moves"
    assert response.headers["Content-Length"] == "15"
    assert response.headers["Accept-Ranges"] == "bytes"
    assert response.headers["Cache-Control"].startswith("private")
    assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_the_view_hands_on_what_a_player_asks(
    loaded: MockConfigEntry, server: FakeServer, hass_client: ClientSessionGenerator
) -> None:
    server.clip = clip(b"burg", 206, Content_Range="bytes 2-5/15")
    headers = {"Range": "bytes=2-5", "If-Range": '"c3"', "Cookie": "secret=1"}
    response = await (await hass_client()).get(path(loaded), headers=headers)
    assert (response.status, await response.read()) == (HTTPStatus.PARTIAL_CONTENT, b"burg")
    assert response.headers["Content-Range"] == "bytes 2-5/15"
    assert response.headers["ETag"] == '"c3"'
    (asked,) = server.asked
    assert (asked["Range"], asked["If-Range"]) == ("bytes=2-5", '"c3"')
    assert "Cookie" not in asked


@pytest.mark.parametrize(("status", "headers"), [(304, {}), (416, {"Content_Range": "bytes */15"})])
async def test_the_view_hands_on_that_there_is_nothing_to_send(
    loaded: MockConfigEntry, server: FakeServer, hass_client: ClientSessionGenerator, status: int, headers: samples.Json
) -> None:
    server.clip = clip(b"", status, **headers)
    response = await (await hass_client()).get(path(loaded), headers={"If-None-Match": '"c3"'})
    assert (response.status, await response.read()) == (status, b"")


async def test_what_is_no_video_is_not_shown_as_a_page(
    loaded: MockConfigEntry, server: FakeServer, hass_client: ClientSessionGenerator
) -> None:
    server.clip = web.Response(text="<script>", content_type="text/html")
    response = await (await hass_client()).get(path(loaded))
    assert response.content_type == "application/octet-stream"


async def test_the_view_wants_a_user_or_a_signature(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: FakeServer,
    hass_client_no_auth: ClientSessionGenerator,
    hass_access_token: str,
) -> None:
    server.clip = clip()
    client = await hass_client_no_auth()
    assert (await client.get(path(loaded))).status == HTTPStatus.UNAUTHORIZED
    assert not server.requests
    token = hass.auth.async_validate_access_token(hass_access_token)
    assert token
    signed = async_sign_path(hass, path(loaded), timedelta(minutes=5), refresh_token_id=token.id)
    assert (await client.get(signed, headers={"Range": "bytes=0-"})).status == HTTPStatus.OK
    assert (await client.get(signed.replace("/3/", "/4/"))).status == HTTPStatus.UNAUTHORIZED


@pytest.mark.parametrize("clip_id", ["x", "-1", "3%2F..%2F..", "1.5"])
async def test_the_view_is_no_open_proxy(
    loaded: MockConfigEntry, server: FakeServer, hass_client: ClientSessionGenerator, clip_id: str
) -> None:
    response = await (await hass_client()).get(path(loaded, clip_id))
    assert response.status in (HTTPStatus.NOT_FOUND, HTTPStatus.BAD_REQUEST)
    assert not server.requests


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (None, 404),
        (problem(503, "not_ready"), 502),
        (problem(401, "unauthorized"), 502),
        (web.Response(status=301), 502),
    ],
)
async def test_the_view_reports_what_the_server_could_not_do(
    loaded: MockConfigEntry,
    server: FakeServer,
    hass_client: ClientSessionGenerator,
    failure: web.Response | None,
    status: int,
) -> None:
    server.failure = failure
    assert (await (await hass_client()).get(path(loaded))).status == status


async def test_the_view_without_a_server(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, hass_client: ClientSessionGenerator
) -> None:
    client = await hass_client()
    await server.stop()
    assert (await client.get(path(loaded))).status == HTTPStatus.BAD_GATEWAY
    await hass.config_entries.async_unload(loaded.entry_id)
    assert (await client.get(path(loaded))).status == HTTPStatus.SERVICE_UNAVAILABLE


async def test_a_server_that_breaks_off_is_no_whole_clip(
    loaded: MockConfigEntry, server: FakeServer, hass_client: ClientSessionGenerator, caplog: pytest.LogCaptureFixture
) -> None:
    server.breaks_off = True
    response = await (await hass_client()).get(path(loaded))
    with pytest.raises(ClientError):
        await response.read()
    assert "Error handling request" not in caplog.text
