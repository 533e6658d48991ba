# SPDX-License-Identifier: AGPL-3.0-or-later
"""The server that the integration's tests invent, held to what the real one can say."""

from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from pydantic import BaseModel

from inference_server.api import messages
from inference_server.api.problems import Problem
from inference_server.api.routes.dead_letters import Replayed
from inference_server.api.schema import ServerObject
from inference_server.core.announcement import AnnouncementKind
from tests.integration import samples
from tests.integration.fake_server import FakeServer
from tests.support.subscriber import Json, Subscriber

DATA: dict[str, type[BaseModel]] = {
    "camera_added": messages.CameraData,
    "camera_updated": messages.CameraData,
    "camera_removed": messages.CameraRemovedData,
    "event_detected": messages.EventData,
    "event_updated": messages.EventData,
    "event_escalated": messages.EventRiskData,
    "event_assessed": messages.EventRiskData,
    "event_ended": messages.EventData,
    "event_removed": messages.EventRemovedData,
    "event_restored": messages.EventData,
    "incident_started": messages.IncidentData,
    "incident_updated": messages.IncidentData,
    "incident_ended": messages.IncidentData,
    "incident_removed": messages.IncidentRemovedData,
    "summary": messages.SummaryData,
}


@pytest.fixture
async def fake() -> AsyncIterator[FakeServer]:
    """The fake, with one camera and an event that goes on."""
    fake = FakeServer()
    event = samples.event()
    fake.cameras = {"front_door": samples.busy_camera(event), "garden": samples.unjudged_camera("garden")}
    fake.events = {event["id"]: event}
    fake.incidents = {4: samples.incident()}
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
async def http(fake: FakeServer) -> AsyncIterator[aiohttp.ClientSession]:
    """Requests to the fake."""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{fake.port}") as session:
        yield session


def test_every_kind_is_held_to_the_schema() -> None:
    assert set(DATA) == set(AnnouncementKind)


async def test_the_greeting_is_a_real_one(http: aiohttp.ClientSession) -> None:
    async with http.ws_connect("/api/ws") as socket:
        subscriber = Subscriber(socket, samples.TOKEN)
        messages.Hello.model_validate_json(await socket.receive_str())
        await socket.send_json({"type": "auth", "token": samples.TOKEN, "schema_version": 1})
        messages.AuthOk.model_validate_json(await socket.receive_str())
        await socket.send_json({"type": "subscribe", "last_sequence": None})
        snapshot = messages.Snapshot.model_validate(await subscriber.receive())
    assert len(snapshot.cameras) == 2
    assert len(snapshot.events) == 1
    assert len(snapshot.incidents) == 1


async def test_a_refusal_is_a_real_one(http: aiohttp.ClientSession) -> None:
    async with http.ws_connect("/api/ws") as socket:
        messages.AuthFailed.model_validate(await Subscriber(socket, "wrong").authenticate())
        assert await Subscriber(socket, "wrong").farewell() == 4401


async def test_every_push_and_its_replay_are_real_ones(fake: FakeServer, http: aiohttp.ClientSession) -> None:
    async with http.ws_connect("/api/ws") as socket:
        subscriber = Subscriber(socket, samples.TOKEN)
        before = (await subscriber.subscribe(None))["sequence"]
        for push in _pushes(fake):
            await push()
            message = await subscriber.receive()
            _validate(message)
        await fake.change_server(queue_depth=3, detector=samples.detector(fallback=True, message="Why."))
        messages.ServerMessage.model_validate(await subscriber.receive())
    async with http.ws_connect("/api/ws") as socket:
        replay = await Subscriber(socket, samples.TOKEN).subscribe(before)
    assert {message.kind for message in messages.Replay.model_validate(replay).messages} == set(AnnouncementKind)


async def test_answers_and_problems_are_real_ones(http: aiohttp.ClientSession) -> None:
    right = {"Authorization": f"Bearer {samples.TOKEN}"}
    async with http.get("/api/system/info", headers=right) as answer:
        ServerObject.model_validate(await answer.json())
    for path, headers in (("/api/system/info", {}), ("/api/events/1/snapshot.jpg", right)):
        async with http.get(path, headers=headers) as answer:
            problem = Problem.model_validate(await answer.json())
            assert (answer.content_type, answer.status) == ("application/problem+json", problem.status)
    async with http.post("/api/dead_letters/replay", headers=right) as answer:
        Replayed.model_validate(await answer.json())
    async with http.delete("/api/cameras/nowhere", headers=right) as answer:
        assert Problem.model_validate(await answer.json()).code == "camera_not_found"


def _pushes(fake: FakeServer) -> list[Callable[[], Awaitable[None]]]:
    event = samples.event(10)
    risen = event | {"risk": {"score": 70, "level": "high"}}
    ended = risen | {"ended_at": samples.MORNING, "end_reason": "idle"}
    return [
        lambda: fake.push("camera_added", camera=samples.camera("yard")),
        lambda: fake.push("camera_updated", camera=samples.unjudged_camera("yard")),
        lambda: fake.event_happens("event_detected", event),
        lambda: fake.event_happens("event_updated", event | {"frame_count": 2}),
        lambda: fake.event_happens("event_escalated", risen, previous_level="medium"),
        lambda: fake.event_happens("event_assessed", risen | {"source": "model", "verified": True}),
        lambda: fake.event_happens("event_ended", ended),
        lambda: fake.event_goes(ended, samples.event(9, ended_at=samples.MORNING, end_reason="idle")),
        lambda: fake.event_happens("event_restored", ended),
        lambda: fake.push("camera_removed", camera_id="yard"),
        lambda: fake.push("incident_started", incident=samples.incident(5)),
        lambda: fake.push("incident_updated", incident=samples.incident(5, event_ids=[8, 9, 10])),
        lambda: fake.push("incident_ended", incident=samples.incident(5, ended_at=samples.MORNING)),
        lambda: fake.push("incident_removed", incident_id=4),
        lambda: fake.push("summary", summary=samples.summary()),
    ]


def _validate(message: Json) -> None:
    messages.Message.model_validate(message)
    DATA[message["kind"]].model_validate(message["data"])
