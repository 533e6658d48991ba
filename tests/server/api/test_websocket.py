# SPDX-License-Identifier: AGPL-3.0-or-later
"""The WebSocket, step by step."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import WSCloseCode, WSMsgType

from inference_server import __version__
from inference_server.api.context import ApiLimits
from inference_server.api.feed import FEED, Subscription
from inference_server.api.websocket import MAX_MESSAGE
from inference_server.core.announcement import Announcement, AnnouncementKind
from inference_server.core.assessment import RiskLevel
from inference_server.core.status import DetectorState, DetectorStatus, QueueStatus
from inference_server.storage import announcements, cameras, tokens
from inference_server.storage.tables import announcements as announcement_table
from inference_server.storage.tokens import Scope
from tests.server.api.conftest import Client, Connect
from tests.support.home import SERVER_ID, START, Home
from tests.support.subscriber import Subscriber

type Open = Callable[..., Awaitable[Subscriber]]


@pytest.fixture
async def open_socket(a_home: Home) -> Open:
    """Give a function that connects a subscriber with a right token."""
    token = await a_home.token(Scope.INTEGRATION)

    async def connect(client: Client, token: str = token) -> Subscriber:
        return Subscriber(await client.ws_connect("/api/ws"), token)

    return connect


async def test_hello_comes_first(connect: Connect, open_socket: Open) -> None:
    subscriber = await open_socket(await connect(scope=None))
    assert await subscriber.receive() == {
        "type": "hello",
        "server_id": SERVER_ID,
        "version": __version__,
        "schema_version": 1,
        "min_schema_version": 1,
    }


@pytest.mark.parametrize("scope", [Scope.READ, Scope.INTEGRATION, Scope.ADMIN])
async def test_a_token_that_may_read_is_accepted(
    a_home: Home, connect: Connect, open_socket: Open, scope: Scope
) -> None:
    subscriber = await open_socket(await connect(scope=None), await a_home.token(scope))
    assert await subscriber.authenticate() == {"type": "auth_ok", "scopes": [scope]}


@pytest.mark.parametrize(
    ("schema_version", "token", "code"),
    [
        (1, "wrong", "unauthorized"),
        (1, "", "unauthorized"),
        (1, "\u00e4\u20ac", "unauthorized"),
        (0, None, "client_too_old"),
        (2, None, "client_too_new"),
    ],
)
async def test_a_refused_client_gets_a_reason(
    connect: Connect, open_socket: Open, schema_version: int, token: str | None, code: str
) -> None:
    subscriber = await open_socket(await connect(scope=None))
    subscriber.token = subscriber.token if token is None else token
    answer = await subscriber.authenticate(schema_version)
    assert (answer["type"], answer["code"]) == ("auth_failed", code)
    assert answer["detail"]
    assert answer["remedy"]
    assert await subscriber.farewell() == 4401


async def test_an_upload_token_may_not_subscribe(a_home: Home, connect: Connect, open_socket: Open) -> None:
    subscriber = await open_socket(await connect(scope=None), await a_home.token(Scope.UPLOAD))
    assert (await subscriber.authenticate())["code"] == "forbidden"
    assert await subscriber.farewell() == 4401


async def test_a_slowed_address_waits_for_its_refusal(connect: Connect, open_socket: Open) -> None:
    client = await connect(scope=None, limits=ApiLimits(refusals_per_minute=1, refusal_delay_seconds=0.2))
    loop = asyncio.get_running_loop()
    took = []
    for _ in range(2):
        began = loop.time()
        assert (await (await open_socket(client, "wrong")).authenticate())["code"] == "unauthorized"
        took.append(loop.time() - began)
    assert took[1] >= 0.2
    assert (await (await open_socket(client)).authenticate())["type"] == "auth_ok"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("not json", "JSON"),
        ("[]", "object"),
        ("{}", "type"),
        ('{"type": "subscribe", "last_sequence": null}', "auth"),
        ('{"type": "auth", "token": "x"}', "schema_version"),
        ('{"type": "auth", "token": 7, "schema_version": 1}', "token"),
        (f'{{"type": "auth", "token": "{"x" * MAX_MESSAGE}", "schema_version": 1}}', "longer"),
    ],
)
async def test_an_unreadable_first_message_ends_the_talk(
    connect: Connect, open_socket: Open, text: str, named: str
) -> None:
    subscriber = await open_socket(await connect(scope=None))
    await subscriber.receive()
    await subscriber.socket.send_str(text)
    answer = await subscriber.receive()
    assert (answer["type"], answer["code"]) == ("error", "invalid_request")
    assert named in answer["detail"]
    assert answer["remedy"]
    assert await subscriber.farewell() == 4400


@pytest.mark.parametrize(
    "message",
    [
        {"type": "auth", "token": "again", "schema_version": 1},
        {"type": "subscribe"},
        {"type": "subscribe", "last_sequence": -1},
        {"type": "subscribe", "last_sequence": "41"},
        {"type": "subscribe", "last_sequence": 2**63},
    ],
)
async def test_a_wrong_subscription_ends_the_talk(connect: Connect, open_socket: Open, message: dict[str, Any]) -> None:
    subscriber = await open_socket(await connect(scope=None))
    await subscriber.authenticate()
    await subscriber.socket.send_json(message)
    assert (await subscriber.receive())["type"] == "error"
    assert await subscriber.farewell() == 4400


async def test_a_binary_message_ends_the_talk(connect: Connect, open_socket: Open) -> None:
    subscriber = await open_socket(await connect(scope=None))
    await subscriber.receive()
    await subscriber.socket.send_bytes(b"{}")
    assert (await subscriber.receive())["type"] == "error"
    assert await subscriber.farewell() == 4400


async def test_a_message_of_more_than_a_megabyte_is_not_read(connect: Connect, open_socket: Open) -> None:
    subscriber = await open_socket(await connect(scope=None))
    await subscriber.receive()
    await subscriber.socket.send_str("x" * ((1 << 20) + 1))
    answer = await subscriber.socket.receive()
    assert (answer.type, answer.data) == (WSMsgType.CLOSE, WSCloseCode.MESSAGE_TOO_BIG)


async def test_a_subscriber_has_nothing_more_to_say(connect: Connect, open_socket: Open) -> None:
    subscriber = await open_socket(await connect(scope=None))
    await subscriber.subscribe(None)
    await subscriber.socket.send_json({"type": "subscribe", "last_sequence": None})
    assert (await subscriber.receive())["type"] == "error"
    assert await subscriber.farewell() == 4400


async def test_silence_is_ended(connect: Connect, open_socket: Open) -> None:
    client = await connect(scope=None, limits=ApiLimits(handshake_seconds=0.05))
    early = await open_socket(client)
    await early.receive()
    late = await open_socket(client)
    await late.authenticate()
    for subscriber in (early, late):
        answer = await subscriber.receive()
        assert (answer["type"], answer["code"]) == ("error", "invalid_request")
        assert await subscriber.farewell() == 4400


async def test_unknown_fields_of_a_newer_client_are_ignored(connect: Connect, open_socket: Open) -> None:
    subscriber = await open_socket(await connect(scope=None))
    await subscriber.receive()
    await subscriber.socket.send_json(
        {"type": "auth", "token": subscriber.token, "schema_version": 1, "mood": "cheerful"}
    )
    assert (await subscriber.receive())["type"] == "auth_ok"


async def test_the_first_subscription_gets_a_snapshot(a_home: Home, connect: Connect, open_socket: Open) -> None:
    for camera_id in ("attic", "yard", "cellar", "gone"):
        await a_home.camera(camera_id)
    await a_home.ended_event("attic")
    last = await a_home.ended_event("attic", score=90)
    running = await a_home.event("yard")
    await a_home.event("gone")
    async with a_home.database.writing() as connection:
        await cameras.remove(connection, "gone", START)
    await a_home.announce_state("yard", times=3)
    snapshot = await (await open_socket(await connect(scope=None))).subscribe(None)
    assert snapshot["type"] == "snapshot"
    assert snapshot["sequence"] == 3
    assert snapshot["server"]["server_id"] == SERVER_ID
    assert [camera["id"] for camera in snapshot["cameras"]] == ["attic", "cellar", "yard"]
    assert [event["id"] for event in snapshot["events"]] == [last.id, running.id]


async def test_a_client_that_comes_back_gets_exactly_what_it_missed(
    a_home: Home, connect: Connect, open_socket: Open
) -> None:
    await a_home.camera()
    await a_home.announce_state(times=5)
    client = await connect(scope=None)
    replay = await (await open_socket(client)).subscribe(2)
    assert (replay["type"], replay["sequence"]) == ("replay", 5)
    assert [message["sequence"] for message in replay["messages"]] == [3, 4, 5]
    replay = await (await open_socket(client)).subscribe(5)
    assert (replay["type"], replay["sequence"], replay["messages"]) == ("replay", 5, [])


async def test_nothing_ever_happened(connect: Connect, open_socket: Open) -> None:
    client = await connect(scope=None)
    assert (await (await open_socket(client)).subscribe(None))["sequence"] == 0
    replay = await (await open_socket(client)).subscribe(0)
    assert (replay["type"], replay["sequence"], replay["messages"]) == ("replay", 0, [])


async def test_too_much_missed_gives_a_snapshot(a_home: Home, connect: Connect, open_socket: Open) -> None:
    await a_home.camera()
    await a_home.announce_state(times=12)
    client = await connect(scope=None, limits=ApiLimits(replay_length=10))
    assert (await (await open_socket(client)).subscribe(2))["type"] == "replay"
    for last_sequence in (1, 13, 999):
        snapshot = await (await open_socket(client)).subscribe(last_sequence)
        assert (snapshot["type"], snapshot["sequence"]) == ("snapshot", 12)
    async with a_home.database.writing() as connection:
        await connection.execute(announcement_table.delete().where(announcement_table.c.sequence <= 8))
    assert (await (await open_socket(client)).subscribe(8))["type"] == "replay"
    assert (await (await open_socket(client)).subscribe(7))["type"] == "snapshot"


async def test_everything_that_happens_is_told(a_home: Home, connect: Connect, open_socket: Open) -> None:
    await a_home.camera()
    event = await a_home.event(score=60)
    async with a_home.database.reading() as connection:
        camera = await cameras.state(connection, "front_door", judged=True)
    subscriber = await open_socket(await connect(scope=None))
    await subscriber.subscribe(None)
    with_previous_level = {AnnouncementKind.EVENT_ESCALATED, AnnouncementKind.EVENT_ASSESSED}
    for kind in AnnouncementKind:
        about_event = kind.value.startswith("event")
        await a_home.announce(
            Announcement(
                kind,
                "front_door",
                START,
                camera=None if kind is AnnouncementKind.CAMERA_REMOVED else camera,
                event=event if about_event else None,
                previous_level=RiskLevel.LOW if kind in with_previous_level else None,
            )
        )
    for sequence, kind in enumerate(AnnouncementKind, start=1):
        message = await subscriber.receive()
        data = message.pop("data")
        assert message == {"type": "message", "sequence": sequence, "at": "2026-11-23T08:00:00Z", "kind": kind}
        if kind is AnnouncementKind.CAMERA_REMOVED:
            assert data == {"camera_id": "front_door"}
            continue
        assert data["camera"]["risk"] == {"score": 60, "level": "high"}
        assert data.get("event", {"id": event.id})["id"] == event.id
        assert ("previous_level" in data) == (kind in with_previous_level)


async def test_the_end_of_an_event_of_a_removed_camera(a_home: Home, connect: Connect, open_socket: Open) -> None:
    await a_home.camera()
    event = await a_home.ended_event()
    subscriber = await open_socket(await connect(scope=None))
    await subscriber.subscribe(None)
    await a_home.announce(Announcement(AnnouncementKind.EVENT_ENDED, "front_door", START, event=event))
    message = await subscriber.receive()
    assert (message["kind"], message["data"]["camera"]) == ("event_ended", None)


async def test_announcements_of_other_processes_are_found(a_home: Home, connect: Connect, open_socket: Open) -> None:
    await a_home.camera()
    subscriber = await open_socket(await connect(scope=None, limits=ApiLimits(recheck_seconds=0.05)))
    await subscriber.subscribe(None)
    async with a_home.database.writing() as connection:
        await announcements.add(connection, [Announcement(AnnouncementKind.CAMERA_REMOVED, "front_door", START)])
    assert (await subscriber.receive())["kind"] == "camera_removed"


async def test_the_feed_outlives_a_failing_database(
    a_home: Home, connect: Connect, open_socket: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_home.camera()
    subscriber = await open_socket(await connect(scope=None, limits=ApiLimits(recheck_seconds=0.05)))
    await subscriber.subscribe(None)
    failed = asyncio.Event()

    async def fail(*_: object, **__: object) -> None:
        failed.set()
        raise OSError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(announcements, "after", fail)
        await a_home.announce_state(times=2)
        await asyncio.wait_for(failed.wait(), 10)
    assert [(await subscriber.receive())["sequence"] for _ in range(2)] == [1, 2]


async def test_a_changed_server_is_told_but_not_in_a_storm(a_home: Home, connect: Connect, open_socket: Open) -> None:
    subscriber = await open_socket(await connect(scope=None, limits=ApiLimits(server_interval_seconds=0.3)))
    await subscriber.subscribe(None)
    loop = asyncio.get_running_loop()
    began = loop.time()
    a_home.detector = DetectorStatus(DetectorState.DOWN)
    a_home.server_changed.notify()
    first = await subscriber.receive()
    assert (first["type"], first["server"]["detector"]["state"]) == ("server", "down")
    for depth in range(1, 101):
        a_home.queue = QueueStatus(depth, 0)
        a_home.server_changed.notify()
        await asyncio.sleep(0)
    assert (await subscriber.receive())["server"]["queue_depth"] == 100
    assert loop.time() - began >= 0.3


async def test_a_revoked_token_ends_the_subscription(a_home: Home, connect: Connect, open_socket: Open) -> None:
    client = await connect(scope=None, limits=ApiLimits(token_check_seconds=0.05))
    subscriber = await open_socket(client)
    await subscriber.subscribe(None)
    async with a_home.database.writing() as connection:
        await tokens.revoke(connection, 1, START)
    answer = await subscriber.receive()
    assert (answer["type"], answer["code"]) == ("auth_failed", "unauthorized")
    assert await subscriber.farewell() == 4401


async def the_subscription(client: Client) -> Subscription:
    (subscription,) = client.app[FEED]._subscriptions
    return subscription


async def test_a_slow_reader_is_sent_away_and_comes_back(a_home: Home, connect: Connect, open_socket: Open) -> None:
    await a_home.camera()
    event = await a_home.event(reasoning="because " * 25_000)
    big = Announcement(AnnouncementKind.EVENT_UPDATED, "front_door", START, event=event)
    client = await connect(scope=None, limits=ApiLimits(queue_length=8))
    subscriber = await open_socket(client)
    await subscriber.subscribe(None)
    subscription = await the_subscription(client)
    sent = 0
    while not subscription.lost.is_set():
        await a_home.announce(big)
        sent += 1
        assert sent < 500
    last = 0
    async for received in subscriber.socket:
        assert received.json()["sequence"] == last + 1
        last += 1
    assert subscriber.socket.close_code == 4429
    assert last < sent
    replay = await (await open_socket(client)).subscribe(last)
    assert [message["sequence"] for message in replay["messages"]] == list(range(last + 1, sent + 1))


async def test_a_burst_does_not_lose_a_reader(a_home: Home, connect: Connect, open_socket: Open) -> None:
    await a_home.camera()
    subscriber = await open_socket(await connect(scope=None))
    await subscriber.subscribe(None)
    await a_home.announce_state(times=3000)
    assert [(await subscriber.receive())["sequence"] for _ in range(3000)] == list(range(1, 3001))


async def test_the_server_pings_and_drops_who_does_not_answer(connect: Connect) -> None:
    client = await connect(scope=None, limits=ApiLimits(heartbeat_seconds=0.1))
    socket = await client.ws_connect("/api/ws", autoping=False)
    assert (await socket.receive()).type is WSMsgType.TEXT
    for _ in range(3):
        assert (await socket.receive(timeout=10)).type is WSMsgType.PING
        await socket.pong()
    assert (await socket.receive(timeout=10)).type is WSMsgType.PING
    assert (await socket.receive(timeout=10)).type is WSMsgType.CLOSED


async def test_a_closed_client_leaves_nothing_behind(a_home: Home, connect: Connect, open_socket: Open) -> None:
    client = await connect(scope=None)
    subscriber = await open_socket(client)
    await subscriber.subscribe(None)
    subscription = await the_subscription(client)
    await subscriber.socket.close()
    other = await open_socket(client)
    await other.subscribe(None)
    assert subscription not in client.app[FEED]._subscriptions
