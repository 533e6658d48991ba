# SPDX-License-Identifier: Apache-2.0
"""Pictures: image and camera entities, and the view for notifications and cards."""

from datetime import timedelta
from http import HTTPStatus

import pytest
from aiohttp import web
from homeassistant.components.camera import async_get_image as async_get_camera_image
from homeassistant.components.camera.helper import get_camera_from_entity_id
from homeassistant.components.http.auth import async_sign_path
from homeassistant.components.image import async_get_image
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from tests.integration import samples
from tests.integration.fake_server import FakeServer, problem
from tests.integration.waiting import set_up, until, until_state, value

IMAGE = "image.front_door_last_event"
CAMERA = "camera.front_door_latest_picture"
LATEST = "/api/cameras/front_door/latest.jpg"
SNAPSHOT = "/api/events/9/snapshot.jpg"


async def image_bytes(hass: HomeAssistant) -> bytes:
    return (await async_get_image(hass, IMAGE)).content


async def test_camera_shows_the_latest_picture(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer
) -> None:
    assert value(hass, CAMERA) == "idle"
    server.pictures[LATEST] = b"first"
    for _ in range(2):
        image = await async_get_camera_image(hass, CAMERA)
        assert (image.content, image.content_type) == (b"first", "image/jpeg")
    assert server.requests == [LATEST]

    server.pictures[LATEST] = b"second"
    await server.push("camera_updated", camera=samples.camera(last_frame_id=18, last_frame_at="2026-11-20T08:00:00Z"))
    await until_state(hass, "sensor.front_door_last_picture", "2026-11-20T08:00:00+00:00")
    assert (await async_get_camera_image(hass, CAMERA)).content == b"second"


@pytest.mark.parametrize(("asked", "sent"), [(640, 640), (1, 64), (10_000, 3840)])
async def test_camera_scales(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, asked: int, sent: int
) -> None:
    server.pictures[LATEST] = b"scaled"
    camera = get_camera_from_entity_id(hass, CAMERA)
    assert await camera.async_camera_image(width=asked) == b"scaled"
    assert server.requests == [f"{LATEST}?width={sent}"]


async def test_camera_without_pictures(hass: HomeAssistant, entry: MockConfigEntry, server: FakeServer) -> None:
    server.cameras = {"front_door": samples.camera(last_frame_id=None, last_frame_at=None)}
    await set_up(hass, entry)
    with pytest.raises(HomeAssistantError):
        await async_get_camera_image(hass, CAMERA)
    assert not server.requests


@pytest.mark.parametrize("failure", [None, problem(503, "not_ready"), problem(401, "unauthorized")])
async def test_camera_when_there_is_no_picture_to_get(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, failure: web.Response | None
) -> None:
    server.failure = failure
    with pytest.raises(HomeAssistantError):
        await async_get_camera_image(hass, CAMERA)


async def test_camera_keeps_its_picture_while_the_server_has_a_hiccup(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer
) -> None:
    server.pictures[LATEST] = b"first"
    await async_get_camera_image(hass, CAMERA)
    await server.push("camera_updated", camera=samples.camera(last_frame_id=18, last_frame_at="2026-11-20T08:00:00Z"))
    await until_state(hass, "sensor.front_door_last_picture", "2026-11-20T08:00:00+00:00")
    server.failure = problem(503, "not_ready")
    assert (await async_get_camera_image(hass, CAMERA)).content == b"first"
    server.failure, server.pictures[LATEST] = None, b"second"
    assert (await async_get_camera_image(hass, CAMERA)).content == b"second"


async def test_image_follows_the_best_frame(hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer) -> None:
    assert value(hass, IMAGE) == "unknown"
    with pytest.raises(HomeAssistantError):
        await image_bytes(hass)

    server.pictures[SNAPSHOT] = b"one person"
    await server.event_happens("event_detected", samples.event())
    await until(hass, lambda: value(hass, IMAGE) != "unknown")
    first = value(hass, IMAGE)
    assert [await image_bytes(hass) for _ in range(2)] == [b"one person"] * 2
    assert server.requests == [SNAPSHOT]

    await server.event_happens("event_updated", samples.event(summary="Still a person", risk=risk(36)))
    await until_state(hass, "sensor.front_door_risk_score", "36")
    assert value(hass, IMAGE) == first

    server.pictures[SNAPSHOT] = b"two people"
    await server.event_happens("event_updated", samples.event(objects={"person": 2}, risk=risk(37)))
    await until_state(hass, "sensor.front_door_risk_score", "37")
    second = value(hass, IMAGE)
    assert second > first
    assert await image_bytes(hass) == b"two people"

    await server.event_happens("event_updated", samples.event(best_frame_id=21, risk=risk(38)))
    await until_state(hass, "sensor.front_door_risk_score", "38")
    assert value(hass, IMAGE) > second


async def test_image_shows_no_event_that_was_deleted(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, event_types: list[str]
) -> None:
    over = {"ended_at": samples.MORNING, "end_reason": "idle"}
    earlier, deleted = samples.event(8, **over), samples.event(9, **over)
    server.pictures["/api/events/8/snapshot.jpg"] = b"earlier"
    server.pictures[SNAPSHOT] = b"deleted"
    await server.event_happens("event_ended", earlier)
    await server.event_happens("event_ended", deleted)
    await until(hass, lambda: len(event_types) == 2)
    assert await image_bytes(hass) == b"deleted"

    del server.pictures[SNAPSHOT]
    shown = value(hass, IMAGE)
    await server.event_goes(deleted, earlier)
    await until(hass, lambda: value(hass, IMAGE) != shown)
    assert await image_bytes(hass) == b"earlier"

    await server.event_goes(earlier, None)
    await until_state(hass, IMAGE, "unknown")
    with pytest.raises(HomeAssistantError):
        await image_bytes(hass)

    server.pictures[SNAPSHOT] = b"restored"
    await server.event_happens("event_restored", deleted)
    await until(hass, lambda: value(hass, IMAGE) != "unknown")
    assert await image_bytes(hass) == b"restored"
    assert event_types == ["ended", "ended"]


async def test_the_removal_of_an_event_of_a_removed_camera_changes_nothing(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer
) -> None:
    await server.push("event_removed", event_id=9, camera=None, last_event=None)
    await server.event_happens("event_detected", samples.event())
    await until_state(hass, "sensor.front_door_risk_score", "35")
    assert loaded.runtime_data.last_update_success


def risk(score: int) -> samples.Json:
    return {"score": score, "level": "medium"}


async def test_image_of_an_event_without_a_frame(
    hass: HomeAssistant, entry: MockConfigEntry, server: FakeServer
) -> None:
    event = samples.event(best_frame_id=None)
    server.events, server.cameras = {9: event}, {"front_door": samples.busy_camera(event)}
    await set_up(hass, entry)
    with pytest.raises(HomeAssistantError):
        await image_bytes(hass)
    assert not server.requests


def view_path(entry: MockConfigEntry, event_id: object = 9) -> str:
    return f"/api/home_security_intelligence/{entry.entry_id}/events/{event_id}/snapshot.jpg"


async def test_view_hands_on_the_picture(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, hass_client: ClientSessionGenerator
) -> None:
    server.pictures[SNAPSHOT] = b"burglar"
    response = await (await hass_client()).get(view_path(loaded))
    assert response.status == HTTPStatus.OK
    assert await response.read() == b"burglar"
    assert response.content_type == "image/jpeg"
    assert response.headers["Cache-Control"].startswith("private")


async def test_view_wants_a_user_or_a_signature(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: FakeServer,
    hass_client_no_auth: ClientSessionGenerator,
    hass_access_token: str,
) -> None:
    server.pictures[SNAPSHOT] = b"burglar"
    client = await hass_client_no_auth()
    assert (await client.get(view_path(loaded))).status == HTTPStatus.UNAUTHORIZED
    assert not server.requests

    token = hass.auth.async_validate_access_token(hass_access_token)
    assert token
    signed = async_sign_path(hass, view_path(loaded), timedelta(minutes=5), refresh_token_id=token.id)
    assert await (await client.get(signed)).read() == b"burglar"
    elsewhere = signed.replace("/9/", "/10/")
    assert (await client.get(elsewhere)).status == HTTPStatus.UNAUTHORIZED


@pytest.mark.parametrize("event_id", ["x", "-1", "9%2F..%2F..", "9/../../cameras", "1.5"])
async def test_view_is_no_open_proxy(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: FakeServer,
    hass_client: ClientSessionGenerator,
    event_id: str,
) -> None:
    response = await (await hass_client()).get(view_path(loaded, event_id))
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
async def test_view_reports_what_the_server_could_not_do(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: FakeServer,
    hass_client: ClientSessionGenerator,
    failure: web.Response | None,
    status: int,
) -> None:
    server.failure = failure
    assert (await (await hass_client()).get(view_path(loaded))).status == status


async def test_view_without_server_or_entry(
    hass: HomeAssistant, loaded: MockConfigEntry, server: FakeServer, hass_client: ClientSessionGenerator
) -> None:
    client = await hass_client()
    stranger = MockConfigEntry(domain="other")
    stranger.add_to_hass(hass)
    assert (await client.get(view_path(stranger))).status == HTTPStatus.NOT_FOUND
    assert (await client.get(view_path(MockConfigEntry()))).status == HTTPStatus.NOT_FOUND

    await server.stop()
    await until_state(hass, CAMERA, "unavailable")
    assert (await client.get(view_path(loaded))).status == HTTPStatus.BAD_GATEWAY
    await hass.config_entries.async_unload(loaded.entry_id)
    assert (await client.get(view_path(loaded))).status == HTTPStatus.SERVICE_UNAVAILABLE
