# SPDX-License-Identifier: AGPL-3.0-or-later
"""The watch over the mix of levels: from the stored events to the health report and the API, on either database."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from sqlalchemy import URL, select, update

from inference_server.api.application import create_application
from inference_server.observability.health import ComponentHealth, HealthState
from inference_server.pipeline.drift_watch import DriftWatch
from inference_server.settings import RiskSettings
from inference_server.storage.tables import assessments, events
from inference_server.storage.tokens import Scope
from tests.support.home import Home, home

type Serve = Callable[..., Awaitable[TestClient[web.Request, web.Application]]]

LINGERING = [{"name": "person_seen", "points": 40, "evidence": ""}, {"name": "lingering", "points": 28, "evidence": ""}]


async def _live(made: Home, camera_id: str, scores: Mapping[int, int], days: int = 7) -> None:
    """Let a camera have so many events of each score on each of the last days."""
    model = await made.ended_event(camera_id)
    end = made.clock.now()
    async with made.database.writing() as connection:
        row = dict((await connection.execute(select(events).where(events.c.id == model.id))).one()._mapping)
        await connection.execute(update(events).where(events.c.id == model.id).values(deleted_at=end))
        said = {"summary": "", "reasoning": "", "source": "rules", "assessed_at": end}
        for day in range(days):
            at = end - timedelta(days=day, hours=1)
            for score, number in scores.items():
                for _ in range(number):
                    new = {**row, "score": score, "started_at": at, "ended_at": at, "assessment_id": None}
                    query = events.insert().values({name: new[name] for name in new if name != "id"})
                    event_id = (await connection.execute(query.returning(events.c.id))).scalar_one()
                    verdict = {**said, "event_id": event_id, "score": score, "verified": score >= 60}
                    query = assessments.insert().values(**verdict, factors=LINGERING if score >= 60 else [])
                    assessment_id = (await connection.execute(query.returning(assessments.c.id))).scalar_one()
                    changed = update(events).where(events.c.id == event_id)
                    await connection.execute(changed.values(assessment_id=assessment_id))


def _watch(made: Home) -> DriftWatch:
    return DriftWatch(made.database, made.health, made.clock, RiskSettings())


def _component(made: Home) -> ComponentHealth:
    return next(part for part in made.health.components if part.name == "judging")


async def test_a_week_full_of_alarms_is_told_with_its_reason_and_then_gone(
    tmp_path: Path, where: URL | None, aiohttp_client: Serve
) -> None:
    async with home(tmp_path, where) as made:
        for camera_id in ("street", "door"):
            await made.camera(camera_id)
        headers = {"Authorization": f"Bearer {await made.token(Scope.READ)}"}
        client = await aiohttp_client(create_application(made.context()), headers=headers)
        watch = _watch(made)
        await watch.look()
        assert _component(made).state is HealthState.OK
        nothing = await (await client.get("/api/system/judging")).json()
        assert (nothing["state"], nothing["mixes"][0]["percent"]) == ("too_few", None)

        await _live(made, "street", {20: 6, 70: 3})
        await _live(made, "door", {20: 6, 70: 1})
        await watch.look()
        told = _component(made)
        assert told.state is HealthState.DEGRADED
        assert told.last_error == (
            "25 % of 112 events of the last 7 days were high or critical; 5 % are usual; "
            'most by camera "Street", by the factor lingering.'
        )
        assert told.remedy
        answer = await (await client.get("/api/system/judging")).json()
        assert answer["state"] == "drifting"
        assert answer["excess"] == {"level": "high", "percent": 25.0, "usual_percent": 5.0}
        assert answer["usual_percent"] == {"low": 85.0, "medium": 10.0, "high": 4.0, "critical": 1.0}
        week, day = answer["mixes"]
        assert (week["hours"], week["events"], week["levels"]["high"], week["verified"]) == (168, 112, 28, 0.25)
        assert (day["hours"], day["events"], day["percent"]["high"]) == (24, 16, 25.0)

        made.clock.move(days=8)
        await _live(made, "door", {20: 9})
        await watch.look()
        assert _component(made).state is HealthState.OK
        assert (await (await client.get("/api/system/judging")).json())["state"] == "usual"


async def test_what_is_in_the_trash_does_not_count(tmp_path: Path) -> None:
    async with home(tmp_path) as made:
        await made.camera("street")
        await _live(made, "street", {70: 9})
        async with made.database.writing() as connection:
            await connection.execute(update(events).values(deleted_at=made.clock.now()))
        await _watch(made).look()
        assert (_component(made).state, _component(made).details["events"]) == (HealthState.OK, 0)


@pytest.mark.parametrize(("alarms", "state"), [(6, HealthState.OK), (40, HealthState.DEGRADED)])
async def test_what_is_usual_is_the_owners_to_say(tmp_path: Path, alarms: int, state: HealthState) -> None:
    async with home(tmp_path) as made:
        await made.camera("street")
        await _live(made, "street", {20: 20, 70: alarms}, days=3)
        risk = RiskSettings.model_validate({"usual": {"medium": 15, "high": 20, "critical": 5}})
        watch = DriftWatch(made.database, made.health, made.clock, risk)
        await watch.look()
        assert _component(made).state is state
