# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the owner sets for a camera, over REST, and what becomes of the next picture."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inference_server.core.announcement import AnnouncementKind
from inference_server.core.camera import MAX_MASKS, MAX_PATTERNS
from inference_server.storage import announcements
from inference_server.storage.tokens import Scope
from tests.server.api.conftest import Client, Connect
from tests.support.home import Home
from tests.support.pictures import encoded

PATH = "/api/cameras/front_door"
TRIANGLE = {"points": [[0, 0], [0.5, 0], [0.25, 1]]}
NO_NUMBER = b'{"masks": [{"points": [[NaN, 0], [1, 0], [1, 1]]}]}'
DEFAULTS: dict[str, Any] = {
    "name": "Front door",
    "time_zone": None,
    "ignore_patterns": [],
    "masks": [],
    "watch_view": True,
    "place": "other",
    "leads_to": [],
    "clock_offset_seconds": None,
}


async def _settings(client: Client) -> dict[str, Any]:
    response = await client.get(f"{PATH}/settings")
    assert response.status == 200
    told: dict[str, Any] = await response.json()
    return told


async def test_settings_are_changed_one_by_one(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    client = await connect()
    assert await _settings(client) == DEFAULTS
    changes: tuple[dict[str, Any], ...] = (
        {"time_zone": "Asia/Tokyo"},
        {"ignore_patterns": ["*_thumb.jpg", "thumbs"]},
        {"masks": [TRIANGLE]},
        {"name": " Front gate "},
        {"watch_view": False},
        {"place": "entrance", "leads_to": ["hall", "garage_2"]},
        {"time_zone": None, "masks": []},
        {},
    )
    for change in changes:
        before = await _settings(client)
        response = await client.patch(PATH, json=change)
        expected = {**before, **change}
        expected["name"] = expected["name"].strip()
        assert (response.status, await response.json()) == (200, expected)
        assert await _settings(client) == expected


async def test_a_new_name_is_told_and_nothing_else_is(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    client = await connect()
    await client.patch(PATH, json={"masks": [TRIANGLE]})
    await client.patch(PATH, json={"name": "Gate"})
    async with a_home.database.reading() as connection:
        items = await announcements.after(connection, 0, limit=10)
    assert items is not None
    (told,) = [item.announcement for item in items]
    assert told.kind is AnnouncementKind.CAMERA_UPDATED
    assert told.camera is not None
    assert told.camera.camera.name == (await (await client.get(PATH)).json())["name"] == "Gate"


async def test_a_mask_counts_from_the_next_picture_on(a_home: Home, connect: Connect) -> None:
    client = await connect(Scope.ADMIN)

    async def brightest(number: int) -> int:
        white = encoded(Image.new("RGB", (64, 48), (255, 255, 255)), comment=str(number).encode())
        uploaded = await (await client.post(f"{PATH}/frames", data=white)).json()
        shown = await (await client.get(f"/api/frames/{uploaded['frame_id']}/picture.jpg")).read()
        with Image.open(io.BytesIO(shown)) as picture:
            return int(np.asarray(picture)[:16, :24].max())

    assert await brightest(1) > 250
    quarter = {"points": [[0, 0], [0.5, 0], [0.5, 0.5], [0, 0.5]]}
    assert (await client.patch(PATH, json={"masks": [quarter]})).status == 200
    assert await brightest(2) <= 3
    assert await brightest(1) > 250, "stored pictures stay as they are"
    assert (await client.patch(PATH, json={"masks": []})).status == 200
    assert await brightest(3) > 250
    assert await brightest(2) <= 3


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"colour": "red"}, "colour"),
        ({"clock_offset_seconds": 0}, "clock_offset_seconds"),
        ({"name": None}, "name"),
        ({"name": "  "}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "\ud800"}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"time_zone": "../../etc/passwd"}, "time_zone"),
        ({"time_zone": 5}, "time_zone"),
        ({"ignore_patterns": "thumbs"}, "ignore_patterns"),
        ({"ignore_patterns": [""]}, "ignore pattern"),
        ({"ignore_patterns": ["x" * 201]}, "ignore pattern"),
        ({"ignore_patterns": ["a\0b"]}, "ignore pattern"),
        ({"ignore_patterns": ["x"] * (MAX_PATTERNS + 1)}, "ignore patterns"),
        ({"masks": [[[0, 0], [1, 0], [1, 1]]]}, "masks.0"),
        ({"place": "roof"}, "place"),
        ({"leads_to": ["../hall"]}, "leads to"),
        ({"leads_to": ["hall"] * 51}, "leads to"),
        ({"masks": [{"points": [[0, 0], [1, 0]]}]}, "3 to 64 points"),
        ({"masks": [{"points": [[0, 0], [1, 0], [1, 1, 1]]}]}, "masks.0.points"),
        ({"masks": [{"points": [[0, 0], [2, 0], [1, 1]]}]}, "between 0"),
        ({"masks": [{"points": [[0, 0], [1, 1], [1, 0], [0, 1]]}]}, "crosses"),
        ({"masks": [TRIANGLE] * (MAX_MASKS + 1)}, "masks"),
        ([], "body"),
        ("front", "body"),
        (None, "body"),
    ],
    ids=str,
)
async def test_a_wrong_change_is_refused_with_its_place(
    a_home: Home, connect: Connect, change: object, named: str
) -> None:
    await a_home.camera()
    client = await connect()
    response = await client.patch(PATH, json=change)
    problem = await response.json()
    assert (response.status, problem["code"]) == (422, "invalid_request")
    assert named in problem["detail"]
    assert len(problem["detail"]) < 2000
    assert await _settings(client) == DEFAULTS


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b"[" * 60_000, b'{"masks": [{"points": [[NaN, 0], [1, 0], [1, 1]]}]}']
)
async def test_a_body_that_is_no_settings_is_refused(a_home: Home, connect: Connect, body: bytes) -> None:
    await a_home.camera()
    client = await connect()
    response = await client.patch(PATH, data=body)
    assert (response.status, (await response.json())["code"]) == (422, "invalid_request")


async def test_a_body_is_no_parameter(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    client = await connect()
    response = await client.patch(f"{PATH}?body=x", json={})
    assert (response.status, (await response.json())["detail"]) == (422, 'There is no parameter "body".')


async def test_an_unknown_camera_has_no_settings(connect: Connect) -> None:
    client = await connect()
    for response in (await client.get(f"{PATH}/settings"), await client.patch(PATH, json={"name": "Gate"})):
        assert (response.status, (await response.json())["code"]) == (404, "camera_not_found")


async def test_reading_is_not_changing(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    client = await connect(Scope.READ)
    assert await _settings(client) == DEFAULTS
    assert (await client.patch(PATH, json={"name": "Gate"})).status == 403
