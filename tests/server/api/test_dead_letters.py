# SPDX-License-Identifier: AGPL-3.0-or-later
"""Dead letters over REST: a picture that fails for good is listed, tried again and judged, or given up."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import pytest
from sqlalchemy import URL

from inference_server.api.application import create_application
from inference_server.core.detection import Detection
from inference_server.core.message import Failure, StageName, Work
from inference_server.pipeline import stage as stage_module
from inference_server.pipeline.retry import PermanentError
from inference_server.storage import dead_letters
from inference_server.storage.tokens import Scope
from tests.server.api.conftest import Client, Connect, all_items
from tests.support.bench import CAMERA, Bench, a_person, bench
from tests.support.home import START, Home
from tests.support.subscriber import Json, Subscriber

PATH = "/api/dead_letters"


@dataclass
class Site:
    """A pipeline with an API over it."""

    bench: Bench
    home: Home
    make_client: Callable[..., Awaitable[Client]]

    async def client(self, scope: Scope = Scope.INTEGRATION) -> Client:
        """Return a client with a token of this scope."""
        context = replace(self.home.context(), queue_status=self.bench.broker.status, replay=self.bench.broker.replay)
        headers = {"Authorization": f"Bearer {await self.home.token(scope)}"}
        return await self.make_client(create_application(context), headers=headers)

    async def fail(self, *seen: Detection, camera: str = CAMERA, service: str | None = None) -> int:
        """Let a picture fail for good, as one at which the detector breaks; return its number for the script."""
        number = len(self.bench.detector.script) + 1
        broken = self.bench.picture(fails=PermanentError("the detector breaks"), number=number, camera=camera)
        await self.bench.take(broken)
        if service is None:
            await self.work(StageName.DETECT)
        else:
            (message,) = await self.bench.broker.claim(StageName.DETECT, 1)
            await self.bench.broker.bury(message, Failure("the service failed", service))
        self.bench.detector.script[number] = seen or (a_person(),)
        return number

    async def work(self, *names: StageName) -> None:
        """Do, as the loop does, all that is available."""
        for stage in (self.bench.detect, self.bench.gather, self.bench.close):
            while (not names or stage.name in names) and (
                messages := await self.bench.broker.claim(stage.name, stage.batch_size)
            ):
                await stage_module._consume(stage, self.bench.broker, messages)


@pytest.fixture(params=["sqlite", "postgresql"])
async def site(
    request: pytest.FixtureRequest, tmp_path: Path, aiohttp_client: Callable[..., Awaitable[Client]]
) -> AsyncIterator[Site]:
    """Give a pipeline and its API on each kind of database."""
    where: URL | None = None
    if request.param == "postgresql":
        where = request.getfixturevalue("postgresql").database()
    async with bench(tmp_path, where=where) as made:
        home = Home(made.database, made.media, clock=made.clock, announced=made.announced)
        yield Site(made, home, aiohttp_client)


async def _items(client: Client, **query: str) -> list[Json]:
    page = await (await client.get(PATH, params=query)).json()
    items: list[Json] = page["items"]
    return items


async def _problem(client: Client, method: str, path: str) -> tuple[int, str]:
    answer = await client.request(method, path)
    problem = await answer.json()
    assert answer.content_type == "application/problem+json"
    assert problem["detail"]
    assert problem["remedy"]
    return answer.status, problem["code"]


async def test_a_picture_that_failed_for_good_is_explained_and_after_a_replay_judged_once(site: Site) -> None:
    await site.fail(a_person())
    client = await site.client()
    (item,) = await _items(client)
    frame_id = item["frame_id"]
    assert item == {
        "id": item["id"],
        "stage": "detect",
        "frame_id": frame_id,
        "event_id": None,
        "camera_id": CAMERA,
        "reason": "PermanentError: the detector breaks",
        "service": None,
        "attempts": 1,
        "replays": 0,
        "enqueued_at": "2026-11-23T08:00:00Z",
        "died_at": "2026-11-23T08:00:00Z",
    }
    full = await (await client.get(f"{PATH}/{item['id']}")).json()
    assert full == item | {
        "trace": full["trace"],
        "picture": f"/api/frames/{frame_id}/picture.jpg",
        "discarded_at": None,
    }
    assert full["trace"].startswith("Traceback (most recent call last)")
    assert full["trace"].endswith("PermanentError: the detector breaks\n")
    assert (await client.get(full["picture"])).content_type == "image/jpeg"

    assert (await client.post(f"{PATH}/{item['id']}/replay")).status == 204
    assert await _items(client) == []
    for _ in range(2):
        await site.work()
        (event,) = await site.bench.events()
        assert (event.frame_count, len(event.tracks)) == (1, 1)
    assert len(await site.bench.detections()) == 1
    assert await _problem(client, "POST", f"{PATH}/{item['id']}/replay") == (404, "dead_letter_not_found")


async def test_what_fails_again_says_how_often_it_was_tried(site: Site) -> None:
    number = await site.fail()
    site.bench.detector.script[number] = PermanentError("still broken")
    client = await site.client()
    for replays in (1, 2):
        (item,) = await _items(client)
        await client.post(f"{PATH}/{item['id']}/replay")
        await site.work()
        (item,) = await _items(client)
        assert (item["replays"], item["reason"]) == (replays, "PermanentError: still broken")


async def test_a_replay_without_the_picture_dies_again_with_its_reason(site: Site) -> None:
    await site.fail()
    for file in site.bench.media.root.rglob("*.png"):
        file.unlink()
    client = await site.client()
    assert await (await client.post(f"{PATH}/replay")).json() == {"replayed": 1}
    await site.work()
    (item,) = await _items(client)
    assert "is gone from the media folder" in item["reason"]
    full = await (await client.get(f"{PATH}/{item['id']}")).json()
    assert await _problem(client, "GET", full["picture"]) == (404, "no_picture")


async def test_of_two_replays_at_once_one_wins(site: Site) -> None:
    await site.fail()
    client = await site.client()
    (item,) = await _items(client)
    answers = await asyncio.gather(*(client.post(f"{PATH}/{item['id']}/replay") for _ in range(5)))
    assert sorted(answer.status for answer in answers) == [204, 404, 404, 404, 404]
    await site.work()
    assert [event.frame_count for event in await site.bench.events()] == [1]


async def test_all_are_replayed_however_many_and_however_often_it_is_asked_at_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "AT_ONCE", 2)
    for _ in range(7):
        await site.fail(a_person())
    client = await site.client()
    answers = await asyncio.gather(*(client.post(f"{PATH}/replay") for _ in range(3)))
    assert sum([(await answer.json())["replayed"] for answer in answers]) == 7
    await site.work()
    assert sum(event.frame_count for event in await site.bench.events()) == 7


async def test_a_selection_is_listed_replayed_and_discarded(site: Site) -> None:
    await site.fail(camera="yard")
    await site.fail(camera="yard", service="detector")
    await site.fail(camera="gate", service="detector")
    admin = await site.client(Scope.ADMIN)
    assert [item["camera_id"] for item in await _items(admin)] == ["gate", "yard", "yard"]
    assert len(await _items(admin, camera_id="yard")) == 2
    assert len(await _items(admin, service="detector")) == 2
    assert len(await _items(admin, service="detector", camera_id="gate", stage="detect")) == 1
    assert await _items(admin, stage="gather") == []
    answer = await admin.delete(PATH, params={"camera_id": "gate"})
    assert await answer.json() == {"discarded": 1}
    answer = await admin.post(f"{PATH}/replay", params={"service": "detector"})
    assert await answer.json() == {"replayed": 1}
    answer = await admin.post(f"{PATH}/replay", params={"stage": "gather"})
    assert await answer.json() == {"replayed": 0}
    assert [item["camera_id"] for item in await _items(admin)] == ["yard"]


async def test_pages_hold_each_once(site: Site) -> None:
    for _ in range(5):
        await site.fail()
        site.bench.clock.move(seconds=1)
    client = await site.client()
    frames = [item["frame_id"] for item in await all_items(client, PATH, limit=2)]
    assert frames == sorted(frames, reverse=True)
    assert len(frames) == 5


async def test_a_discarded_one_is_accounted_for_and_never_comes_back(site: Site) -> None:
    await site.fail()
    client, admin = await site.client(), await site.client(Scope.ADMIN)
    (item,) = await _items(client)
    assert await _problem(client, "DELETE", f"{PATH}/{item['id']}") == (403, "forbidden")
    assert await _problem(client, "DELETE", PATH) == (403, "forbidden")
    assert (await admin.delete(f"{PATH}/{item['id']}")).status == 204
    assert await _items(client) == []
    full = await (await client.get(f"{PATH}/{item['id']}")).json()
    assert (full["reason"], full["discarded_at"]) == (item["reason"], "2026-11-23T08:00:00Z")
    for method, path in (("DELETE", f"{PATH}/{item['id']}"), ("POST", f"{PATH}/{item['id']}/replay")):
        assert await _problem(admin, method, path) == (409, "dead_letter_discarded")
    assert await (await admin.post(f"{PATH}/replay")).json() == {"replayed": 0}
    assert await (await admin.delete(PATH)).json() == {"discarded": 0}
    await site.work()
    assert await site.bench.events() == []


async def test_a_dead_timer_of_an_event_has_no_picture(site: Site) -> None:
    await site.bench.see(a_person())
    site.bench.clock.move(minutes=5)
    (message,) = await site.bench.broker.claim(StageName.CLOSE, 1)
    await site.bench.broker.bury(message, Failure("broken"))
    client = await site.client()
    (item,) = await _items(client, stage="close")
    (event,) = await site.bench.events()
    assert (item["frame_id"], item["event_id"]) == (None, event.id)
    assert (await (await client.get(f"{PATH}/{item['id']}")).json())["picture"] is None
    await client.post(f"{PATH}/{item['id']}/replay")
    await site.work()
    (event,) = await site.bench.events()
    assert event.ended_at is not None


async def test_subscribers_are_told_at_once(site: Site) -> None:
    for _ in range(3):
        await site.fail()
    admin = await site.client(Scope.ADMIN)
    (newest, *_) = await _items(admin)
    async with admin.ws_connect("/api/ws") as socket:
        subscriber = Subscriber(socket, await site.home.token())
        greeting = await subscriber.subscribe(None)
        assert _queue(greeting["server"]) == (0, 3)
        await admin.post(f"{PATH}/{newest['id']}/replay")
        assert _queue((await subscriber.receive())["server"]) == (1, 2)
        await admin.delete(PATH)
        assert _queue((await subscriber.receive())["server"]) == (1, 0)


def _queue(server: Json) -> tuple[int, int]:
    return server["queue_depth"], server["dead_letters"]


@pytest.mark.parametrize("scope", [Scope.READ, Scope.UPLOAD])
async def test_traces_may_hold_paths_so_that_reading_is_not_enough(
    a_home: Home, connect: Connect, scope: Scope
) -> None:
    await a_home.dead_letter()
    client = await connect(scope)
    for method, path in (("GET", PATH), ("GET", f"{PATH}/1"), ("POST", f"{PATH}/1/replay"), ("POST", f"{PATH}/replay")):
        assert await _problem(client, method, path) == (403, "forbidden")


async def test_an_id_that_no_letter_can_have_is_refused(a_home: Home, connect: Connect) -> None:
    await a_home.dead_letter()
    admin = await connect(Scope.ADMIN)
    hostile = (
        "0",
        "-1",
        "1.5",
        "x",
        "9" * 20,
        "9" * 5000,
        "1%00",
        "%2e%2e",
        "1%27%20or%201=1",
        "%ff",
        "1e3",
        "%EF%BC%91x",
    )
    for letter_id, (method, path) in product(hostile, (("GET", ""), ("DELETE", ""), ("POST", "/replay"))):
        status, _ = await _problem(admin, method, f"{PATH}/{letter_id}{path}")
        assert status in {400, 404, 422}, letter_id
    assert len(await _items(admin)) == 1


@pytest.mark.parametrize(
    "query",
    [
        {"stage": "fly"},
        {"stage": ""},
        {"camera_id": "../front"},
        {"service": "a b"},
        {"service": "x" * 33},
        {"limit": "0"},
        {"limit": "201"},
        {"cursor": "nonsense"},
        {"cursor": "OTk5OTk5OTk5OTk5OTk5OTk5OQ.MQ"},
        {"everything": "true"},
    ],
)
async def test_a_selection_that_means_nothing_is_refused_and_nothing_happens(
    a_home: Home, connect: Connect, query: dict[str, str]
) -> None:
    await a_home.dead_letter()
    admin = await connect(Scope.ADMIN)
    for method, path in (("GET", PATH), ("DELETE", PATH), ("POST", f"{PATH}/replay")):
        answer = await admin.request(method, path, params=query)
        assert (answer.status, (await answer.json())["code"]) == (422, "invalid_request")
    assert len(await _items(admin)) == 1


async def test_what_is_not_there_is_said_to_be_nowhere(connect: Connect) -> None:
    admin = await connect(Scope.ADMIN)
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/replay")):
        assert await _problem(admin, method, f"{PATH}/7{path}") == (404, "dead_letter_not_found")


async def test_a_later_message_about_the_same_subject_is_not_doubled(site: Site) -> None:
    await site.bench.see(a_person())
    (event,) = await site.bench.events()
    site.bench.clock.move(minutes=5)
    (message,) = await site.bench.broker.claim(StageName.CLOSE, 1)
    await site.bench.broker.bury(message, Failure("broken"))
    async with site.bench.broker.transaction() as transaction:
        await transaction.publish([Work(StageName.CLOSE, event.id, CAMERA, START)])
    client = await site.client()
    assert await (await client.post(f"{PATH}/replay")).json() == {"replayed": 1}
    assert len(await site.bench.broker.claim(StageName.CLOSE, 9)) == 1
