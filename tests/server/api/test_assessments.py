# SPDX-License-Identifier: AGPL-3.0-or-later
"""The assessments of an event, and asking for another one."""

from dataclasses import replace

from inference_server.core.assessment import Analysis, AssessmentSource
from inference_server.core.event import Event
from inference_server.core.status import AnalystState, AnalystStatus
from inference_server.storage import events
from tests.server.api.conftest import Connect
from tests.support.home import Home, assessment

ANALYSIS = Analysis("Nemotron", "Standard, version 1", 2.5, 900, 80, 0.7, 35, "A person and a bus")


async def _explained(home: Home) -> Event:
    await home.camera()
    event = await home.event(score=35)
    verdict = replace(
        assessment(50, home.clock.move(seconds=3)), source=AssessmentSource.MODEL, verified=True, analysis=ANALYSIS
    )
    async with home.database.writing() as connection:
        return await events.reassess(connection, event, verdict)


async def test_every_assessment_of_an_event_is_told_oldest_first(a_home: Home, connect: Connect) -> None:
    event = await _explained(a_home)
    client = await connect()
    first, second = (await (await client.get(f"/api/events/{event.id}/assessments")).json())["items"]
    assert (first["source"], first["risk"], first["analysis"]) == ("rules", {"score": 35, "level": "medium"}, None)
    assert (second["source"], second["verified"], second["risk"]["score"]) == ("model", True, 50)
    assert second["analysis"] == {
        "model": "Nemotron",
        "prompt": "Standard, version 1",
        "seconds": 2.5,
        "tokens_in": 900,
        "tokens_out": 80,
        "confidence": 0.7,
        "rules_score": 35,
        "rules_summary": "A person and a bus",
    }
    shown = await (await client.get(f"/api/events/{event.id}")).json()
    assert (shown["risk"]["score"], shown["source"]) == (50, "model")
    missing = await client.get("/api/events/999/assessments")
    assert (missing.status, (await missing.json())["code"]) == (404, "event_not_found")


async def test_the_analyst_is_asked_again(a_home: Home, connect: Connect) -> None:
    event = await _explained(a_home)
    client = await connect()
    for state in (AnalystState.OK, AnalystState.DOWN):
        a_home.analyst = AnalystStatus(state)
        answer = await client.post(f"/api/events/{event.id}/reanalyse")
        assert answer.status == 202
    assert a_home.reanalysed == [event.id, event.id]
    assert (await client.post("/api/events/999/reanalyse")).status == 404


async def test_without_an_analyst_it_is_said_what_to_do(a_home: Home, connect: Connect) -> None:
    event = await _explained(a_home)
    a_home.analyst = AnalystStatus(AnalystState.OFF, message="Set analyst.model to have events explained.")
    answer = await (await connect()).post(f"/api/events/{event.id}/reanalyse")
    problem = await answer.json()
    assert (answer.status, problem["code"]) == (503, "no_analyst")
    assert problem["remedy"] == "Set analyst.model to have events explained."
    assert a_home.reanalysed == []


async def test_the_server_object_tells_of_the_analyst(a_home: Home, connect: Connect) -> None:
    a_home.analyst = AnalystStatus(AnalystState.DOWN, "Nemotron", "It is away. Bring it back.")
    told = await (await (await connect()).get("/api/system/info")).json()
    assert told["analyst"] == {"state": "down", "model": "Nemotron", "message": "It is away. Bring it back."}
