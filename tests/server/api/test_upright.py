# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures that lie on their side in their file: from the upload to the box that people see."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from sqlalchemy import make_url

from inference_server.core.detection import Box, Detection, Label
from inference_server.detection.detector import Picture
from tests.server.api.conftest import Client, Connect
from tests.support.bench import ScriptedDetector, bench
from tests.support.home import Home
from tests.support.pictures import encoded

SIZE = 320, 240
PERSON = 200, 40, 240, 140
"""Where a white figure stands in the picture as it is displayed: left, top, right, bottom."""
LYING = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a picture lies in its file, by the orientation that its EXIF tells (EXIF 2.32, tag 274)."""


class WhiteDetector(ScriptedDetector):
    """Sees a person wherever it is white."""

    def detect(self, pictures: Sequence[Picture]) -> list[tuple[Detection, ...]]:
        """Return the box around what is white in each picture."""
        return [(self._person(picture),) for picture in pictures]

    def _person(self, picture: Picture) -> Detection:
        rows, columns = np.nonzero(picture.pixels.min(axis=2) > 128)
        height, width, _ = picture.pixels.shape
        across, down = picture.width / width, picture.height / height
        box = Box(
            float(columns.min() * across),
            float(rows.min() * down),
            float(np.ptp(columns) * across),
            float(np.ptp(rows) * down),
        )
        return Detection(Label.PERSON, 0.9, box)


def lying(orientation: int, kind: str) -> bytes:
    """Return a picture that is displayed upright by who heeds its EXIF."""
    upright = Image.new("RGB", SIZE, (40, 60, 40))
    ImageDraw.Draw(upright).rectangle(PERSON, fill="white")
    method, exif = LYING[orientation], Image.Exif()
    exif[0x0112] = orientation
    return encoded(upright.transpose(method) if method is not None else upright, kind, exif=exif)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", LYING)
async def test_boxes_and_pictures_are_upright(
    a_home: Home, connect: Connect, tmp_path: Path, orientation: int, kind: str
) -> None:
    client = await connect()
    uploaded = await client.post("/api/cameras/front_door/frames", data=lying(orientation, kind))
    frame_id = (await uploaded.json())["frame_id"]
    where = make_url(f"sqlite+aiosqlite:///{a_home.file}")
    async with bench(tmp_path, a_home.clock, scripted=WhiteDetector(input_size=320), where=where) as server:
        await server.work()

    plain = await shown(client, f"/api/frames/{frame_id}/picture.jpg")
    small = await shown(client, "/api/cameras/front_door/latest.jpg?width=160")
    assert (plain.size, small.size) == (SIZE, (160, 120))
    assert where_white(plain) == pytest.approx(PERSON, abs=3)
    assert where_white(small) == pytest.approx([edge / 2 for edge in PERSON], abs=3)

    (detection,) = (await (await client.get("/api/events/1/detections")).json())["items"]
    box = detection["box"]
    found = box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]
    assert found == pytest.approx(PERSON, abs=4)
    drawn = np.asarray(await shown(client, "/api/events/1/snapshot.jpg"), int) - np.asarray(plain, int)
    rows, columns = np.nonzero(np.abs(drawn).max(axis=2) > 100)
    assert (columns.min(), rows.max(), columns.max()) == (
        pytest.approx(PERSON[0], abs=6),
        pytest.approx(PERSON[3], abs=6),
        pytest.approx(PERSON[2], abs=90),  # the tag may be wider than the box
    )


async def test_what_is_upright_is_stored_as_it_came(a_home: Home, connect: Connect) -> None:
    client = await connect()
    sent = lying(1, "JPEG")
    uploaded = await (await client.post("/api/cameras/front_door/frames", data=sent)).json()
    got = await client.get(f"/api/frames/{uploaded['frame_id']}/picture.jpg")
    assert await got.read() == sent


async def shown(client: Client, path: str) -> Image.Image:
    """Return a picture as a program shows it that heeds no EXIF."""
    response = await client.get(path)
    assert response.status == 200, await response.text()
    return Image.open(io.BytesIO(await response.read())).convert("RGB")


def where_white(image: Image.Image) -> tuple[int, int, int, int]:
    """Return the left, top, right and bottom of what is white."""
    rows, columns = np.nonzero(np.asarray(image).min(axis=2) > 128)
    return int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())
