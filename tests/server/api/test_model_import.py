# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files of models that are sent over the API: received, tried, and installed or refused with the reason."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from inference_server.api.context import ApiLimits
from inference_server.core.model import Capability
from inference_server.models.catalogue import Weights
from inference_server.models.incoming import receiving, safe_name
from inference_server.models.room import Room
from inference_server.storage.tokens import Scope
from tests.server.api.conftest import Client, Connect
from tests.server.detection.graphs import constant_model, end_to_end
from tests.support.home import Home, sample_model

CONTENT = bytes(range(256)) * 400
DETECTOR = "detector"


@pytest.fixture
def folder(a_home: Home) -> Path:
    """The models folder of a home that knows a published model, an unpinned one and a detector."""
    pinned = sample_model(content=CONTENT)
    unpinned = replace(
        pinned, id="unpinned", files=(Weights("unpinned/config.json", 10, None, (), size_exact=False),), name="Unpinned"
    )
    detector = replace(sample_model(), id=DETECTOR, name="Detector", capability=Capability.DETECTION)
    a_home.know_models(pinned, unpinned, detector)
    return a_home.store.folder


@pytest.fixture
async def client(folder: Path, connect: Connect) -> Client:
    """An administrator's client."""
    del folder
    return await connect(Scope.ADMIN)


@pytest.fixture
def onnx(tmp_path: Path) -> bytes:
    """A detector that sees a person everywhere."""
    return constant_model(tmp_path / "made.onnx", end_to_end((8, 8, 24, 40, 0.9, 0))).read_bytes()


def form(content: bytes, name: str) -> aiohttp.FormData:
    data = aiohttp.FormData()
    data.add_field("file", content, filename=name)
    return data


def left(folder: Path) -> list[Path]:
    """Return what receiving left behind."""
    return list((folder / ".incoming").rglob("*")) if folder.exists() else []


async def test_a_published_file_is_recognised_and_counts_at_once(client: Client, a_home: Home, folder: Path) -> None:
    settled = a_home.models.settled.count
    answer = await client.post("/api/models/import", data=CONTENT)
    assert (answer.status, await answer.json()) == (
        201,
        {"model_id": "sample", "size": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest(), "pull": None},
    )
    assert (folder / "downloads" / "sample.bin").read_bytes() == CONTENT
    assert (await (await client.get("/api/models/sample")).json())["installed"]
    assert a_home.models.settled.count > settled
    assert left(folder) == []


@pytest.mark.parametrize("name", ["street.onnx", "../../../street.onnx", "/etc/x.ONNX", "..\\..\\a b\u202e.onnx"])
@pytest.mark.parametrize("as_form", [True, False])
async def test_a_detector_of_ones_own_is_tried_and_its_name_leads_nowhere(
    client: Client, a_home: Home, folder: Path, onnx: bytes, name: str, as_form: bool
) -> None:
    before = {path for path in folder.parent.rglob("*") if folder not in path.parents}
    data = form(onnx, name) if as_form else onnx
    query = {"model_id": "street"} | ({} if as_form else {"name": name})
    answer = await client.post("/api/models/import", params=query, data=data)
    assert (answer.status, (await answer.json())["model_id"]) == (201, "street")
    assert a_home.store.installed("street") == folder / "street.onnx"
    after = {path for path in folder.parent.rglob("*") if folder not in path.parents and path != folder}
    assert {path for path in after - before if "database" not in path.name} == set()
    assert left(folder) == []


@pytest.mark.parametrize(
    ("content", "query", "status", "code", "words"),
    [
        (b"whatever", {}, 422, "model_refused", "is none of the catalogue's files"),
        (CONTENT + b"x", {"model_id": "sample"}, 422, "model_refused", "is no file of Sample; expected was one of"),
        (b"no onnx", {"model_id": DETECTOR, "name": "a.onnx"}, 422, "model_refused", "an ONNX model was expected"),
        (b"", {"model_id": DETECTOR, "name": "a.onnx"}, 422, "model_refused", "a.onnx"),
        (b"weights!", {"model_id": DETECTOR, "name": "a.pt"}, 422, "model_refused", "nor an ONNX file"),
        (b"{}", {"model_id": "unpinned", "name": "other.json"}, 422, "model_refused", "config.json (any)"),
        (b"{}", {"model_id": "../x"}, 422, "invalid_request", "model_id"),
        (b"{}", {"model_id": "A" * 65}, 422, "invalid_request", "model_id"),
        (b"{}", {"name": "x" * 300}, 422, "invalid_request", "name"),
    ],
)
async def test_what_is_not_what_it_is_said_to_be_is_refused_with_the_reason(
    client: Client, folder: Path, content: bytes, query: dict[str, str], status: int, code: str, words: str
) -> None:
    answer = await client.post("/api/models/import", params=query, data=content)
    problem = await answer.json()
    assert (answer.status, problem["code"]) == (status, code)
    assert words in problem["detail"]
    assert problem["remedy"]
    assert left(folder) == []
    assert not list(folder.glob("*.onnx"))


async def test_an_unpinned_file_is_taken_by_its_name(client: Client, a_home: Home) -> None:
    answer = await client.post("/api/models/import", params={"model_id": "unpinned"}, data=form(b"{}", "config.json"))
    assert answer.status == 201
    assert a_home.store.installed("unpinned") is not None


async def test_too_large_a_file_is_refused_before_and_while_it_comes(
    a_home: Home, folder: Path, connect: Connect
) -> None:
    a_home.models.most_import_bytes = 1000
    client = await connect(Scope.ADMIN)
    said = await client.post("/api/models/import", data=b"x" * 200_000)
    assert (said.status, (await said.json())["code"]) == (413, "too_large")

    async def unsaid() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b"x" * 1000

    answer = await client.post("/api/models/import", data=unsaid())
    assert (answer.status, (await answer.json())["code"]) == (413, "too_large")
    assert left(folder) == []


async def test_a_disk_without_room_is_told_before_anything_is_received(a_home: Home, connect: Connect) -> None:
    a_home.know_models(sample_model(content=CONTENT), free=100 << 20)
    client = await connect(Scope.ADMIN)
    answer = await client.post("/api/models/import", data=CONTENT)
    problem = await answer.json()
    assert (answer.status, problem["code"]) == (507, "disk_nearly_full")
    assert "HSI_MODELS_DIR" in problem["remedy"]


async def test_others_who_fill_the_disk_meanwhile_are_noticed(tmp_path: Path) -> None:
    free = iter([1 << 40, 10])
    piece = b"x" * (64 << 20)
    with (
        receiving(tmp_path / "incoming", None, Room(tmp_path, lambda _folder: next(free))) as incoming,
        pytest.raises(Exception, match="where 0 MB are free"),
    ):
        incoming.write(piece)
    assert not list((tmp_path / "incoming").iterdir())


async def test_a_body_that_breaks_off_leaves_nothing(client: Client, a_home: Home, folder: Path) -> None:
    begun = asyncio.Event()

    async def breaking() -> AsyncIterator[bytes]:
        yield CONTENT[:50_000]
        while not left(folder):  # noqa: ASYNC110 - another thread writes there
            await asyncio.sleep(0.01)
        begun.set()
        raise ConnectionResetError

    with pytest.raises(aiohttp.ClientError):
        await client.post("/api/models/import", data=breaking())
    assert begun.is_set()
    async with asyncio.timeout(30):
        while left(folder):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)
    assert not (folder / "downloads").exists()
    assert (await client.post("/api/models/import", data=CONTENT)).status == 201
    assert a_home.store.installed("sample") is not None


async def test_one_that_stalls_is_given_up(a_home: Home, folder: Path, connect: Connect) -> None:
    client = await connect(Scope.ADMIN, ApiLimits(body_silence_seconds=0.1))

    async def stalling() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.sleep(60)

    try:
        answer = await client.post("/api/models/import", data=stalling())
    except aiohttp.ClientError:  # the answer may be cut off with the connection
        pass
    else:
        assert (answer.status, (await answer.json())["code"]) == (408, "too_slow")
    assert left(folder) == []
    del a_home


async def test_only_so_many_are_received_at_a_time(client: Client, a_home: Home) -> None:
    with a_home.models.receiving(None), a_home.models.receiving(None):
        answer = await client.post("/api/models/import", data=CONTENT)
        assert (answer.status, (await answer.json())["code"]) == (409, "model_busy")
    assert (await client.post("/api/models/import", data=CONTENT)).status == 201


@pytest.mark.parametrize("scope", [Scope.READ, Scope.UPLOAD, Scope.INTEGRATION])
async def test_only_administrators_may(connect: Connect, folder: Path, scope: Scope) -> None:
    client = await connect(scope)
    assert (await client.post("/api/models/import", data=CONTENT)).status == 403
    assert left(folder) == []


async def test_what_a_killed_process_left_is_swept_and_what_another_one_receives_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "incoming"
    (folder / "dead").mkdir(parents=True)
    (folder / "dead" / ".receiving").write_bytes(b"half")
    (folder / "dead.lock").touch()
    room = Room(tmp_path, lambda _folder: 1 << 40)
    with receiving(folder, None, room) as first:
        assert not (folder / "dead").exists()
        assert not (folder / "dead.lock").exists()
        with receiving(folder, None, room) as second:
            for incoming in (first, second):
                incoming.write(b"whole")
                assert incoming.finish("a.bin").read_bytes() == b"whole"


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("yolo26n.pt", "yolo26n.pt"),
        ("", "file"),
        ("..", "file"),
        ("a/b/../c.onnx", "c.onnx"),
        ("C:\\models\\my model.onnx", "my_model.onnx"),
        ("-rf.onnx", "rf.onnx"),
        ("\x00\n.onnx", "_.onnx"),
        ("x" * 300 + ".onnx", "x" * 95 + ".onnx"),
    ],
)
def test_names_are_made_safe(name: str, safe: str) -> None:
    assert safe_name(name) == safe
