# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures through Home Assistant: boxes are drawn, and only those who are signed in get to see them."""

import io

import aiohttp
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.e2e.house import E2E, House, Json
from tests.e2e.watch import Watch
from tests.support import scenes

pytestmark = E2E


async def test_the_last_event_is_shown_with_boxes_around_what_was_seen(house: House, watch: Watch) -> None:
    raw = scenes.encode(scenes.bus())
    house.drop("porch", raw)
    event = await watch.fired("porch", "detected")
    image = watch.states["image.porch_last_event"]
    shown = _pixels(await house.client.download(image["attributes"]["entity_picture"]))
    _assert_boxes_drawn(shown, _pixels(raw), await _boxes(house, event["event_id"]))


async def test_the_camera_shows_the_newest_picture_as_it_came(house: House, watch: Watch) -> None:
    raw = scenes.encode(scenes.bus())
    house.drop("terrace", raw)
    await watch.fired("terrace", "detected")
    camera = watch.states["camera.terrace_latest_picture"]
    assert await house.client.download(camera["attributes"]["entity_picture"]) == raw


async def test_the_picture_of_an_event_is_for_signed_in_users_only(house: House, watch: Watch) -> None:
    raw = scenes.encode(scenes.bus())
    house.drop("cellar", raw)
    event = await watch.fired("cellar", "detected")
    async with aiohttp.ClientSession(house.home_assistant.url) as stranger, stranger.get(event["picture"]) as answer:
        assert answer.status == 401
    picture = await house.client.download(event["picture"])
    assert picture.startswith(b"\xff\xd8")
    assert _pixels(picture).shape == _pixels(raw).shape


async def _boxes(house: House, event_id: int) -> list[Json]:
    async with house.ask_server() as http, http.get(f"/api/events/{event_id}/detections") as answer:
        return [detection["box"] for detection in (await answer.json())["items"]]


def _assert_boxes_drawn(shown: NDArray[np.int16], raw: NDArray[np.int16], boxes: list[Json]) -> None:
    assert shown.shape == raw.shape
    difference = np.abs(shown - raw).max(axis=2)
    assert len(boxes) == 4
    for box in boxes:
        left, right = (round(min(max(x, 4), raw.shape[1] - 4)) for x in (box["x"], box["x"] + box["width"]))
        top, bottom = (round(min(max(y, 4), raw.shape[0] - 4)) for y in (box["y"], box["y"] + box["height"]))
        middle = (top + bottom) // 2
        for x in (left, right):  # a stroke somewhere on the line across each side
            assert difference[middle, x - 4 : x + 4].max() > 60
        assert difference[bottom - 4 : bottom + 4, (left + right) // 2].max() > 60
    above_everything = round(min(box["y"] for box in boxes)) - 60
    assert difference[:above_everything].mean() < 4


def _pixels(content: bytes) -> NDArray[np.int16]:
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture.convert("RGB")).astype(np.int16)
