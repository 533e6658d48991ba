# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures over REST."""

import io
from collections.abc import Callable

import pytest
from PIL import Image

from inference_server.storage.tokens import Scope
from tests.server.api.conftest import Client, Connect
from tests.support.home import PERSON, START, Home


async def opened(client: Client, path: str) -> Image.Image:
    response = await client.get(path)
    assert response.status == 200, await response.text()
    assert response.content_type == "image/jpeg"
    image = Image.open(io.BytesIO(await response.read()))
    assert image.format == "JPEG"
    return image


async def test_latest_is_the_newest_picture(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    await a_home.frame()
    newest = await a_home.frame()  # of the same second
    client = await connect(Scope.READ)
    assert (await (await client.get("/api/cameras/front_door")).json())["last_frame_id"] == newest
    latest = await (await client.get("/api/cameras/front_door/latest.jpg")).read()
    assert latest == await (await client.get(f"/api/frames/{newest}/picture.jpg")).read()
    a_home.clock.time = START.replace(year=2025)
    await a_home.frame()  # an older one that came late
    assert await (await client.get("/api/cameras/front_door/latest.jpg")).read() == latest


@pytest.mark.parametrize(("asked", "got"), [(64, (64, 48)), (320, (320, 240)), (640, (640, 480)), (3840, (640, 480))])
async def test_width_only_scales_down(a_home: Home, connect: Connect, asked: int, got: tuple[int, int]) -> None:
    await a_home.camera()
    event = await a_home.event()
    client = await connect(Scope.READ)
    paths = (
        "/api/cameras/front_door/latest.jpg?",
        f"/api/frames/{event.best_frame_id}/picture.jpg?",
        f"/api/events/{event.id}/snapshot.jpg?",
        f"/api/events/{event.id}/snapshot.jpg?boxes=false&",
    )
    for path in paths:
        assert (await opened(client, f"{path}width={asked}")).size == got


async def test_a_snapshot_has_boxes_unless_they_are_not_wanted(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    event = await a_home.event(detections=(PERSON,))
    client = await connect(Scope.READ)
    original = await (await client.get(f"/api/frames/{event.best_frame_id}/picture.jpg")).read()
    without = await (await client.get(f"/api/events/{event.id}/snapshot.jpg?boxes=false")).read()
    drawn = await (await client.get(f"/api/events/{event.id}/snapshot.jpg")).read()
    assert without == original
    assert drawn != original


async def test_a_png_is_served_as_jpeg(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    frame_id = await a_home.frame(kind="PNG", size=(200, 100))
    client = await connect(Scope.READ)
    assert (await opened(client, f"/api/frames/{frame_id}/picture.jpg")).size == (200, 100)
    assert (await opened(client, f"/api/frames/{frame_id}/picture.jpg?width=100")).size == (100, 50)


async def test_etags_save_the_second_transfer(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    event = await a_home.event()
    client = await connect(Scope.READ)
    etags = set()
    for query in ("", "?width=320", "?boxes=false", "?boxes=false&width=320"):
        path = f"/api/events/{event.id}/snapshot.jpg{query}"
        first = await client.get(path)
        etag = first.headers["ETag"]
        etags.add(etag)
        assert first.headers["Cache-Control"] == "private, no-cache"
        second = await client.get(path, headers={"If-None-Match": f'"other", {etag}'})
        assert (second.status, await second.read(), second.headers["ETag"]) == (304, b"", etag)
        assert (await client.get(path, headers={"If-None-Match": '"other"'})).status == 200
    assert len(etags) == 4


async def test_the_etag_of_latest_follows_the_frame(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    await a_home.frame()
    client = await connect(Scope.READ)
    path = "/api/cameras/front_door/latest.jpg"
    etag = (await client.get(path)).headers["ETag"]
    await a_home.frame()
    response = await client.get(path, headers={"If-None-Match": etag})
    assert (response.status, response.headers["ETag"] != etag) == (200, True)


async def test_the_head_of_a_picture(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    event = await a_home.event()
    client = await connect(Scope.READ)
    for path in ("/api/cameras/front_door/latest.jpg", f"/api/events/{event.id}/snapshot.jpg"):
        full, head = await client.get(path), await client.head(path)
        assert (head.status, await head.read()) == (200, b"")
        assert head.headers["Content-Length"] == str(len(await full.read()))
        assert head.headers["ETag"] == full.headers["ETag"]


async def test_no_picture_yet(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    client = await connect(Scope.READ)
    response = await client.get("/api/cameras/front_door/latest.jpg")
    problem = await response.json()
    assert (response.status, problem["code"]) == (404, "no_picture")
    assert problem["remedy"]


async def test_an_unknown_frame(connect: Connect) -> None:
    client = await connect(Scope.READ)
    response = await client.get("/api/frames/5/picture.jpg")
    assert (response.status, (await response.json())["code"]) == (404, "frame_not_found")


def lose(a_home: Home) -> None:
    for file in a_home.media.root.rglob("*.jpg"):
        file.unlink()


def damage(a_home: Home) -> None:
    for file in a_home.media.root.rglob("*.jpg"):
        file.write_bytes(b"\xff\xd8 no longer a picture")


@pytest.mark.parametrize("spoil", [lose, damage])
async def test_a_spoiled_file_is_no_picture(a_home: Home, connect: Connect, spoil: Callable[[Home], None]) -> None:
    await a_home.camera()
    event = await a_home.event()
    spoil(a_home)
    client = await connect(Scope.READ)
    for path in (f"/api/events/{event.id}/snapshot.jpg", "/api/cameras/front_door/latest.jpg?width=64"):
        response = await client.get(path)
        problem = await response.json()
        assert (response.status, problem["code"]) == (404, "no_picture")
        assert "restore" in problem["remedy"].lower()


async def test_a_picture_is_a_webp_where_that_is_wanted(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    event = await a_home.event()
    client = await connect(Scope.READ)
    paths = (
        "/api/cameras/front_door/latest.jpg",
        f"/api/frames/{event.best_frame_id}/picture.jpg",
        f"/api/events/{event.id}/snapshot.jpg",
        f"/api/frames/{event.best_frame_id}/crops/0",
    )
    for path in paths:
        as_jpeg, as_webp = await client.get(path), await client.get(f"{path}?format=webp")
        assert (as_jpeg.content_type, as_webp.content_type) == ("image/jpeg", "image/webp")
        assert as_jpeg.headers["ETag"] != as_webp.headers["ETag"]
        with Image.open(io.BytesIO(await as_webp.read())) as image:
            assert image.format == "WEBP"
        assert (await client.get(f"{path}?format=gif")).status == 422


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5", "webp"),
        ("IMAGE/WEBP;q=0.9, */*;q=0.8", "webp"),
        ("*/*", "jpeg"),
        ("image/*", "jpeg"),
        ("", "jpeg"),
        ("image/webp;q=0.5, image/jpeg", "jpeg"),
        ("image/webp;q=0, */*", "jpeg"),
        ("image/webp;q=nan", "jpeg"),
        ("image/webp;q=1e308, ;;,=,image/", "jpeg"),
        ("image/png", "jpeg"),
    ],
)
async def test_the_form_is_what_the_client_accepts(a_home: Home, connect: Connect, accept: str, form: str) -> None:
    await a_home.camera()
    event = await a_home.event()
    client = await connect(Scope.READ)
    path = f"/api/events/{event.id}/snapshot.jpg"
    answer = await client.get(path, headers={"Accept": accept})
    assert (answer.status, answer.content_type, answer.headers["Vary"]) == (200, f"image/{form}", "Accept")
    with Image.open(io.BytesIO(await answer.read())) as image:
        assert image.format == form.upper()
    for wanted in ("jpeg", "webp"):
        answer = await client.get(f"{path}?format={wanted}", headers={"Accept": accept})
        assert answer.content_type == f"image/{wanted}", "the parameter decides where there is one"


async def test_an_object_of_an_event_is_cut_out_of_its_frame(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    event = await a_home.event()
    client = await connect(Scope.READ)
    items = (await (await client.get(f"/api/events/{event.id}/detections")).json())["items"]
    assert [(item["ordinal"], item["label"]) for item in items] == [(0, "person"), (1, "bus")]
    for item in items:
        path = f"/api/frames/{item['frame_id']}/crops/{item['ordinal']}?margin=0"
        assert (await opened(client, path)).size == (item["box"]["width"], item["box"]["height"])
        etag = (await client.get(path)).headers["ETag"]
        assert (await client.get(path, headers={"If-None-Match": etag})).status == 304
    for ordinal, problem in ((2, "detection_not_found"), (2**31 - 1, "detection_not_found")):
        answer = await client.get(f"/api/frames/{event.best_frame_id}/crops/{ordinal}")
        assert (answer.status, (await answer.json())["code"]) == (404, problem)
    assert (await client.get("/api/frames/999/crops/0")).status == 404
    for wrong in ("-1", "x", "0?margin=nan", "0?margin=inf", "0?margin=3", "0?margin=-1", "0?width=1"):
        assert (await client.get(f"/api/frames/{event.best_frame_id}/crops/{wrong}")).status in {400, 422}, wrong


async def test_who_has_no_token_sees_no_object(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    event = await a_home.event()
    client = await connect(None)
    assert (await client.get(f"/api/frames/{event.best_frame_id}/crops/0")).status == 401
