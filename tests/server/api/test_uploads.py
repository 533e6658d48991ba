# SPDX-License-Identifier: AGPL-3.0-or-later
"""Uploading pictures, with real clients, good and bad ones."""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import aiohttp
import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from inference_server.api.context import ApiLimits
from inference_server.core.frame import FrameSource, TimeSource
from inference_server.ingest.uploads import AT_ONCE
from inference_server.settings import IngestSettings
from inference_server.storage import frames
from inference_server.storage.tables import messages
from inference_server.storage.tokens import Scope
from tests.server.api.conftest import Client, Connect
from tests.support.home import START, Home
from tests.support.pictures import jpeg, plain_png, png

PATH = "/api/cameras/front_door/frames"
PICTURE = jpeg()
LARGEST = 20_000
FORM = "multipart/form-data; boundary=x"
SMALL = IngestSettings(min_bytes=1, min_side=8, max_bytes=LARGEST)


async def _judged_later(home: Home) -> int:
    async with home.database.reading() as connection:
        return int((await connection.execute(select(func.count()).select_from(messages))).scalar_one())


async def _problem(response: aiohttp.ClientResponse) -> dict[str, Any]:
    problem: dict[str, Any] = await response.json()
    assert problem["status"] == response.status
    assert problem["remedy"]
    return problem


def _left_files(home: Home) -> list[Path]:
    return list((home.media.root.parent / "uploads").iterdir())


class Watched:
    """Tells when an upload begins and ends to be received."""

    def __init__(self, home: Home, patch: pytest.MonkeyPatch) -> None:
        """Listen at a door of the home."""
        self.begun = asyncio.Semaphore(0)
        self.ended = asyncio.Semaphore(0)
        receiving = home.uploads.receiving

        @contextmanager
        def watched() -> Iterator[BinaryIO]:
            try:
                with receiving() as file:
                    self.begun.release()
                    yield file
            finally:
                self.ended.release()

        patch.setattr(home.uploads, "receiving", watched)


@pytest.fixture
def watched(a_home: Home, monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Watch the home's uploads."""
    return Watched(a_home, monkeypatch)


@pytest.fixture
async def client(a_home: Home, connect: Connect) -> Client:
    """Give a client that may upload, and nothing else."""
    return await connect(Scope.UPLOAD, ApiLimits(body_silence_seconds=0.3, body_seconds=1.0))


@pytest.fixture
async def small_client(a_home: Home, connect: Connect) -> Client:
    """Give one of a server that takes only small pictures."""
    a_home.limits = SMALL
    a_home.__post_init__()
    return await connect(Scope.UPLOAD)


async def test_an_uploaded_picture_is_stored_and_waits_to_be_judged(a_home: Home, client: Client) -> None:
    response = await client.post(PATH, data=PICTURE, headers={"Content-Type": "image/jpeg"})
    answer = await response.json()
    assert (response.status, answer) == (
        201,
        {
            "frame_id": answer["frame_id"],
            "camera_id": "front_door",
            "captured_at": "2026-11-23T08:00:00Z",
            "time_source": "arrival",
            "duplicate": False,
        },
    )
    async with a_home.database.reading() as connection:
        frame = await frames.get(connection, answer["frame_id"])
    assert frame is not None
    assert (frame.source, frame.time_source) == (FrameSource.UPLOAD, TimeSource.ARRIVAL)
    assert a_home.media.read(frame.media_path) == PICTURE
    assert await _judged_later(a_home) == 1
    assert _left_files(a_home) == []


async def test_the_same_picture_again_is_no_new_frame(a_home: Home, client: Client) -> None:
    first = await (await client.post(PATH, data=PICTURE)).json()
    a_home.clock.move(minutes=5)
    response = await client.post(PATH, data=PICTURE)
    assert (response.status, await response.json()) == (200, {**first, "duplicate": True})
    other = await client.post("/api/cameras/back_door/frames", data=PICTURE)
    assert (other.status, (await other.json())["duplicate"]) == (201, False)
    assert await _judged_later(a_home) == 2


async def test_the_same_picture_twice_at_once_is_one_frame(a_home: Home, client: Client) -> None:
    responses = await asyncio.gather(*(client.post(PATH, data=PICTURE) for _ in range(6)))
    answers = [await response.json() for response in responses]
    assert sorted(response.status for response in responses) == [200] * 5 + [201]
    assert len({answer["frame_id"] for answer in answers}) == 1
    assert await _judged_later(a_home) == 1


async def test_a_form_with_one_file_is_an_upload_and_its_name_tells_the_time(client: Client) -> None:
    form = aiohttp.FormData()
    form.add_field("file", PICTURE, filename="Schedule_20261123-075955.jpg", content_type="image/jpeg")
    response = await client.post(PATH, data=form)
    answer = await response.json()
    assert (response.status, answer["captured_at"], answer["time_source"]) == (201, "2026-11-23T07:59:55Z", "file_name")


def _form(*files: tuple[str, bytes | str, str | None]) -> aiohttp.FormData:
    form = aiohttp.FormData(default_to_multipart=True)
    for name, content, filename in files:
        form.add_field(name, content, filename=filename)
    return form


@pytest.mark.parametrize(
    "form",
    [
        _form(),
        _form(("text", "no file", None)),
        _form(("file", PICTURE, "1.jpg"), ("file", png(), "2.png")),
        _form(("file", PICTURE, "1.jpg"), ("more", "text", None)),
    ],
)
async def test_a_form_without_exactly_one_file_is_refused(a_home: Home, client: Client, form: aiohttp.FormData) -> None:
    problem = await _problem(await client.post(PATH, data=form))
    assert (problem["status"], problem["code"]) == (422, "invalid_request")
    assert await _judged_later(a_home) == 0
    assert _left_files(a_home) == []


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"no form at all", FORM),
        (b"--x\r\n", FORM),
        (b"--x\r\nContent-Disposition: form-data; filename=a\r\n\r\nunfinished", FORM),
        (b"--x\r\n" + b"A: b\r\n" * 1000 + b"\r\n\r\n--x--\r\n", FORM),
        (b"--x\r\n\xff\xfe\x00\r\n\r\n\r\n--x--\r\n", FORM),
        (PICTURE, "multipart/form-data"),
        (PICTURE, "multipart/mixed; boundary=" + "x" * 100),
        (
            b"--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\n--y--\r\n--x--\r\n",
            FORM,
        ),
    ],
)
async def test_a_broken_form_is_refused(client: Client, body: bytes, kind: str) -> None:
    problem = await _problem(await client.post(PATH, data=body, headers={"Content-Type": kind}))
    assert (problem["status"], problem["code"]) in {(422, "invalid_request"), (422, "refused")}


async def test_the_client_may_say_when_a_picture_was_taken(client: Client) -> None:
    taken = START - timedelta(hours=3)
    response = await client.post(PATH, params={"captured_at": taken.isoformat()}, data=PICTURE)
    answer = await response.json()
    assert (answer["captured_at"], answer["time_source"]) == ("2026-11-23T05:00:00Z", "client")
    soon = await client.post(PATH, params={"captured_at": (START + timedelta(minutes=1)).isoformat()}, data=jpeg(2))
    assert (await soon.json())["captured_at"] == "2026-11-23T08:00:00Z"
    for wrong in ("2026-11-24T08:00:00Z", "1999-01-01T00:00:00Z", "2026-11-23T08:00:00", "now", ""):
        problem = await _problem(await client.post(PATH, params={"captured_at": wrong}, data=jpeg(3)))
        assert (problem["status"], "captured_at" in problem["detail"]) == (422, True)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"no picture, but some text", "not_a_picture"),
        (PICTURE[:-300], "corrupt"),
        (jpeg(size=(4, 4)), "too_small"),
        (b"\0\0\0\x20ftypisom" + bytes(100), "not_a_picture"),
    ],
)
async def test_what_is_no_picture_is_refused_with_the_reason_and_listed(
    a_home: Home, connect: Connect, content: bytes, reason: str
) -> None:
    client = await connect(Scope.ADMIN)
    for _ in range(2):
        problem = await _problem(await client.post(PATH, data=content, headers={"Content-Type": "image/jpeg"}))
        assert (problem["status"], problem["code"], problem["reason"]) == (422, "refused", reason)
    (listed,) = (await (await client.get("/api/refusals")).json())["items"]
    assert (listed["path"], listed["camera_id"], listed["reason"]) == ("upload:front_door", "front_door", reason)
    assert (await (await client.get("/api/cameras")).json())["items"] == []


@pytest.mark.parametrize(
    "camera", ["Front", "front-door", "..", "%2e%2e%2fetc", "front%00", "a" * 65, "_front", "a__b"]
)
async def test_a_camera_s_id_must_be_one(a_home: Home, client: Client, camera: str) -> None:
    response = await client.post(f"/api/cameras/{camera}/frames", data=PICTURE)
    assert response.status in {404, 405, 422}
    assert await _judged_later(a_home) == 0


async def test_a_camera_whose_id_a_folder_made_can_be_uploaded_to(a_home: Home, client: Client) -> None:
    await a_home.camera("a__b")
    assert (await client.post("/api/cameras/a__b/frames", data=PICTURE)).status == 201


async def _chunks(content: bytes, size: int = 4096) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def test_a_body_in_pieces_is_as_good(client: Client) -> None:
    assert (await client.post(PATH, data=_chunks(PICTURE, 100))).status == 201


async def test_too_large_a_body_is_refused_whether_it_says_its_size_or_not(a_home: Home, small_client: Client) -> None:
    exact = plain_png(1) + bytes(LARGEST - len(plain_png(1)))
    assert (await small_client.post(PATH, data=exact)).status == 201
    more = exact + b"\0"
    huge = bytes(LARGEST + (1 << 20))
    for data in (huge, _chunks(huge), _chunks(more), _form(("file", more, "1.png"))):
        problem = await _problem(await small_client.post(PATH, data=data))
        assert (problem["status"], problem["code"] in {"too_large", "refused"}) in {(413, True), (422, True)}
    assert await _judged_later(a_home) == 1
    assert _left_files(a_home) == []


type Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _begin(home: Home, client: Client, *head: str) -> Connection:
    """Begin a request as no library would."""
    assert client.server.host is not None
    reader, writer = await asyncio.open_connection(client.server.host, client.server.port)
    token = await home.token(Scope.UPLOAD)
    lines = [f"POST {PATH} HTTP/1.1", "Host: hsi", f"Authorization: Bearer {token}", *head, "", ""]
    writer.write("\r\n".join(lines).encode())
    return reader, writer


async def _answer(connection: Connection, body: bytes) -> bytes:
    reader, writer = connection
    writer.write(body)
    async with asyncio.timeout(10):
        answer = await reader.readuntil(b"}")
    writer.close()
    return answer


async def test_a_length_that_lies_harms_nobody(a_home: Home, client: Client) -> None:
    too_short = await _answer(await _begin(a_home, client, "Content-Length: 700"), PICTURE)
    assert too_short.split()[1] in {b"400", b"422"}, "what follows the body is no request"
    too_long = await _answer(await _begin(a_home, client, f"Content-Length: {len(PICTURE) + 50}"), PICTURE)
    assert too_long.split()[1] == b"408"
    assert await _judged_later(a_home) == 0


@pytest.mark.parametrize("head", [f"Content-Length: {len(PICTURE)}", "Transfer-Encoding: chunked"])
async def test_an_upload_broken_off_halfway_leaves_nothing(
    a_home: Home, client: Client, watched: Watched, head: str
) -> None:
    _, writer = await _begin(a_home, client, head)
    writer.write(b"200\r\n" + PICTURE[:512] if "chunked" in head else PICTURE[:512])
    async with asyncio.timeout(10):
        await watched.begun.acquire()
        writer.transport.abort()
        await watched.ended.acquire()
    assert await _judged_later(a_home) == 0
    assert _left_files(a_home) == []
    assert (await client.post(PATH, data=PICTURE)).status == 201


async def test_a_body_that_pauses_or_never_ends_is_too_slow(client: Client) -> None:
    async def drip(pause: float) -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x"
            await asyncio.sleep(pause)

    for pause in (0.6, 0.05):
        problem = await _problem(await client.post(PATH, data=drip(pause)))
        assert (problem["status"], problem["code"]) == (408, "too_slow")


async def test_more_uploads_at_once_than_may_be_are_told_to_come_later(connect: Connect, watched: Watched) -> None:
    client = await connect(Scope.UPLOAD)
    go = asyncio.Event()

    async def waiting(content: bytes) -> AsyncIterator[bytes]:
        yield content[:100]
        await go.wait()
        yield content[100:]

    running = [asyncio.ensure_future(client.post(PATH, data=waiting(jpeg(seed)))) for seed in range(AT_ONCE)]
    async with asyncio.timeout(10):
        for _ in range(AT_ONCE):
            await watched.begun.acquire()
    response = await client.post(PATH, data=PICTURE)
    problem = await _problem(response)
    assert (problem["status"], problem["code"], response.headers["Retry-After"]) == (429, "too_busy", "10")
    go.set()
    assert {(await task).status for task in running} == {201}
    assert (await client.post(PATH, data=jpeg(99))).status == 201


async def test_while_nothing_is_let_in_the_client_is_told_why_and_when_to_come_back(
    a_home: Home, client: Client
) -> None:
    a_home.backpressure.close("disk", "The disk is full: free space.")
    response = await client.post(PATH, data=PICTURE)
    problem = await _problem(response)
    assert (problem["code"], problem["detail"]) == ("too_busy", "The disk is full: free space.")
    assert response.headers["Retry-After"] == "10"
    a_home.backpressure.open("disk")
    assert (await client.post(PATH, data=PICTURE)).status == 201


async def test_what_cannot_be_stored_now_is_storage_down(
    a_home: Home, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise OperationalError("INSERT", None, Exception("the database is gone"))

    with monkeypatch.context() as patch:
        patch.setattr(frames, "add", fail)
        database_down = await client.post(PATH, data=PICTURE)
    a_home.media.root.rename(a_home.media.root.with_name("kept"))
    a_home.media.root.write_bytes(b"a file where the folder was")
    disk_down = await client.post(PATH, data=jpeg(2))
    for response in (database_down, disk_down):
        problem = await _problem(response)
        assert (problem["status"], problem["code"], response.headers["Retry-After"]) == (503, "storage_down", "10")
    a_home.media.root.unlink()
    for content in (PICTURE, jpeg(2)):
        assert (await client.post(PATH, data=content)).status == 201
    assert _left_files(a_home) == []


async def test_without_the_scope_nothing_is_received(a_home: Home, connect: Connect) -> None:
    for scope, status in ((Scope.READ, 403), (None, 401)):
        client = await connect(scope)
        assert (await client.post(PATH, data=PICTURE)).status == status
    assert await _judged_later(a_home) == 0


@pytest.mark.parametrize(
    "arguments", [("--data-binary", "@{file}"), ("-F", "file=@{file}"), ("-T", "{file}", "-X", "POST")]
)
async def test_curl(a_home: Home, client: Client, tmp_path: Path, arguments: Sequence[str]) -> None:
    file = tmp_path / "Schedule_20261123-075930.jpg"
    file.write_bytes(jpeg(size=(1600, 1200)) + os.urandom(1 << 21))
    token = await a_home.token(Scope.UPLOAD)
    command = [
        "curl",
        "--silent",
        "--fail-with-body",
        *(argument.format(file=file) for argument in arguments),
        "-H",
        f"Authorization: Bearer {token}",
        str(client.make_url(PATH)),
    ]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["duplicate"] is False


def test_a_route_that_takes_a_file_is_described() -> None:
    from inference_server.api.application import ROUTES
    from inference_server.api.openapi import describe

    document = describe(ROUTES).root
    upload = document["paths"]["/api/cameras/{camera_id}/frames"]["post"]
    assert set(upload["requestBody"]["content"]) == {"*/*", "multipart/form-data"}
    assert {"200", "201", "408", "413", "422", "429", "503"} <= upload["responses"].keys()
    assert [item["name"] for item in upload["parameters"]] == ["camera_id", "captured_at"]
    change = document["paths"]["/api/cameras/{camera_id}"]["patch"]["requestBody"]["content"]["application/json"]
    assert change["schema"] == {"$ref": "#/components/schemas/CameraChange"}
    assert document["components"]["schemas"]["CameraChange"]["properties"].keys() == {
        "name",
        "time_zone",
        "watch_view",
        "ignore_patterns",
        "masks",
        "place",
        "leads_to",
    }
