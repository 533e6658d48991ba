# SPDX-License-Identifier: AGPL-3.0-or-later
"""Everything the real server says, and what the integration's client makes of it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from custom_components.home_security_intelligence.client import models
from custom_components.home_security_intelligence.client.fields import Fields
from custom_components.home_security_intelligence.client.messages import (
    CameraChanged,
    CameraRemoved,
    EventChanged,
    EventRemoved,
    IncidentChanged,
    IncidentRemoved,
    Message,
    Replay,
    ServerChanged,
    Snapshot,
    parse_message,
    parse_resumption,
    parse_update,
)
from inference_server.api import messages, schema
from inference_server.api.model_objects import pull_object
from inference_server.core.announcement import AnnouncementKind
from inference_server.core.model import Pull, PullState, PullStep
from inference_server.core.status import DetectorState, DetectorStatus
from scripts.development.inference_server import InferenceServer
from tests.contract.connection import get, session
from tests.contract.lossless import assert_kept
from tests.support import scenes
from tests.support.home import Home
from tests.support.subscriber import Json, Subscriber

CAMERA = "message_street"


@pytest.fixture
async def subscriber(server: InferenceServer) -> AsyncIterator[Subscriber]:
    """A connection to the server that notes what is said."""
    async with session(server) as http, http.ws_connect("/api/ws") as socket:
        yield Subscriber(socket, server.token)


async def test_a_whole_life_of_a_camera_is_understood_to_the_last_field(
    server: InferenceServer, subscriber: Subscriber
) -> None:
    greeting = await subscriber.subscribe(None)
    said = [message async for message in _life_of_a_camera(server, subscriber)]

    told = [message for message in said if message["type"] == "message"]
    assert Counter(message["kind"] for message in told).keys() == set(AnnouncementKind) - {
        "event_assessed",
        "incident_ended",
        "summary",
    }
    assert [message["sequence"] for message in told] == [
        greeting["sequence"] + number for number in range(1, len(told) + 1)
    ]
    for message in said:
        _assert_understood(message)


async def test_snapshot_and_replay_are_understood(server: InferenceServer, subscriber: Subscriber) -> None:
    snapshot = await subscriber.subscribe(None)
    parsed = parse_resumption(Fields(snapshot, "snapshot"))
    assert isinstance(parsed, Snapshot)
    assert_kept(parsed, _without_type(snapshot))

    folder = server.watch_root / "replayed_street"
    scenes.drop(folder, scenes.encode(scenes.bus()))
    async for _ in _until(subscriber, "event_ended", folder.name):
        pass
    async with session(server) as http, http.ws_connect("/api/ws") as socket:
        replay = await Subscriber(socket, server.token).subscribe(snapshot["sequence"])
    replayed = parse_resumption(Fields(replay, "replay"))
    assert isinstance(replayed, Replay)
    kinds = [message["kind"] for message in replay["messages"] if _camera_of(message) == folder.name]
    assert kinds == ["camera_added", "event_detected", "event_ended"]
    assert replayed.sequence == replay["sequence"] == replay["messages"][-1]["sequence"]
    assert replayed.messages == tuple(parse_message(Fields(one, "message")) for one in replay["messages"])


async def test_the_server_object_is_understood(server: InferenceServer) -> None:
    said = await get(server, "/api/system/info")
    assert_kept(models.Server.parse(Fields(said, "server")), said)


@pytest.mark.parametrize(
    "status",
    [
        pytest.param(DetectorStatus(DetectorState.STARTING), id="starting"),
        pytest.param(DetectorStatus(DetectorState.DOWN, message="No weights. Get some."), id="down"),
    ],
)
def test_a_server_without_a_detector_is_understood(status: DetectorStatus) -> None:
    said = schema.DetectorObject.model_validate(status, from_attributes=True).model_dump(mode="json")
    assert_kept(models.Detector.parse(Fields(said, "detector")), said)


async def test_lists_hold_the_same_objects_as_messages(server: InferenceServer, subscriber: Subscriber) -> None:
    scenes.drop(server.watch_root / "listed_street", scenes.encode(scenes.bus()))
    await subscriber.subscribe(None)
    async for _ in _until(subscriber, "event_ended", "listed_street"):
        pass
    cameras = (await get(server, "/api/cameras"))["items"]
    events = (await get(server, "/api/events"))["items"]
    assert {"listed_street"} <= {camera["id"] for camera in cameras}
    assert {"listed_street"} <= {event["camera_id"] for event in events}
    for camera in cameras:
        assert_kept(models.Camera.parse(Fields(camera, "camera")), camera)
    for event in events:
        assert_kept(models.Event.parse(Fields(event, "event")), event)


async def test_an_event_of_a_camera_that_is_gone_breaks_nothing(a_home: Home) -> None:
    event = schema.event(await a_home.event(await a_home.camera()), a_home.context().thresholds)
    said = messages.Message(
        sequence=7,
        at=a_home.clock.now(),
        kind=AnnouncementKind.EVENT_ASSESSED,
        data=messages.EventData(event=event, camera=None),
    ).model_dump(mode="json")
    assert parse_message(Fields(said, "message")) == Message(7, None)


@pytest.mark.parametrize("kind", ["summary", "incident_of_a_newer_server"])
def test_a_kind_that_the_client_does_not_know_is_passed_over(kind: str) -> None:
    said = {"type": "message", "sequence": 7, "at": "2026-11-24T08:00:00Z", "kind": kind, "data": {"anything": [1]}}
    assert parse_message(Fields(said, "message")) == Message(7, None)


def test_a_message_that_the_client_does_not_know_is_passed_over() -> None:
    """Model pulls are told to administrators alone; a client with such a token goes on all the same."""
    pull = Pull("yolo26n", PullState.RUNNING, PullStep.DOWNLOADING, 10, 100)
    said = messages.ModelPullMessage(pull=pull_object(pull)).model_dump(mode="json")
    assert parse_update(Fields(said, "message")) is None


async def _life_of_a_camera(server: InferenceServer, subscriber: Subscriber) -> AsyncIterator[Json]:
    folder = server.watch_root / CAMERA
    steps = [
        (scenes.one_person, "event_detected"),
        (scenes.one_person, "event_updated"),
        (scenes.bus, "event_escalated"),
        (None, "event_ended"),
        (scenes.nobody, "camera_updated"),
    ]
    for take, expected in steps:
        if take:
            scenes.drop(folder, scenes.encode(take()))
        async for message in _until(subscriber, expected, CAMERA):
            yield message
    [event] = (await get(server, f"/api/events?camera_id={CAMERA}"))["items"]
    for method, path, expected in (
        ("DELETE", f"/api/events/{event['id']}", "event_removed"),
        ("POST", f"/api/events/{event['id']}/restore", "event_restored"),
    ):
        async with session(server) as http, http.request(method, path) as answer:
            assert answer.ok
        async for message in _until(subscriber, expected, CAMERA):
            yield message
    async with session(server) as http, http.delete(f"/api/cameras/{CAMERA}") as answer:
        assert answer.status == 204
    async for message in _until(subscriber, "camera_removed", CAMERA):
        yield message


async def _until(subscriber: Subscriber, kind: str, camera_id: str) -> AsyncIterator[Json]:
    """Everything up to the first message of a kind about a camera."""
    async with asyncio.timeout(20):
        while True:
            message = await subscriber.receive()
            yield message
            if message.get("kind") == kind and _camera_of(message) == camera_id:
                return


def _camera_of(message: Json) -> str:
    data = message["data"]
    if message["kind"].startswith("incident_"):
        return ""
    camera_id: str = data["camera_id"] if "camera_id" in data else data["camera"]["id"]
    return camera_id


def _assert_understood(message: Json) -> None:
    match parse_update(Fields(message, "message")):
        case ServerChanged(server):
            assert_kept(server, message["server"])
        case Message(sequence, change):
            assert sequence == message["sequence"]
            _assert_change_understood(change, message)
        case other:
            pytest.fail(f"{message} became {other}")


def _assert_change_understood(change: object, message: Json) -> None:
    kind, data = message["kind"], message["data"]
    match change:
        case CameraChanged(camera):
            assert kind in {"camera_added", "camera_updated"}
            assert_kept(camera, data["camera"])
        case CameraRemoved(camera_id):
            assert (kind, {"camera_id": camera_id}) == ("camera_removed", data)
        case EventRemoved(event_id, camera, None):
            assert (kind, event_id, None) == ("event_removed", data["event_id"], data["last_event"])
            assert_kept(camera, data["camera"])
        case IncidentRemoved(incident_id):
            assert (kind, {"incident_id": incident_id}) == ("incident_removed", data)
        case IncidentChanged(incident_kind, incident):
            assert incident_kind == kind
            assert_kept(incident, data["incident"])
        case EventChanged():
            assert change.kind == kind
            assert_kept(change.event, data["event"])
            assert_kept(change.camera, data["camera"])
            assert change.previous_level == data.get("previous_level")
        case _:
            pytest.fail(f"{kind} was not understood")


def _without_type(message: Json) -> Json:
    return {name: value for name, value in message.items() if name != "type"}
