# SPDX-License-Identifier: AGPL-3.0-or-later
"""Models over the API: from the request to the file, with progress on the WebSocket."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from inference_server.api.context import ApiLimits
from inference_server.core.model import ModelUnavailable
from inference_server.core.status import DetectorState, DetectorStatus
from inference_server.models.catalogue import ModelEntry
from inference_server.pipeline.model_health import ModelHealth
from inference_server.storage.tokens import Scope
from tests.server.api.conftest import Client, Connect
from tests.server.models.file_server import FileServer
from tests.support.home import Home, sample_model
from tests.support.subscriber import Json, Subscriber

CONTENT = bytes(range(256)) * 4000
QUICK = ApiLimits(pull_interval_seconds=0.01)


@pytest.fixture
async def files() -> AsyncIterator[FileServer]:
    """Serves the sample's file, whose end waits at a gate."""
    async with FileServer(CONTENT) as server:
        server.gate = asyncio.Event()
        yield server
        server.gate.set()


@pytest.fixture
def sample(a_home: Home, files: FileServer) -> ModelEntry:
    """The only model that the home knows."""
    entry = sample_model(files.url(), CONTENT)
    a_home.know_models(entry)
    return entry


async def subscribed(a_home: Home, client: Client, scope: Scope) -> Subscriber:
    subscriber = Subscriber(await client.ws_connect("/api/ws"), await a_home.token(scope))
    await subscriber.subscribe(None)
    return subscriber


async def until(subscriber: Subscriber, state: str) -> list[Json]:
    """Return the pulls that are told up to a state."""
    told: list[Json] = []
    while not told or told[-1]["state"] != state:
        message = await subscriber.receive()
        assert message["type"] == "model_pull"
        told.append(message["pull"])
    return told


async def model(client: Client) -> Json:
    answer: dict[str, Any] = await (await client.get("/api/models/sample")).json()
    return answer


@pytest.mark.usefixtures("sample")
async def test_a_pull_is_told_while_it_gets_on_and_survives_its_client(
    a_home: Home, connect: Connect, files: FileServer
) -> None:
    client = await connect(Scope.ADMIN, QUICK)
    watcher, leaver = [await subscribed(a_home, client, Scope.ADMIN) for _ in range(2)]
    answer = await client.post("/api/models/sample/pull")
    assert answer.status == 202
    assert (await answer.json())["state"] == "waiting"
    again = await client.post("/api/models/sample/pull")
    assert (await again.json())["state"] in {"waiting", "running"}
    await files.reached.wait()
    await leaver.socket.close()
    now = await model(client)
    assert (now["installed"], now["pull"]["state"]) == (False, "running")
    assert files.gate is not None
    files.gate.set()
    told = await until(watcher, "done")
    done = [pull["done_bytes"] for pull in told]
    assert done == sorted(done)
    assert done[-1] == told[-1]["total_bytes"] == len(CONTENT)
    assert told[-1]["ended_at"] is not None
    assert len(files.ranges) == 1
    now = await model(client)
    assert (now["installed"], now["pull"], now["in_use"]) == (True, None, False)
    listed = await (await client.get("/api/models")).json()
    assert listed["items"] == [now]
    assert listed["free_bytes"] > 0


@pytest.mark.usefixtures("sample")
async def test_only_administrators_are_told_of_pulls(a_home: Home, connect: Connect, files: FileServer) -> None:
    client = await connect(Scope.ADMIN, QUICK)
    reader, admin = [await subscribed(a_home, client, scope) for scope in (Scope.INTEGRATION, Scope.ADMIN)]
    assert files.gate is not None
    files.gate.set()
    await client.post("/api/models/sample/pull")
    await until(admin, "done")
    await a_home.camera()
    await a_home.announce_state()
    assert (await reader.receive())["type"] == "message", "the first thing it is told is of the sequence"


@pytest.mark.usefixtures("sample")
async def test_a_cancelled_pull_goes_on_when_it_is_wanted_again(
    a_home: Home, connect: Connect, files: FileServer
) -> None:
    client = await connect(Scope.ADMIN, QUICK)
    admin = await subscribed(a_home, client, Scope.ADMIN)
    await client.post("/api/models/sample/pull")
    await files.reached.wait()
    busy = await client.delete("/api/models/sample")
    assert (busy.status, (await busy.json())["code"]) == (409, "model_busy")
    assert (await client.delete("/api/models/sample/pull")).status == 204
    await until(admin, "cancelled")
    assert (await model(client))["pull"]["state"] == "cancelled"
    assert (await client.delete("/api/models/sample/pull")).status == 204, "cancelling twice is no mistake"
    assert files.gate is not None
    files.gate.set()
    await client.post("/api/models/sample/pull")
    await until(admin, "done")
    assert (await client.delete("/api/models/sample")).status == 204
    gone = await client.delete("/api/models/sample")
    assert (gone.status, (await gone.json())["code"]) == (404, "model_not_installed")
    assert not (await model(client))["installed"]


async def test_a_restart_interrupts_a_pull_and_says_so(
    a_home: Home, connect: Connect, files: FileServer, sample: ModelEntry
) -> None:
    running = asyncio.create_task(a_home.models.run())
    a_home.models.ask("sample", accept_unpinned=False)
    changed = a_home.models.changed
    while not a_home.models.pulls[0].done_bytes:
        await changed.wait(changed.count)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    a_home.know_models(sample)  # as the next process does
    client = await connect(Scope.ADMIN, QUICK)
    left = (await model(client))["pull"]
    assert left["state"] == "interrupted"
    assert 0 < left["done_bytes"] < len(CONTENT)
    assert files.gate is not None
    files.gate.set()
    admin = await subscribed(a_home, client, Scope.ADMIN)
    await client.post("/api/models/sample/pull")
    await until(admin, "done")


async def test_a_failed_pull_says_why_and_what_to_do(a_home: Home, connect: Connect) -> None:
    client = await connect(Scope.ADMIN, QUICK)
    admin = await subscribed(a_home, client, Scope.ADMIN)
    await client.post("/api/models/sample/pull")
    failed = (await until(admin, "failed"))[-1]
    assert failed["error"] == "Sample could not be downloaded (no route to 127.0.0.1)"
    assert failed["remedy"].startswith("Run `hsi models pull sample`")
    assert (await model(client))["pull"] == failed


async def test_a_failure_is_told_until_it_is_dismissed_or_the_model_comes(a_home: Home, connect: Connect) -> None:
    a_home.know_models(sample_model(content=CONTENT))
    client = await connect(Scope.ADMIN, QUICK)
    health = ModelHealth(a_home.models, a_home.health)
    reporting = asyncio.create_task(health.run())
    admin = await subscribed(a_home, client, Scope.ADMIN)
    await client.post("/api/models/sample/pull")
    await until(admin, "failed")
    report = await reported(client, "degraded")
    assert report["last_error"] == "Sample could not be downloaded (no route to 127.0.0.1)."
    assert report["remedy"].startswith("Run `hsi models pull sample`")
    assert (await client.delete("/api/models/sample/pull")).status == 204
    await reported(client, "ok")
    assert (await model(client))["pull"] is None

    await client.post("/api/models/sample/pull")
    await reported(client, "degraded")
    assert (await client.post("/api/models/import", data=CONTENT)).status == 201
    await reported(client, "ok")
    reporting.cancel()


async def reported(client: Client, state: str) -> Json:
    """Return what health says of models once it has a state."""
    async with asyncio.timeout(30):
        while True:
            report = await (await client.get("/api/system/health/full")).json()
            for part in report["components"]:
                if part["name"] == "models" and part["state"] == state:
                    return dict(part)
            await asyncio.sleep(0.01)


async def test_a_failure_is_not_forgotten_while_it_is_tried_again(
    a_home: Home, files: FileServer, sample: ModelEntry
) -> None:
    a_home.models.note_failed(sample.id, ModelUnavailable("It could not be had", "Wait."))
    a_home.models.ask(sample.id, accept_unpinned=False)
    await files.reached.wait()
    (pull,) = await a_home.models.failed()
    assert (pull.error, pull.remedy) == ("It could not be had", "Wait.")
    assert files.gate is not None
    files.gate.set()
    changed = a_home.models.changed
    while await a_home.models.failed():
        await changed.wait(changed.count)
    assert a_home.store.installed(sample.id) is not None


async def test_without_published_digests_somebody_has_to_say_so(
    a_home: Home, connect: Connect, files: FileServer, sample: ModelEntry
) -> None:
    a_home.know_models(replace(sample, files=(replace(sample.files[0], sha256=None, size_exact=False),)))
    client = await connect(Scope.ADMIN, QUICK)
    refused = await client.post("/api/models/sample/pull")
    assert (refused.status, (await refused.json())["code"]) == (409, "model_unpinned")
    assert files.gate is not None
    files.gate.set()
    admin = await subscribed(a_home, client, Scope.ADMIN)
    assert (await client.post("/api/models/sample/pull", params={"accept_unpinned": "true"})).status == 202
    await until(admin, "done")
    (file,) = (await model(client))["files"]
    assert (len(file["sha256"]), file["pinned"]) == (64, False)


async def test_a_disk_without_room_is_told_before_anything_begins(
    a_home: Home, connect: Connect, files: FileServer, sample: ModelEntry
) -> None:
    a_home.know_models(sample, free=1000)
    client = await connect(Scope.ADMIN)
    refused = await client.post("/api/models/sample/pull")
    assert (refused.status, (await refused.json())["code"]) == (507, "disk_nearly_full")
    assert (await model(client))["pull"] is None
    assert (await (await client.get("/api/models")).json())["free_bytes"] == 1000
    assert files.ranges == []


@pytest.mark.usefixtures("sample")
async def test_the_model_in_use_stays_unless_forced(a_home: Home, connect: Connect, files: FileServer) -> None:
    a_home.detector = DetectorStatus(DetectorState.OK, "sample")
    assert files.gate is not None
    files.gate.set()
    await a_home.store.pull("sample")
    client = await connect(Scope.ADMIN)
    assert (await model(client))["in_use"]
    refused = await client.delete("/api/models/sample")
    assert (refused.status, (await refused.json())["code"]) == (409, "model_in_use")
    assert (await client.delete("/api/models/sample", params={"force": "true"})).status == 204


@pytest.mark.parametrize(
    ("model_id", "status", "code"),
    [
        ("yolo99", 404, "model_not_found"),
        ("..%2f..%2fescaped", 422, "invalid_request"),
        ("A", 422, "invalid_request"),
        ("x" * 65, 422, "invalid_request"),
        ("a%00b", 422, "invalid_request"),
    ],
)
async def test_ids_that_nobody_knows(connect: Connect, model_id: str, status: int, code: str) -> None:
    client = await connect(Scope.ADMIN)
    for method, path in (("GET", ""), ("POST", "/pull"), ("DELETE", "/pull"), ("DELETE", "")):
        answer = await client.request(method, f"/api/models/{model_id}{path}")
        assert (answer.status, (await answer.json())["code"]) == (status, code)
