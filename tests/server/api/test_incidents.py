# SPDX-License-Identifier: AGPL-3.0-or-later
"""Incidents and summaries over REST and the WebSocket."""

from datetime import timedelta

import pytest
from aiohttp import ClientWebSocketResponse

from inference_server.core.announcement import Announcement, AnnouncementKind
from inference_server.core.assessment import AssessmentSource
from inference_server.core.summary import CameraCount, Period, Summary, SummaryKind
from inference_server.storage import summaries
from inference_server.storage.summaries import StoredFacts, Words
from inference_server.storage.tokens import Scope
from tests.server.api.conftest import Client, Connect, all_items
from tests.support.home import START, Home
from tests.support.subscriber import Subscriber


async def _ids(client: Client, **query: str) -> list[int]:
    response = await client.get("/api/incidents", params=query)
    assert response.status == 200, await response.text()
    return [incident["id"] for incident in (await response.json())["items"]]


async def test_an_incident_has_its_events_and_they_name_it(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    await a_home.camera("yard")
    first = await a_home.ended_event("yard", score=20)
    a_home.clock.move(seconds=30)
    second = await a_home.event(score=70)
    incident = await a_home.incident(first, second)
    client = await connect(Scope.READ)
    sent = await (await client.get(f"/api/incidents/{incident.id}")).json()
    events = sent.pop("events")
    assert [event["id"] for event in events] == [first.id, second.id] == sent["event_ids"]
    assert {event["incident_id"] for event in events} == {incident.id}
    assert sent == {
        "id": incident.id,
        "started_at": "2026-11-23T08:00:00Z",
        "last_at": "2026-11-23T08:00:30Z",
        "ended_at": None,
        "risk": {"score": 70, "level": "high"},
        "verified": False,
        "title": "A person: Yard, Front door",
        "summary": "08:00 Somewhere: a person; 08:00 Somewhere: a person.",
        "cameras": ["yard", "front_door"],
        "event_ids": [first.id, second.id],
    }
    listed = (await (await client.get("/api/incidents")).json())["items"]
    assert listed == [sent]


async def test_incidents_are_filtered_and_have_pages(a_home: Home, connect: Connect) -> None:
    for camera_id in ("front_door", "yard"):
        await a_home.camera(camera_id)
    made = []
    for minutes, (camera_id, score) in enumerate((("front_door", 10), ("yard", 30), ("yard", 90), ("front_door", 50))):
        a_home.clock.time = START + timedelta(minutes=minutes)
        made.append((await a_home.incident(await a_home.ended_event(camera_id, score=score), ended=minutes < 3)).id)
    client = await connect(Scope.READ)
    assert await _ids(client) == made[::-1]
    assert await _ids(client, camera_id="yard") == [made[2], made[1]]
    assert await _ids(client, min_level="medium") == [made[3], made[2], made[1]]
    assert await _ids(client, open="true") == [made[3]]
    assert await _ids(client, open="false") == [made[2], made[1], made[0]]
    assert await _ids(client, since="2026-11-23T08:02:00Z") == [made[3], made[2]]
    assert await _ids(client, until="2026-11-23T08:02:00Z") == [made[1], made[0]]
    assert [item["id"] for item in await all_items(client, "/api/incidents", 3)] == made[::-1]


@pytest.mark.parametrize(
    ("path", "status", "named"),
    [
        ("/api/incidents/77", 404, "There is no incident 77."),
        ("/api/incidents/0", 422, "incident_id"),
        ("/api/incidents?cursor=%21%21", 422, "cursor"),
        ("/api/incidents?open=perhaps", 422, "open"),
        ("/api/incidents?min_level=awful", 422, "min_level"),
        ("/api/summaries?kind=weekly", 422, "kind"),
        ("/api/summaries?cursor=%21%21", 422, "cursor"),
    ],
)
async def test_what_cannot_be_is_refused_by_name(connect: Connect, path: str, status: int, named: str) -> None:
    client = await connect(Scope.READ)
    response = await client.get(path)
    problem = await response.json()
    assert response.status == status
    assert named in problem["detail"]
    assert problem["remedy"]


async def test_the_trash_takes_an_incident_with_its_last_event_and_gives_it_back(
    a_home: Home, connect: Connect
) -> None:
    await a_home.camera()
    incident = await a_home.incident(await a_home.ended_event(), await a_home.ended_event(), ended=True)
    first, second = incident.event_ids
    client = await connect()
    async with client.ws_connect("/api/ws") as socket:
        subscriber = await _subscribed(a_home, socket)
        await client.delete(f"/api/events/{first}")
        told = [await subscriber.receive() for _ in range(2)]
        assert [one["kind"] for one in told] == ["event_removed", "incident_updated"]
        assert told[1]["data"]["incident"]["event_ids"] == [second]
        await client.delete(f"/api/events/{second}")
        told = [await subscriber.receive() for _ in range(2)]
        assert (told[1]["kind"], told[1]["data"]) == ("incident_removed", {"incident_id": incident.id})
        assert await _ids(client) == []
        assert (await client.get(f"/api/incidents/{incident.id}")).status == 404
        restored = await (await client.post(f"/api/events/{second}/restore")).json()
        told = [await subscriber.receive() for _ in range(2)]
        assert [one["kind"] for one in told] == ["event_restored", "incident_updated"]
    assert restored["incident_id"] == incident.id
    assert await _ids(client) == [incident.id]


async def _subscribed(home: Home, socket: ClientWebSocketResponse) -> Subscriber:
    subscriber = Subscriber(socket, await home.token())
    await subscriber.subscribe(None)
    return subscriber


async def test_a_snapshot_holds_the_open_incidents_and_a_replay_what_was_told(a_home: Home, connect: Connect) -> None:
    await a_home.camera()
    await a_home.incident(await a_home.ended_event(), ended=True)
    opened = await a_home.incident(await a_home.event())
    client = await connect()
    async with client.ws_connect("/api/ws") as socket:
        snapshot = await Subscriber(socket, await a_home.token()).subscribe(None)
    assert [incident["id"] for incident in snapshot["incidents"]] == [opened.id]
    at = a_home.clock.now()
    await a_home.announce(
        Announcement(AnnouncementKind.INCIDENT_ENDED, "front_door", at, incident=opened),
        Announcement(AnnouncementKind.INCIDENT_REMOVED, "front_door", at, removed_incident_id=opened.id),
        Announcement(AnnouncementKind.SUMMARY, "", at, summary=await _summary(a_home)),
    )
    async with client.ws_connect("/api/ws") as socket:
        replay = await Subscriber(socket, await a_home.token()).subscribe(snapshot["sequence"])
    ended, removed, summed_up = replay["messages"]
    assert (ended["kind"], ended["data"]["incident"]) == ("incident_ended", snapshot["incidents"][0])
    assert (removed["kind"], removed["data"]) == ("incident_removed", {"incident_id": opened.id})
    assert (summed_up["kind"], summed_up["data"]["summary"]["headline"]) == ("summary", "All quiet.")


async def _summary(home: Home, kind: SummaryKind = SummaryKind.HOURLY, hours: int = 0) -> Summary:
    begin = START + timedelta(hours=hours)
    facts = StoredFacts(((10, 3), (70, 1)), (CameraCount("front_door", "Front door", 4, 70),), (4,), 2, 5, 1)
    words = Words("All quiet.", "All quiet.", AssessmentSource.RULES)
    async with home.database.writing() as connection:
        period = Period(kind, begin, begin + timedelta(hours=1))
        added = await summaries.add(connection, period, words, facts, home.clock.now())
        assert await summaries.add(connection, period, words, facts, home.clock.now()) is None
    assert added is not None
    return added


async def test_summaries_are_listed_the_latest_first(a_home: Home, connect: Connect) -> None:
    made = [await _summary(a_home, hours=hours) for hours in range(3)]
    day = await _summary(a_home, SummaryKind.DAILY)
    client = await connect(Scope.READ)
    (latest,) = (await (await client.get("/api/summaries?kind=hourly&limit=1")).json())["items"]
    assert latest["id"] == made[2].id
    assert latest["events"] == {"low": 3, "medium": 0, "high": 1, "critical": 0}
    (camera,) = latest["cameras"]
    assert camera["risk"] == {"score": 70, "level": "high"}
    assert (latest["unverified"], latest["unjudged_minutes"], latest["unjudged_pictures"]) == (2, 5, 1)
    assert [item["id"] for item in await all_items(client, "/api/summaries", 2)] == [
        made[2].id,
        made[1].id,
        day.id,
        made[0].id,
    ]
    (only,) = (await (await client.get("/api/summaries?kind=daily&since=2026-11-23T08:00:00Z")).json())["items"]
    assert only["id"] == day.id
