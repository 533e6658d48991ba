# SPDX-License-Identifier: AGPL-3.0-or-later
"""Feedback through the pipeline: from the pictures and the owner's word to the next event's score."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from sqlalchemy import URL

from inference_server.api.application import create_application
from inference_server.core.camera import Camera, CameraSettings
from inference_server.core.context import CameraPlace, HomeContext
from inference_server.core.event import Event
from inference_server.storage import camera_settings, cameras, home_context
from tests.support.bench import CAMERA, Bench, a_person, bench
from tests.support.home import Home

type Client = TestClient[web.Request, web.Application]
type Speak = Callable[[Bench], Awaitable[Client]]


@pytest.fixture
def speak(aiohttp_client: Callable[..., Awaitable[Client]]) -> Speak:
    """Give what opens the API over a pipeline's data."""

    async def start(made: Bench) -> Client:
        home = Home(made.database, made.media, made.clock)
        headers = {"Authorization": f"Bearer {await home.token()}"}
        return await aiohttp_client(create_application(home.context()), headers=headers)

    return start


async def _see(made: Bench) -> Event:
    """Let a person come, some minutes after the one before."""
    made.clock.move(minutes=5)
    await made.see(a_person())
    return max(await made.events(), key=lambda event: event.id)


async def _say(client: Client, event: Event, kind: str, **more: object) -> dict[str, Any]:
    response = await client.put(f"/api/events/{event.id}/feedback", json={"kind": kind, **more})
    assert response.status == 200, await response.text()
    answer: dict[str, Any] = await response.json()
    return answer


def _points(event: Event) -> Mapping[str, int]:
    return {factor.name: factor.points for factor in event.assessment.factors}


async def test_five_false_alarms_make_the_next_one_low_until_they_are_withdrawn(a_bench: Bench, speak: Speak) -> None:
    a_bench.clock.move(hours=15)
    client = await speak(a_bench)
    alarms = [await _see(a_bench) for _ in range(5)]
    assert {event.assessment.score for event in alarms} == {35}
    first = await _say(client, alarms[0], "false_alarm", note="The postman", by="Anna")
    assert first["effect"]["asks"] == 14.5 - 35
    assert (first["effect"]["judged_again"], first["effect"]["lowered"]) == (5, 0)
    assert {item["after"]["score"] for item in first["effect"]["items"]} == {30}
    *_, last = [await _say(client, event, "false_alarm") for event in alarms[1:]]
    assert (last["effect"]["lowered"], last["effect"]["raised"]) == (0, 0)
    taught = await _see(a_bench)
    assert _points(taught)["learnt"] == last["effect"]["lesson"]["points"] < -10
    assert taught.assessment.score < 30
    assert "learnt -14 (feedback on similar events: 5 false alarm)" in taught.assessment.reasoning
    assert [event.assessment.score for event in (await a_bench.events())[:5]] == [35] * 5
    for event in alarms:
        assert (await client.delete(f"/api/events/{event.id}/feedback")).status == 204
    untaught = await _see(a_bench)
    assert [(f.name, f.points) for f in untaught.assessment.factors] == [
        (f.name, f.points) for f in alarms[0].assessment.factors
    ]


async def test_an_open_event_is_judged_by_it_with_its_next_picture(a_bench: Bench, speak: Speak) -> None:
    client = await speak(a_bench)
    event = await _see(a_bench)
    assert event.assessment.score == 20
    told = await _say(client, event, "missed", level="critical")
    a_bench.clock.move(seconds=5)
    await a_bench.see(a_person())
    (now,) = await a_bench.events()
    assert now.id == event.id
    assert _points(now)["learnt"] == told["effect"]["lesson"]["points"] == 18
    assert now.feedback
    assert now.feedback.opinion.kind == "missed"


async def test_a_burglar_is_none_the_less_one_for_all_the_false_alarms_before(a_bench: Bench, speak: Speak) -> None:
    async def people_home(number: int) -> None:
        async with a_bench.database.writing() as connection:
            await home_context.tell(connection, HomeContext(a_bench.clock.now(), people_home=number))

    async with a_bench.database.writing() as connection:
        await cameras.add(connection, Camera(CAMERA, "Hall", a_bench.clock.now()))
        await camera_settings.change(connection, CAMERA, CameraSettings(place=CameraPlace.INDOORS))
    await people_home(0)
    client = await speak(a_bench)
    before = await _see(a_bench)
    assert (await _say(client, before, "false_alarm"))["effect"]["asks"] is None
    a_bench.clock.move(hours=15)
    for _ in range(6):
        await people_home(2)
        await _say(client, await _see(a_bench), "false_alarm")
    assert _points(await _see(a_bench))["learnt"] < 0
    a_bench.clock.move(hours=9)
    await people_home(0)
    after = await _see(a_bench)
    assert "learnt" not in _points(after)
    assert after.assessment.score == before.assessment.score >= 60


async def test_all_processes_go_by_it_at_once(tmp_path: Path, where: URL | None, speak: Speak) -> None:
    async with bench(tmp_path, where=where) as one, bench(tmp_path, one.clock, where=where) as other:
        other._pictures = 100
        one.clock.move(hours=15)
        client = await speak(one)
        event = await _see(one)
        assert "learnt" not in _points(await _see(other))
        await _say(client, event, "false_alarm")
        assert [_points(await _see(made))["learnt"] for made in (other, one)] == [-5, -5]
        assert (await client.delete(f"/api/events/{event.id}/feedback")).status == 204
        assert ["learnt" in _points(await _see(made)) for made in (one, other)] == [False, False]
